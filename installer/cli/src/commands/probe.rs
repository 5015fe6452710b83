//! `kubezt probe`: what runs in probe pods. Answers by exit status and one line.

use std::future::Future;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use crate::args::{ProbeArgs, ProbeCommand};
use crate::failure::Failure;
use crate::printer::Printer;

/// A single attempt takes no longer; whoever takes silence for a drop counts on it.
const ATTEMPT: Duration = Duration::from_millis(500);

/// Runs a probe command.
pub async fn run(arguments: ProbeArgs, printer: &Printer) -> Result<(), Failure> {
    match arguments.command {
        ProbeCommand::Listen { port } => listen(port).await,
        ProbeCommand::Resolve { target, seconds } => {
            let resolved = || async { resolve(&target).await.map(drop) };
            persist(&target, Duration::from_secs(seconds), printer, resolved).await
        }
        ProbeCommand::Connect { target, seconds } => {
            persist(&target, Duration::from_secs(seconds), printer, || connect(&target)).await
        }
    }
}

async fn listen(port: u16) -> Result<(), Failure> {
    let address = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        // A kernel without IPv6.
        Err(_) => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).await.map_err(Failure::environment)?
        }
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(Failure::environment)?;
    loop {
        tokio::select! {
            accepted = listener.accept() => drop(accepted),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

/// Tries until it succeeds or `patience` is over; one line says how it ended.
async fn persist<F>(
    target: &str,
    patience: Duration,
    printer: &Printer,
    attempt: impl Fn() -> F,
) -> Result<(), Failure>
where
    F: Future<Output = std::io::Result<()>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let why = match timeout(ATTEMPT, attempt()).await {
            Ok(Ok(())) => {
                printer.line(&format!("{target}: success"));
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::findings(format!("{target}: {why}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn resolve(target: &str) -> std::io::Result<Vec<std::net::SocketAddr>> {
    let addresses: Vec<_> = lookup_host(target).await?.collect();
    match addresses.is_empty() {
        true => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addresses),
    }
}

async fn connect(target: &str) -> std::io::Result<()> {
    let mut result = Ok(());
    for address in resolve(target).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) => result = Err(error),
        }
    }
    result
}
