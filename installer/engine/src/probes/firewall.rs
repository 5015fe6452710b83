//! From a machine that is no node, nobody connects to the cluster's own ports of a node.
//!
//! Silence proves something only where the node is reached at all: on control-plane nodes the API server has to answer, on workers
//! the same port has to refuse, for nobody listens there and the firewall leaves it alone.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::ports;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::ProbeResult;

/// How long a connection may take: a firewall answers with silence.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ports that have to be closed on control-plane nodes; kubelet's is everywhere.
const ETCD: [u16; 2] = [ports::ETCD_CLIENTS, ports::ETCD_PEERS];

/// What a connection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was made.
    Connected,
    /// The node refused it: it is reached, and nobody listens there.
    Refused,
    /// Neither; why.
    Nothing(String),
}

/// Tries to connect from this machine.
pub async fn connect(address: SocketAddr) -> Answer {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Answer::Connected,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(error)) => Answer::Nothing(error.to_string()),
        Err(_) => Answer::Nothing(format!("no answer in {} s", PATIENCE.as_secs())),
    }
}

/// The address that this machine speaks to another one from; nothing is sent.
///
/// # Errors
/// There is no way to it.
pub async fn source(to: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    Ok(socket.local_addr()?.ip())
}

/// Tries the ports of one node, `from` this address.
pub async fn closed<F: Future<Output = Answer>>(
    cluster: &Cluster,
    node: &Node,
    from: IpAddr,
    connect: impl Fn(SocketAddr) -> F,
) -> ProbeResult {
    if let Some(own) = cluster.nodes.iter().find(|node| node.addresses.contains(&from)) {
        let reason = format!("the operator's machine is the node {}, and nodes are let in", own.name);
        return ProbeResult::NotApplicable { reason };
    }
    let open = SocketAddr::new(node.address(), cluster.endpoint.port);
    let how = match (connect(open).await, node.role) {
        (Answer::Connected, _) => "answers",
        (Answer::Refused, Role::Worker) => "refuses",
        (Answer::Refused, Role::ControlPlane) => return unreached(open, "it refuses"),
        (Answer::Nothing(why), _) => return unreached(open, &why),
    };
    let own: &[u16] = if node.role == Role::ControlPlane { &ETCD } else { &[] };
    let tries = own.iter().chain([&ports::KUBELET]).map(|port| {
        let attempt = connect(SocketAddr::new(node.address(), *port));
        async move { (port, attempt.await) }
    });
    let tried = futures::future::join_all(tries).await;
    let connected: Vec<String> = tried
        .iter()
        .filter(|(_, answer)| *answer == Answer::Connected)
        .map(|(port, _)| port.to_string())
        .collect();
    if !connected.is_empty() {
        let got = format!("connected to {} of {}", connected.join(", "), node.address());
        return ProbeResult::broken(format!("no connection from {from}, which is no node"), got);
    }
    let words = |answer: &Answer| match answer {
        Answer::Nothing(why) => why.clone(),
        Answer::Refused | Answer::Connected => "refused".to_owned(),
    };
    let silent: Vec<String> =
        tried.iter().map(|(port, answer)| format!("{port}: {}", words(answer))).collect();
    ProbeResult::held(format!("from {from}, to which {open} {how}: {}", silent.join("; ")))
}

/// What cannot be tried from here is no pass.
fn unreached(open: SocketAddr, why: &str) -> ProbeResult {
    let reason = format!(
        "the operator's machine does not reach {open} ({why}), so closed ports beside it would mean nothing; it is tried where \
         `verify` runs on a machine that does"
    );
    ProbeResult::NotApplicable { reason }
}

#[cfg(test)]
mod tests {
    use kubezt_model::NodeName;
    use kubezt_testkit::sample_cluster as cluster;

    use super::*;

    /// Judges with these answers for the API's port, etcd's and kubelet's.
    async fn judge(role: Role, from: &str, answers: [Answer; 3]) -> ProbeResult {
        let cluster = cluster();
        let node = cluster.nodes.iter().find(|node| node.role == role).unwrap();
        let [api, etcd, kubelet] = answers;
        let connect = |address: SocketAddr| {
            let answer = match address.port() {
                ports::ETCD_CLIENTS => etcd.clone(),
                ports::ETCD_PEERS => Answer::Nothing("no answer".to_owned()),
                ports::KUBELET => kubelet.clone(),
                _ => api.clone(),
            };
            std::future::ready(answer)
        };
        closed(&cluster, node, from.parse().unwrap(), connect).await
    }

    #[tokio::test]
    async fn silence_counts_only_beside_an_answer_and_from_a_stranger() {
        use Answer::{Connected, Refused};
        let silent = || Answer::Nothing("no answer".to_owned());
        let stranger = "192.0.2.7";
        let held = judge(Role::ControlPlane, stranger, [Connected, silent(), silent()]).await;
        assert!(matches!(held, ProbeResult::Held { .. }), "{held:?}");
        let held = judge(Role::Worker, stranger, [Refused, silent(), silent()]).await;
        assert!(matches!(held, ProbeResult::Held { .. }), "{held:?}");
        for answers in [[Connected, Connected, silent()], [Connected, silent(), Connected]] {
            let open = judge(Role::ControlPlane, stranger, answers).await;
            assert!(matches!(open, ProbeResult::Broken { .. }), "{open:?}");
        }
        let node: NodeName = "w1".parse().unwrap();
        let own = cluster().node(&node).unwrap().address().to_string();
        for (role, from, api) in [
            (Role::ControlPlane, stranger, silent()),
            (Role::ControlPlane, stranger, Refused),
            (Role::Worker, stranger, silent()),
            (Role::Worker, own.as_str(), Connected),
        ] {
            let result = judge(role, from, [api, silent(), Connected]).await;
            assert!(matches!(result, ProbeResult::NotApplicable { .. }), "{result:?}");
        }
    }

    #[tokio::test]
    async fn refusals_are_told_from_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connect(address).await, Answer::Connected);
        assert_eq!(source(address).await.unwrap(), address.ip());
        drop(listener);
        assert_eq!(connect(address).await, Answer::Refused);
    }
}
