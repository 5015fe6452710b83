//! What is looked at before a node is touched: what its kernel can do, its network, its disks, and what others left there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::names::NodeName;

/// What the kernel can do and how it is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelReading {
    /// Modules that were asked for.
    pub modules: BTreeMap<String, Availability>,
    /// Build options that were asked for, without `CONFIG_`.
    pub options: BTreeMap<String, Availability>,
    /// Control-group controllers that are switched on.
    pub controllers: Vec<String>,
    /// Whether systemd runs the host.
    pub systemd: bool,
    /// `enforcing` or `permissive`; empty where SELinux is off.
    pub selinux: String,
    /// Whether AppArmor is switched on.
    pub apparmor: bool,
}

/// Whether something can be had from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// It is there: loaded, built in, or a module that can be loaded.
    Present,
    /// It is not there.
    Absent,
    /// The node does not tell.
    Unknown,
}

/// The node's network as its kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkReading {
    /// Addresses of the node, loopback left out.
    pub addresses: Vec<IpAddr>,
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, InterfaceReading>,
    /// Routes of the main table.
    pub routes: Vec<RouteReading>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceReading {
    /// Bytes of the longest packet.
    pub mtu: u32,
    /// Hardware address; empty where it has none.
    pub hardware_address: String,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReading {
    /// Where to.
    pub destination: IpNet,
    /// By way of; `None` for a network the interface is in.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub interface: String,
}

impl NetworkReading {
    /// Name and description of the interface that leads to an address of the node's own networks.
    pub fn interface_of(&self, address: IpAddr) -> Option<(&str, &InterfaceReading)> {
        let direct = self.routes.iter().filter(|route| route.gateway.is_none());
        let best = direct
            .filter(|route| route.destination.contains(&address))
            .max_by_key(|route| route.destination.prefix_len())?;
        self.interfaces.get_key_value(&best.interface).map(|(name, interface)| (name.as_str(), interface))
    }
}

/// How something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A socket that waits for connections or datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketReading {
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Who holds it; `None` for the kernel itself and for processes that are hidden.
    pub holder: Option<HolderReading>,
}

/// The process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderReading {
    /// Process id.
    pub pid: u32,
    /// Base name of its executable.
    pub name: String,
}

impl fmt::Display for HolderReading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} ({})", self.pid, self.name)
    }
}

/// What the node's resolver says of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameReading {
    /// It has these addresses, in order.
    Addresses(Vec<IpAddr>),
    /// It has none, or the resolver says why it cannot tell.
    None(String),
    /// The resolver gave no answer in time.
    Silent,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSystemReading {
    /// The folder that was looked at: the path that was asked for, or the nearest one above it that is there.
    pub folder: String,
    /// Tells file systems apart.
    pub id: u64,
    /// Size in bytes.
    pub size: u64,
    /// Bytes that can still be written.
    pub available: u64,
    /// Files it can hold; 0 where it has no such limit.
    pub files: u64,
    /// Files that can still be made.
    pub files_available: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// How long small writes took to be on disk, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FsyncReading {
    /// The folder that was written in.
    pub folder: String,
    /// Writes that were made.
    pub writes: u32,
    /// Microseconds that half of them took at most.
    pub p50: u64,
    /// Microseconds that 99 of 100 took at most; of fewer than 100 the longest.
    pub p99: u64,
}

/// A cluster that a kubeconfig names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigReading {
    /// Name of the cluster.
    pub name: String,
    /// URL of its API.
    pub server: String,
}

/// Who a certificate is for, and from when until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectReading {
    /// Common name.
    pub common_name: String,
    /// Organizations.
    pub organizations: Vec<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// Start of the validity.
    pub not_before: Timestamp,
    /// End of the validity.
    pub not_after: Timestamp,
}

/// An address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.protocol, self.address)
    }
}

/// Something to reach from a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// Node whose listener answers there; `None` where a component runs already, which is only connected to.
    pub node: Option<NodeName>,
    /// Bytes that are sent: for UDP one datagram, for TCP as much as fills packets.
    pub bytes: u16,
}

/// Something that was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreached {
    /// What.
    pub target: Target,
    /// Why.
    pub why: Obstacle,
}

/// Why something was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// No answer came.
    Silence,
    /// Short packets arrive and long ones do not.
    LongPackets,
    /// Another machine answers, or another program.
    Stranger,
    /// What the system says.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_nearest_network() {
        let route = |destination: &str, interface: &str, gateway: Option<&str>| RouteReading {
            destination: destination.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            interface: interface.to_owned(),
        };
        let interface = |mtu| InterfaceReading { mtu, hardware_address: String::new() };
        let network = NetworkReading {
            interfaces: [("eth0", 1500), ("eth1", 9000)]
                .map(|(name, mtu)| (name.to_owned(), interface(mtu)))
                .into(),
            routes: vec![
                route("0.0.0.0/0", "eth0", Some("10.0.0.1")),
                route("10.0.0.0/16", "eth0", None),
                route("10.0.5.0/24", "eth1", None),
            ],
            ..NetworkReading::default()
        };
        let mtu = |address: &str| network.interface_of(address.parse().unwrap()).map(|(_, found)| found.mtu);
        assert_eq!([mtu("10.0.0.7"), mtu("10.0.5.7"), mtu("192.0.2.1")], [Some(1500), Some(9000), None]);
    }
}
