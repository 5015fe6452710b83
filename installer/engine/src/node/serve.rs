//! `kubezt node serve`: the API server on loopback, whichever control-plane node answers.
//!
//! TLS passes through: the balancer holds no key and cannot read what it forwards.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::NodeError;

/// Connections at a time; kubelet, Cilium and the pods of one node need a few dozen.
const CONNECTIONS_MAXIMUM: usize = 2048;
/// How long one server may take to accept.
const CONNECT: Duration = Duration::from_secs(3);
/// How long connections may go on after the balancer was told to end.
const DRAIN: Duration = Duration::from_secs(10);

/// What the balancer is told, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// Loopback address and port it listens on.
    pub listen: SocketAddr,
    /// API servers, in the order they are tried until one answers; the one that answered last is tried first.
    pub servers: Vec<SocketAddr>,
}

impl Configuration {
    /// Reads it from a file.
    ///
    /// # Errors
    /// [`NodeError::File`], [`NodeError::Configuration`].
    pub fn load(path: &Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path).map_err(NodeError::file("read", path))?;
        let refuse = |why: String| NodeError::Configuration { path: path.to_owned(), why };
        let configuration: Self = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if configuration.servers.is_empty() {
            return Err(refuse("it names no server".to_owned()));
        }
        // Whoever listened on more would offer the API to a network that was not meant to have it.
        if !configuration.listen.ip().is_loopback() {
            return Err(refuse(format!("{} is not a loopback address", configuration.listen)));
        }
        Ok(configuration)
    }
}

/// Balances until the process is told to end (SIGTERM or SIGINT), then lets connections end for ten seconds.
///
/// # Errors
/// [`NodeError`] where the configuration cannot be used or the address is taken.
pub async fn run(path: &Path) -> Result<(), NodeError> {
    let configuration = Configuration::load(path)?;
    let listener = bind(configuration.listen).await?;
    balance(listener, configuration.servers, ended()).await;
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|source| NodeError::Network {
        doing: "listen on",
        address: address.to_string(),
        source,
    })
}

async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

/// Accepts and forwards until `end` is ready.
pub async fn balance(listener: TcpListener, servers: Vec<SocketAddr>, end: impl Future<Output = ()>) {
    let servers = Arc::new(Servers { addresses: servers, preferred: AtomicUsize::new(0) });
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAXIMUM));
    let mut connections = JoinSet::new();
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                // Without a free place nothing is accepted: clients wait in the kernel's queue.
                let place = Arc::clone(&free).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (Ok(place), Ok((client, _))) = accepted else {
            // Out of file descriptors, most likely; trying again at once would only burn the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let servers = Arc::clone(&servers);
        connections.spawn(async move {
            forward(client, &servers).await;
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await;
}

struct Servers {
    addresses: Vec<SocketAddr>,
    preferred: AtomicUsize,
}

impl Servers {
    /// The first that accepts, beginning with the one that did last.
    async fn connect(&self) -> Option<TcpStream> {
        let first = self.preferred.load(Ordering::Relaxed);
        for step in 0..self.addresses.len() {
            let index = (first + step) % self.addresses.len();
            if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(self.addresses[index])).await {
                self.preferred.store(index, Ordering::Relaxed);
                return Some(stream);
            }
        }
        None
    }
}

/// Without a server the client's connection is closed, which it sees as a server that is down.
async fn forward(mut client: TcpStream, servers: &Servers) {
    let Some(mut server) = servers.connect().await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(name.as_bytes()).await;
            }
        });
        (address, task)
    }

    async fn ask(address: SocketAddr) -> String {
        let mut answer = String::new();
        TcpStream::connect(address).await.unwrap().read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_next_server_answers_where_one_is_down() {
        let (first, first_task) = server("first").await;
        let (second, _second_task) = server("second").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let balancer = tokio::spawn(balance(listener, vec![first, second], async {
            let _ = stopped.await;
        }));
        assert_eq!(ask(address).await, "first");
        first_task.abort();
        let _ = first_task.await;
        assert_eq!(ask(address).await, "second");
        assert_eq!(ask(address).await, "second");
        stop.send(()).unwrap();
        balancer.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn a_configuration_that_would_open_the_node_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("balancer.json");
        for (text, expected) in [
            (r#"{"listen":"0.0.0.0:7443","servers":["10.0.0.1:6443"]}"#, "not a loopback"),
            (r#"{"listen":"127.0.0.1:7443","servers":[]}"#, "no server"),
            (r#"{"listen":"127.0.0.1:7443","servers":["10.0.0.1:6443"],"x":1}"#, "unknown field"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Configuration::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::write(&path, r#"{"listen":"[::1]:7443","servers":["10.0.0.1:6443"]}"#).unwrap();
        Configuration::load(&path).unwrap();
    }
}
