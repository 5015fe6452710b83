//! What a node holds beside rendered files: accounts, folders, keys, certificates, units, and what must not be there.
//!
//! | folder | what |
//! |---|---|
//! | `/etc/kubernetes/pki` | as kubeadm lays it out; `authority/` holds the intermediates' keys |
//! | `/etc/etcd/pki` | etcd's own pairs, readable by its account, outside the folder that must belong to root |
//! | `/var/lib/kubelet/pki` | kubelet's pairs |
//! | `/etc/kubezt/renewal` | the pair control-plane nodes answer other nodes with |
//! | `/etc/kubezt/pki` | the balancer's pair, readable by its account |

mod certificates;
mod directories;

pub(crate) use certificates::{leaves, requesters};

use std::collections::BTreeMap;

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, DesiredKey, DesiredNode, DesiredUser, Node};

/// Account etcd runs under.
const ETCD: &str = "etcd";

/// Account the balancer runs under.
const KUBEZT: &str = "kubezt";

/// Units in starting order: kubelet needs the runtime and the way to the API.
const UNITS: [&str; 3] = ["containerd.service", "kubezt-node.service", "kubelet.service"];

/// Credentials other installers leave behind: administrators' certificates that nobody can revoke, and join tokens.
const ABSENT: [&str; 3] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
];

/// A node without its files, components and images.
pub fn node_shape(cluster: &Cluster, node: &Node) -> DesiredNode {
    let control_plane = node.role == Role::ControlPlane;
    let account = |name: &str, uid| DesiredUser { name: name.to_owned(), uid };
    let mut users = vec![account(KUBEZT, cluster.settings.balancer.uid)];
    if control_plane {
        users.push(account(ETCD, cluster.settings.etcd.uid));
    }
    let keys = if control_plane {
        vec![DesiredKey { key_path: "/etc/kubernetes/pki/sa.key".to_owned() }]
    } else {
        Vec::new()
    };
    DesiredNode {
        node: node.clone(),
        users,
        directories: directories::directories(&cluster.settings, node.role),
        components: Vec::new(),
        files: Vec::new(),
        sysctls: BTreeMap::new(),
        modules: cluster.settings.host.modules.clone(),
        units: UNITS.map(str::to_owned).to_vec(),
        images: Vec::new(),
        keys,
        certificates: certificates::certificates(cluster, node),
        bundles: certificates::bundles(cluster, node),
        absent: ABSENT.map(str::to_owned).to_vec(),
    }
}
