//! The API servers behind the balancer: which are ready, and the way to one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long one server may take to accept.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the next server waits for the one before it. Servers of one cluster answer within milliseconds.
const HEDGE: Duration = Duration::from_millis(250);

/// What is known of a server, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It says so itself.
    Ready,
    /// Nobody has asked yet, it has just started, it has had no etcd for a moment, or it does not tell.
    Unknown,
    /// It answers, and would keep a request without ever answering it: it stays without etcd, or it ends.
    NotReady,
    /// It does not answer.
    Gone,
}

/// One API server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    /// Told when connections to it lead nowhere.
    lost: watch::Sender<()>,
    connections: AtomicUsize,
}

impl Server {
    /// A server nobody has asked yet.
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            state: watch::Sender::new(State::Unknown),
            lost: watch::Sender::new(()),
            connections: AtomicUsize::new(0),
        })
    }

    /// What is known of it.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Notes what it said. What it is connected to already goes on.
    pub fn is(&self, state: State) {
        self.state.send_replace(state);
    }

    /// It was lost without a word.
    pub fn is_lost(&self) {
        self.is(State::Gone);
        self.end_connections();
    }

    /// Whoever is connected to it would wait for an answer for minutes, and finds another server now.
    pub fn end_connections(&self) {
        self.lost.send_replace(());
    }

    async fn connect(self: &Arc<Self>) -> Option<Upstream> {
        // Before the connection is there, so that no loss in between is missed.
        let lost = self.lost.subscribe();
        let stream = timeout(CONNECT, TcpStream::connect(self.address)).await.ok()?.ok()?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Some(Upstream { stream, lost, server: Arc::clone(self) })
    }
}

/// A connection to a server.
pub struct Upstream {
    /// The connection.
    pub stream: TcpStream,
    lost: watch::Receiver<()>,
    server: Arc<Server>,
}

impl Upstream {
    /// Both halves at once: the connection, and what ends when its server is lost.
    pub fn parts(&mut self) -> (&mut TcpStream, impl Future<Output = ()>) {
        let lost = &mut self.lost;
        (&mut self.stream, async { drop(lost.changed().await) })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the server that is readiest and has the fewest connections. Those that do not answer are tried where no other
/// accepts: they may be back already, or have only been slow.
///
/// Servers that would keep a request are not tried even where there is no other. A kubelet that waits for an answer starts no
/// static pod meanwhile, so members of etcd that come back would wait for an API that waits for them.
pub async fn connect(servers: &[Arc<Server>]) -> Option<Upstream> {
    let those = |wanted: fn(State) -> bool| servers.iter().filter(move |server| wanted(server.state()));
    let mut usable: Vec<&Arc<Server>> = those(|state| state <= State::Unknown).collect();
    usable.sort_by_key(|server| (server.state(), server.connections.load(Ordering::Relaxed)));
    match first(usable).await {
        Some(upstream) => Some(upstream),
        None => first(those(|state| state == State::Gone).collect()).await,
    }
}

/// Connects to one of these, in order: the next one is tried as well where a server does not accept at once, and whoever accepts
/// first is taken.
async fn first(servers: Vec<&Arc<Server>>) -> Option<Upstream> {
    let mut waiting = servers.into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        let started = match waiting.next() {
            Some(server) => {
                attempts.push(server.connect());
                true
            }
            None => false,
        };
        tokio::select! {
            () = sleep(HEDGE), if started => {}
            attempt = attempts.next() => match attempt {
                Some(Some(upstream)) => return Some(upstream),
                Some(None) => {}
                None => return None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn listening() -> (TcpListener, Arc<Server>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(listener.local_addr().unwrap());
        (listener, server)
    }

    #[tokio::test]
    async fn the_readiest_with_the_fewest_connections_is_taken() {
        let (_one, first) = listening().await;
        let (_two, second) = listening().await;
        let servers = [Arc::clone(&first), Arc::clone(&second)];
        let taken = connect(&servers).await.unwrap();
        assert_eq!(taken.server.address, first.address);
        let other = connect(&servers).await.unwrap();
        assert_eq!(other.server.address, second.address);
        drop(taken);
        assert_eq!(connect(&servers).await.unwrap().server.address, first.address);
        first.is(State::NotReady);
        assert_eq!(connect(&servers).await.unwrap().server.address, second.address);
        second.is(State::NotReady);
        assert!(connect(&servers).await.is_none());
        second.is(State::Gone);
        assert_eq!(connect(&servers).await.unwrap().server.address, second.address);
        first.is(State::Unknown);
        assert_eq!(connect(&servers).await.unwrap().server.address, first.address);
    }

    #[tokio::test]
    async fn a_server_that_refuses_or_keeps_silent_costs_little() {
        let (listener, refusing) = listening().await;
        drop(listener);
        let (_listener, answering) = listening().await;
        // Reserved for documentation (RFC 5737): no one answers, where it does not fail at once.
        let silent = Server::new("192.0.2.1:6443".parse().unwrap());
        let servers = [silent, Arc::clone(&refusing), Arc::clone(&answering)];
        let taken = timeout(CONNECT, connect(&servers)).await.unwrap().unwrap();
        assert_eq!(taken.server.address, answering.address);
        assert!(connect(&[refusing]).await.is_none());
    }

    #[tokio::test]
    async fn connections_to_a_lost_server_end() {
        let (_listener, server) = listening().await;
        let mut taken = connect(&[Arc::clone(&server)]).await.unwrap();
        server.is(State::NotReady);
        let (_, lost) = taken.parts();
        assert!(timeout(Duration::from_millis(20), lost).await.is_err());
        server.is_lost();
        taken.parts().1.await;
        assert_eq!(server.state(), State::Gone);
    }
}
