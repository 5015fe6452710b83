//! `kubezt node serve`: the API server on loopback, whichever control-plane node answers.
//!
//! TLS passes through: the balancer cannot read what it forwards. It asks the servers how they are with a pair of its own, which
//! may do nothing else.
//!
//! | module | what it does |
//! |---|---|
//! | [`servers`] | which server a connection goes to |
//! | [`health`] | which servers are ready |

mod health;
mod servers;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use kubezt_model::health::{ApiServerAnswer, ApiServerReading};
use serde::{Deserialize, Serialize};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::health::Health;
use self::servers::Server;
use super::{NodeError, NodeRoot};

/// Where an install puts what the balancer is told.
const CONFIGURATION: &str = "/etc/kubezt/node.json";
/// Connections at a time; kubelet, Cilium and the pods of one node need a few dozen.
const CONNECTIONS_MAXIMUM: usize = 2048;
/// How long connections may go on after the balancer was told to end. Watches never end by themselves, and until the next
/// balancer listens nobody on this node reaches the API.
const DRAIN: Duration = Duration::from_secs(1);
/// How often the configuration is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the balancer is told, as JSON. Other servers, or another pair, are taken up while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// Loopback address and port it listens on.
    pub listen: SocketAddr,
    /// API servers. Of those that are ready, the one with the fewest connections takes the next.
    pub servers: Vec<SocketAddr>,
    /// How they are asked whether they are ready.
    pub health: Health,
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

/// Balances until the process is told to end (SIGTERM or SIGINT) or its configuration wants another address, then lets
/// connections end for a second.
///
/// # Errors
/// [`NodeError`] where the configuration cannot be used or the address is taken.
pub async fn run(path: &Path) -> Result<(), NodeError> {
    let changed = modified(path);
    let configuration = Configuration::load(path)?;
    let listener = bind(configuration.listen).await?;
    let mut pool = Pool::new(&configuration);
    let servers = pool.servers.subscribe();
    let end = async {
        tokio::select! { () = ended() => {}, () = pool.follow(path, configuration.listen, changed) => {} }
    };
    balance(listener, servers, end).await;
    Ok(())
}

/// Asks every server that this node's balancer knows, with its pair and past it; `None` where the node has no balancer.
///
/// # Errors
/// As [`Configuration::load`].
pub async fn ask_servers(root: &NodeRoot) -> Result<Option<Vec<ApiServerReading>>, NodeError> {
    let Some((servers, health)) = told(root)? else { return Ok(None) };
    let asked = servers.into_iter().map(|address| {
        let health = &health;
        async move { ApiServerReading { address, answer: health::checks(address, health).await } }
    });
    Ok(Some(join_all(asked).await))
}

/// Asks one server with the pair of this node's balancer; `None` where the node has no balancer.
///
/// # Errors
/// As [`Configuration::load`].
pub async fn ask_server(root: &NodeRoot, address: SocketAddr) -> Result<Option<ApiServerAnswer>, NodeError> {
    let Some((_, health)) = told(root)? else { return Ok(None) };
    Ok(Some(health::checks(address, &health).await))
}

