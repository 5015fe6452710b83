//! Ports that components of every cluster listen on, as Kubernetes and etcd have them, and kubezt's own. Those that the cluster file
//! names are in [`crate::cluster`]; in templates and requirements they stand as numbers.
//!
//! <https://kubernetes.io/docs/reference/networking/ports-and-protocols/>

/// etcd, for its clients.
pub const ETCD_CLIENTS: u16 = 2379;

/// etcd, for its other members.
pub const ETCD_PEERS: u16 = 2380;

/// etcd's metrics and health, on loopback.
pub const ETCD_METRICS: u16 = 2381;

/// kubelet's own API: logs, commands in containers, metrics.
pub const KUBELET: u16 = 10250;

/// Where a node hands components to other nodes while they are installed; between nodes only, and not in between installs.
pub const RELAY: u16 = 7444;

/// Health and metrics of the controller manager, on loopback.
pub const CONTROLLER_MANAGER: u16 = 10257;

/// Health and metrics of the scheduler, on loopback.
pub const SCHEDULER: u16 = 10259;
