//! `kubezt probe`: what runs in probe pods. Answers by exit status and one line.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use crate::args::{ProbeArgs, ProbeCommand};
use crate::failure::Failure;
use crate::printer::Printer;

/// A single attempt takes no longer.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Runs a probe command.
pub async fn run(arguments: ProbeArgs, printer: &Printer) -> Result<(), Failure> {
    match arguments.command {
        ProbeCommand::Listen { port } => listen(port).await,
        ProbeCommand::Connect { target, seconds } => {
            connect(&target, Duration::from_secs(seconds), printer).await
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

async fn connect(target: &str, patience: Duration, printer: &Printer) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let why = match timeout(ATTEMPT, attempt(target)).await {
            Ok(Ok(())) => {
                printer.line(&format!("connected to {target}"));
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

async fn attempt(target: &str) -> std::io::Result<()> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(target).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
