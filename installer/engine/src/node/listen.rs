//! Listeners for a moment: other nodes try whether they reach this one before anything runs here.

use std::sync::Arc;
use std::time::Duration;

use kubezt_model::survey::{Endpoint, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::reach::greeting;

/// How long listeners stay where nobody ends them.
const OPEN: Duration = Duration::from_secs(30);
/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(5);
/// Connections at a time, on all ports.
const CONNECTIONS_MAXIMUM: usize = 256;
/// Bytes a connection may send.
const BYTES_MAXIMUM: u64 = 64 << 10;

/// What listens at the moment. Dropping it ends all of it.
#[derive(Default)]
pub struct Listeners(JoinSet<()>);

impl Listeners {
    /// Ends what listened and listens on these instead; every answer names this host. Answers with the endpoints that could
    /// not be had, and why.
    pub async fn replace(&mut self, endpoints: Vec<Endpoint>, host: &str) -> Vec<(Endpoint, String)> {
        self.0.shutdown().await;
        let answer: Arc<str> = greeting(host).into();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAXIMUM));
        let mut refused = Vec::new();
        for endpoint in endpoints {
            let answer = Arc::clone(&answer);
            let address = endpoint.address;
            let opened = match endpoint.protocol {
                Protocol::Tcp => TcpListener::bind(address).await.map(|listener| {
                    let serving = accept(listener, answer, Arc::clone(&places));
                    self.0.spawn(async { drop(timeout(OPEN, serving).await) });
                }),
                Protocol::Udp => UdpSocket::bind(address).await.map(|socket| {
                    self.0.spawn(async move { drop(timeout(OPEN, echo(socket, &answer)).await) });
                }),
            };
            if let Err(error) = opened {
                refused.push((endpoint, error.to_string()));
            }
        }
        refused
    }
}

async fn accept(listener: TcpListener, answer: Arc<str>, places: Arc<Semaphore>) {
    // Connections end with the listener.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let answer = Arc::clone(&answer);
        connections.spawn(async move {
            let _ = timeout(CONNECTION, answer_one(stream, &answer)).await;
            drop(place);
        });
    }
}

/// Answers once everything has come. The other side closes first, so that no port here stays behind in a waiting state.
async fn answer_one(stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    tokio::io::copy(&mut reader.take(BYTES_MAXIMUM), &mut tokio::io::sink()).await?;
    writer.write_all(answer.as_bytes()).await
}

async fn echo(socket: UdpSocket, answer: &str) {
    let mut datagram = vec![0; 1 << 16];
    loop {
        let Ok((_, from)) = socket.recv_from(&mut datagram).await else { return };
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}