/// The servers this node's balancer knows, and what it shows them.
fn told(root: &NodeRoot) -> Result<Option<(Vec<SocketAddr>, Health)>, NodeError> {
    let path = root.known(CONFIGURATION);
    if !path.exists() {
        return Ok(None);
    }
    let Configuration { servers, health, .. } = Configuration::load(&path)?;
    let health = Health {
        authority: root.path(&health.authority.to_string_lossy())?,
        certificate: root.path(&health.certificate.to_string_lossy())?,
        key: root.path(&health.key.to_string_lossy())?,
    };
    Ok(Some((servers, health)))
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

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The servers as the configuration has them now.
struct Pool {
    servers: watch::Sender<Vec<Arc<Server>>>,
    /// What asks them.
    asking: JoinSet<()>,
}

impl Pool {
    fn new(configuration: &Configuration) -> Self {
        let mut pool = Self { servers: watch::Sender::default(), asking: JoinSet::new() };
        pool.set(configuration);
        pool
    }

    /// Servers that stay keep what is known of them; connections to those that go end.
    fn set(&mut self, configuration: &Configuration) {
        let mut before: BTreeMap<SocketAddr, Arc<Server>> =
            self.servers.borrow().iter().map(|server| (server.address, Arc::clone(server))).collect();
        let servers: Vec<_> = configuration
            .servers
            .iter()
            .map(|address| before.remove(address).unwrap_or_else(|| Server::new(*address)))
            .collect();
        self.asking = JoinSet::new();
        for server in &servers {
            self.asking.spawn(health::follow(Arc::clone(server), configuration.health.clone()));
        }
        self.servers.send_replace(servers);
        for gone in before.values() {
            gone.is_lost();
        }
    }

    /// Takes up what the file says whenever it changes, until it wants another address to listen on: that takes another process.
    async fn follow(&mut self, path: &Path, listen: SocketAddr, mut seen: Option<SystemTime>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = modified(path);
            if now == seen {
                continue;
            }
            seen = now;
            match Configuration::load(path) {
                Ok(configuration) if configuration.listen != listen => return,
                Ok(configuration) => self.set(&configuration),
                // The old one still holds; a process that ended over it would help nobody.
                Err(error) => drop(writeln!(std::io::stderr(), "{error}")),
            }
        }
    }
}

/// Accepts and forwards until `end` is ready.
async fn balance(
    listener: TcpListener,
    servers: watch::Receiver<Vec<Arc<Server>>>,
    end: impl Future<Output = ()>,
) {
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
        let servers = servers.borrow().clone();
        connections.spawn(async move {
            forward(client, &servers).await;
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await;
}

/// Without a server the client's connection is closed, which it sees as a server that is down; it does as well when its server
/// is lost.
async fn forward(mut client: TcpStream, servers: &[Arc<Server>]) {
    let Some(mut upstream) = servers::connect(servers).await else { return };
    let (server, lost) = upstream.parts();
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut client, server) => {}
        () = lost => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const HEALTH: &str = r#""health":{"authority":"/a","certificate":"/c","key":"/k"}"#;

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
        let servers = watch::Sender::new(vec![Server::new(first), Server::new(second)]);
        let balancer = tokio::spawn(balance(listener, servers.subscribe(), async {
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
            (r#""listen":"0.0.0.0:7443","servers":["10.0.0.1:6443"]"#, "not a loopback"),
            (r#""listen":"127.0.0.1:7443","servers":[]"#, "no server"),
            (r#""listen":"127.0.0.1:7443","servers":["10.0.0.1:6443"],"x":1"#, "unknown field"),
        ] {
            std::fs::write(&path, format!("{{{text},{HEALTH}}}")).unwrap();
            let error = Configuration::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let text = r#""listen":"[::1]:7443","servers":["10.0.0.1:6443"]"#;
        std::fs::write(&path, format!("{{{text},{HEALTH}}}")).unwrap();
        Configuration::load(&path).unwrap();
    }
    #[tokio::test]
    async fn servers_change_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("balancer.json");
        let (first, _first_task) = server("first").await;
        let (second, _second_task) = server("second").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let write = |listen: SocketAddr, server: SocketAddr| {
            std::fs::write(&path, format!(r#"{{"listen":"{listen}","servers":["{server}"],{HEALTH}}}"#))
                .unwrap();
        };
        write(listen, first);
        let mut pool = Pool::new(&Configuration::load(&path).unwrap());
        let servers = pool.servers.subscribe();
        let end = pool.follow(&path, listen, modified(&path));
        let test = async {
            assert_eq!(ask(listen).await, "first");
            std::fs::write(&path, "{").unwrap();
            tokio::time::sleep(LOOK * 2).await;
            assert_eq!(ask(listen).await, "first");
            write(listen, second);
            tokio::time::sleep(LOOK * 2).await;
            assert_eq!(ask(listen).await, "second");
            write("127.0.0.1:1".parse().unwrap(), second);
        };
        tokio::join!(test, timeout(LOOK * 10, balance(listener, servers, end))).1.unwrap();
    }
}
