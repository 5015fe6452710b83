//! Ports the components of a cluster listen on, and who has to reach them.

use std::net::{IpAddr, SocketAddr};

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::node::{Read, Reading};
use kubezt_model::ports;
use kubezt_model::survey::{Protocol, SocketReading};

use super::seen::Place;
use super::{Severity, members};

/// File and program of the service that is started before a node is a member.
const NODE_SERVICE: &str = "/etc/kubezt/node.json";
const NODE_PROGRAM: &str = "kubezt";

/// A port that has to be free, and to be reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port {
    pub number: u16,
    pub protocol: Protocol,
    /// How the name of the executable that will hold it begins; empty for the kernel.
    pub program: &'static str,
    /// Where it is held; `None` for every node.
    pub role: Option<Role>,
    /// Who reaches it.
    pub from: From,
    /// How bad it is where it cannot be reached.
    pub unreached: Severity,
    /// How bad it is where somebody else holds it.
    pub taken: Severity,
}

/// Who reaches a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The node itself, on loopback.
    Loopback,
    /// Control-plane nodes.
    ControlPlane,
    /// Every node.
    Everyone,
}

/// Every port of the cluster.
pub(super) fn ports(cluster: &Cluster) -> Vec<Port> {
    const CONTROL_PLANE: Option<Role> = Some(Role::ControlPlane);
    let tcp = |number, program, role, from| Port {
        number,
        protocol: Protocol::Tcp,
        program,
        role,
        from,
        unreached: Severity::Error,
        taken: Severity::Error,
    };
    let mut ports = vec![
        tcp(cluster.endpoint.port, "kube-apiserver", CONTROL_PLANE, From::Everyone),
        tcp(ports::ETCD_CLIENTS, "etcd", CONTROL_PLANE, From::ControlPlane),
        tcp(ports::ETCD_PEERS, "etcd", CONTROL_PLANE, From::ControlPlane),
        tcp(ports::ETCD_METRICS, "etcd", CONTROL_PLANE, From::Loopback),
        tcp(ports::CONTROLLER_MANAGER, "kube-controller-manager", CONTROL_PLANE, From::Loopback),
        tcp(ports::SCHEDULER, "kube-scheduler", CONTROL_PLANE, From::Loopback),
        tcp(ports::KUBELET, "kubelet", None, From::ControlPlane),
        tcp(10248, "kubelet", None, From::Loopback),
        tcp(cluster.endpoint.balancer_port, NODE_PROGRAM, None, From::Loopback),
    ];
    // Without it every component comes from the operator's machine.
    let relay = tcp(ports::RELAY, NODE_PROGRAM, None, From::Everyone);
    ports.push(Port { unreached: Severity::Warning, taken: Severity::Warning, ..relay });
    if cluster.cni.name == "cilium" {
        // https://docs.cilium.io/en/stable/operations/system_requirements/#firewall-rules
        let udp = |number| Port { protocol: Protocol::Udp, ..tcp(number, "", None, From::Everyone) };
        ports.push(udp(8472));
        if cluster.settings.network.wireguard {
            ports.push(udp(51871));
        }
        ports.push(tcp(9879, "cilium", None, From::Loopback));
    }
    ports
}

impl Port {
    /// Whether this node will hold it.
    pub fn is_on(&self, node: &Node) -> bool {
        self.role.is_none_or(|role| role == node.role)
    }

    /// Whether this node has to reach it on another one.
    pub fn is_reached_from(&self, node: &Node) -> bool {
        match self.from {
            From::Loopback => false,
            From::ControlPlane => node.role == Role::ControlPlane,
            From::Everyone => true,
        }
    }

    /// Where a node will hold it so that others reach it.
    pub fn addresses(&self, node: &Node) -> Vec<SocketAddr> {
        node.addresses.iter().map(|address| SocketAddr::new(*address, self.number)).collect()
    }

    /// The sockets that are in its way on this node, or are it already.
    pub fn taken<'a>(&self, place: &Place<'a>) -> Vec<&'a SocketReading> {
        let meets = |address: IpAddr| match self.from {
            From::Loopback => address.is_loopback(),
            _ => address.is_loopback() || place.node.addresses.contains(&address),
        };
        let sockets = place.sockets().iter();
        sockets
            .filter(|socket| socket.protocol == self.protocol && socket.address.port() == self.number)
            .filter(|socket| socket.address.ip().is_unspecified() || meets(socket.address.ip()))
            .collect()
    }

    /// Whether this socket is that of our own component, which runs already.
    pub fn is_own(&self, place: &Place<'_>, socket: &SocketReading) -> bool {
        // The node service runs before the node trusts any root; an install that was killed leaves it so.
        let early = || {
            let rootless = matches!(place.facts.reading(&members::root()), Some(Reading::Missing));
            self.program == NODE_PROGRAM && rootless && place.facts.file(NODE_SERVICE).is_some()
        };
        let name = socket.holder.as_ref().map_or("", |holder| holder.name.as_str());
        let named = !self.program.is_empty() && name.starts_with(self.program);
        named && (place.member || early())
    }
}

/// The file that tells whether the node service is ours.
pub(super) fn node_service() -> Read {
    Read::File { path: NODE_SERVICE.to_owned(), text: false }
}
