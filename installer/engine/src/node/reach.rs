//! Trying what can be reached from this node.

use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use kubezt_model::survey::{Obstacle, Protocol, Target, Unreached};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Bytes an answer has at most: a host name and the words around it.
pub(super) const ANSWER: usize = 512;
/// Targets that are tried at the same time.
const SIDE_BY_SIDE: usize = 128;
/// How long a connection may take to come about, and then how long its answer may take: a busy node is no closed way.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one datagram may take there and back, and how often it is sent: datagrams may be lost.
const DATAGRAM: Duration = Duration::from_millis(600);
const ATTEMPTS: usize = 4;

/// What a listener of this program says.
pub(super) fn greeting(host: &str) -> String {
    format!("KUBEZT-LISTENER {host}\n")
}

/// The targets that cannot be reached, and why.
pub async fn unreached(targets: &[Target]) -> Vec<Unreached> {
    futures::stream::iter(targets.iter().cloned())
        .map(|target| async move {
            let obstacle = match target.endpoint.protocol {
                Protocol::Tcp => connect(&target).await.err(),
                Protocol::Udp => exchange(&target).await.err(),
            };
            obstacle.map(|why| Unreached { target, why })
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Connects; where a listener of ours is expected, sends what is to be sent and waits for its answer.
async fn connect(target: &Target) -> Result<(), Obstacle> {
    let mut stream = timed(TcpStream::connect(target.endpoint.address)).await?;
    let Some(node) = &target.node else { return Ok(()) };
    let answered = timeout(PATIENCE, async {
        stream.write_all(&vec![0; usize::from(target.bytes)]).await?;
        stream.shutdown().await?;
        let mut answer = vec![0; ANSWER];
        let mut length = 0;
        while length < ANSWER && !answer[..length].contains(&b'\n') {
            match stream.read(&mut answer[length..]).await? {
                0 => break,
                count => length += count,
            }
        }
        answer.truncate(length);
        Ok(answer)
    });
    match answered.await {
        // It was connected to, with short packets.
        Err(_) => Err(Obstacle::LongPackets),
        Ok(Err(error)) => Err(refusal(&error)),
        Ok(Ok(answer)) => is_answer(&answer, node.as_str()),
    }
}

/// Sends one datagram of the wanted length and waits for its answer; where none comes, a short one tells whether the length
/// is what stops it.
async fn exchange(target: &Target) -> Result<(), Obstacle> {
    let Some(node) = &target.node else { return Ok(()) };
    let address = target.endpoint.address;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(|error| refusal(&error))?;
    socket.connect(address).await.map_err(|error| refusal(&error))?;
    match ask(&socket, target.bytes).await {
        Ok(answer) => is_answer(&answer, node.as_str()),
        Err(Obstacle::Silence) if ask(&socket, 1).await.is_ok() => Err(Obstacle::LongPackets),
        Err(obstacle) => Err(obstacle),
    }
}

async fn ask(socket: &UdpSocket, bytes: u16) -> Result<Vec<u8>, Obstacle> {
    let mut obstacle = Obstacle::Silence;
    for _ in 0..ATTEMPTS {
        let mut answer = vec![0; ANSWER];
        let exchanged = timeout(DATAGRAM, async {
            socket.send(&vec![0; usize::from(bytes)]).await?;
            socket.recv(&mut answer).await
        });
        match exchanged.await {
            Ok(Ok(length)) => {
                answer.truncate(length);
                return Ok(answer);
            }
            // Longer than the path takes, by what a router said meanwhile: the next one goes in pieces.
            Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {}
            Ok(Err(error)) => obstacle = refusal(&error),
            Err(_) => {}
        }
    }
    Err(obstacle)
}

fn is_answer(answer: &[u8], node: &str) -> Result<(), Obstacle> {
    if answer == greeting(node).as_bytes() { Ok(()) } else { Err(Obstacle::Stranger) }
}

async fn timed<T>(future: impl Future<Output = io::Result<T>>) -> Result<T, Obstacle> {
    match timeout(PATIENCE, future).await {
        Ok(result) => result.map_err(|error| refusal(&error)),
        Err(_) => Err(Obstacle::Silence),
    }
}

fn refusal(error: &io::Error) -> Obstacle {
    match error.kind() {
        io::ErrorKind::TimedOut => Obstacle::Silence,
        _ => Obstacle::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kubezt_model::survey::Endpoint;
    use tokio::net::TcpListener;

    use super::*;
    use crate::node::listen::Listeners;

    fn target(protocol: Protocol, port: u16, node: Option<&str>) -> Target {
        let endpoint = Endpoint { protocol, address: ([127, 0, 0, 1], port).into() };
        Target { endpoint, node: node.map(|node| node.parse().unwrap()), bytes: 1200 }
    }

    /// A port nobody has at the moment.
    async fn free() -> u16 {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn listeners_are_reached_until_they_are_ended() {
        let (tcp, udp) = (free().await, free().await);
        let targets = [target(Protocol::Tcp, tcp, Some("cp1")), target(Protocol::Udp, udp, Some("cp1"))];
        let endpoints: Vec<Endpoint> = targets.iter().map(|target| target.endpoint.clone()).collect();
        let mut listeners = Listeners::default();
        assert_eq!(listeners.replace(endpoints.clone(), "cp1").await, []);
        assert_eq!(unreached(&targets).await, []);

        let strangers = targets.clone().map(|target| Target { node: Some("cp2".parse().unwrap()), ..target });
        let obstacles = |found: Vec<Unreached>| found.into_iter().map(|one| one.why).collect::<Vec<_>>();
        assert_eq!(obstacles(unreached(&strangers).await), [Obstacle::Stranger, Obstacle::Stranger]);

        let mut second = Listeners::default();
        let refused = second.replace(endpoints.clone(), "cp1").await;
        assert_eq!(refused.iter().map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>(), endpoints);

        assert_eq!(listeners.replace(Vec::new(), "cp1").await, []);
        // Whoever comes next has the ports at once.
        TcpListener::bind(("127.0.0.1", tcp)).await.unwrap();
        for obstacle in obstacles(unreached(&targets).await) {
            assert!(matches!(&obstacle, Obstacle::Refused(why) if why.contains("refused")), "{obstacle:?}");
        }
    }

    #[tokio::test]
    async fn who_takes_connections_and_says_nothing_is_told_from_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(unreached(&[target(Protocol::Tcp, port, None)]).await, [], "a component that runs");
        let silent = unreached(&[target(Protocol::Tcp, port, Some("cp1"))]).await;
        assert_eq!(silent[0].why, Obstacle::LongPackets);
    }
}
