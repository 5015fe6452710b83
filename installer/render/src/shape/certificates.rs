//! Certificates and trust bundles of a node.
//!
//! Everything that uses one of these pairs reads it again when it changes, so no replacement restarts anything: the
//! serving pairs of API server and kubelet, the client pairs named in kubeconfigs, etcd's pairs at each handshake, and
//! the signer's pair. Keys are made where they are used and stay there: each control-plane node signs with its own, and the
//! bundles of all nodes hold the public side of every one. Two bundles are read at a start only: etcd's, and the keys that
//! service-account tokens are verified with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kubezt_model::Owner;
use kubezt_model::cluster::Role;
use kubezt_model::desired::{
    AuthorityKind, BundleMember, CertificateKind, Cluster, DesiredBundle, DesiredCertificate, LeafSpec, Node,
    NodeLeaves, OnChange, Usage,
};

use super::{ETCD, KUBEZT};

const PKI: &str = "/etc/kubernetes/pki";
const SCHEDULER_PKI: &str = "/etc/kubernetes/pki/scheduler";
const ETCD_PKI: &str = "/etc/etcd/pki";
const KUBELET_PKI: &str = "/var/lib/kubelet/pki";
const BALANCER_PKI: &str = "/etc/kubezt/pki";
const RENEWAL_PKI: &str = "/etc/kubezt/renewal";

/// Certificates of a node: authorities first, then leaves.
pub fn certificates(cluster: &Cluster, node: &Node) -> Vec<DesiredCertificate> {
    let mode = cluster.settings.files.certificate_mode;
    let make = |folder: &str, name: &str, owner: Owner, kind: CertificateKind| DesiredCertificate {
        certificate_path: format!("{folder}/{name}.crt"),
        key_path: format!("{folder}/{name}.key"),
        owner,
        certificate_mode: mode,
        kind,
        on_change: OnChange::Nothing,
    };
    let root = |folder: &str, name: &str, leaf: LeafSpec| {
        make(folder, name, Owner::root(), CertificateKind::Leaf(leaf))
    };
    let mut certificates = Vec::new();
    if node.role == Role::ControlPlane {
        let folder = format!("{PKI}/authority");
        certificates.extend(AuthorityKind::ALL.map(|authority| {
            make(&folder, authority.as_str(), Owner::root(), CertificateKind::Intermediate(authority))
        }));
        let client = |name: &str, authority: AuthorityKind, common_name: &str| {
            root(PKI, name, client_leaf(authority, common_name, &[]))
        };
        let (kubernetes, etcd) = (AuthorityKind::Kubernetes, AuthorityKind::Etcd);
        certificates.extend([
            root(PKI, "apiserver", api_server(cluster, node)),
            client("apiserver-kubelet-client", kubernetes, "kube-apiserver-kubelet-client"),
            client("apiserver-etcd-client", etcd, "kube-apiserver-etcd-client"),
            client("front-proxy-client", AuthorityKind::FrontProxy, "front-proxy-client"),
            client("controller-manager", kubernetes, "system:kube-controller-manager"),
            // In a folder of its own: the scheduler's pod sees that and no other key.
            root(SCHEDULER_PKI, "scheduler", client_leaf(kubernetes, "system:kube-scheduler", &[])),
        ]);
        // Who answers other nodes that ask for their leaves; see manifests/rbac/renewal.yaml.tera.
        let answering =
            client_leaf(kubernetes, &format!("kubezt:renewal:{}", node.name), &["kubezt:renewal"]);
        certificates.push(root(RENEWAL_PKI, "client", answering));
        certificates.extend(
            ["server", "peer"]
                .map(|name| make(ETCD_PKI, name, owner(ETCD), CertificateKind::Leaf(etcd_leaf(node)))),
        );
    }
    let name = format!("system:node:{}", node.name);
    let serving = LeafSpec {
        dns_names: vec![node.name.to_string()],
        ip_addresses: node.addresses.clone(),
        usage: Usage::Server,
        ..client_leaf(AuthorityKind::Kubernetes, &name, &["system:nodes"])
    };
    certificates.push(root(KUBELET_PKI, "kubelet", serving));
    let client = client_leaf(AuthorityKind::Kubernetes, &name, &["system:nodes"]);
    certificates.push(root(KUBELET_PKI, "kubelet-client", client));
    // In no group but that of everybody who is known: that may ask whether the API is ready, and hardly anything else.
    let asking = client_leaf(AuthorityKind::Kubernetes, &format!("kubezt:balancer:{}", node.name), &[]);
    certificates.push(make(BALANCER_PKI, "balancer", owner(KUBEZT), CertificateKind::Leaf(asking)));
    certificates
}

/// Leaves of a node, as it renews them itself.
pub fn leaves(cluster: &Cluster, node: &Node) -> Vec<DesiredCertificate> {
    let is_leaf = |certificate: &DesiredCertificate| matches!(certificate.kind, CertificateKind::Leaf(_));
    certificates(cluster, node).into_iter().filter(is_leaf).collect()
}

/// What nodes without an authority's key may ask for.
pub fn requesters(cluster: &Cluster) -> Vec<NodeLeaves> {
    let workers = cluster.nodes.iter().filter(|node| node.role == Role::Worker);
    let specification = |certificate: DesiredCertificate| match certificate.kind {
        CertificateKind::Leaf(leaf) => Some(leaf),
        CertificateKind::Intermediate(_) => None,
    };
    workers
        .map(|node| NodeLeaves {
            node: node.name.clone(),
            leaves: certificates(cluster, node).into_iter().filter_map(specification).collect(),
        })
        .collect()
}

fn client_leaf(authority: AuthorityKind, common_name: &str, organizations: &[&str]) -> LeafSpec {
    LeafSpec {
        authority,
        common_name: common_name.to_owned(),
        organizations: organizations.iter().map(|&name| name.to_owned()).collect(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usage: Usage::Client,
    }
}

/// Every name and address the API is called by: through its Service, on loopback, from outside.
fn api_server(cluster: &Cluster, node: &Node) -> LeafSpec {
    let mut dns_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        .map(str::to_owned)
        .to_vec();
    dns_names.push(format!("kubernetes.default.svc.{}", cluster.networks.domain));
    dns_names.push(cluster.endpoint.name.clone());
    dns_names.push(node.name.to_string());
    let mut ip_addresses = node.addresses.clone();
    ip_addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    ip_addresses.push(cluster.networks.kubernetes_service);
    ip_addresses.extend(&cluster.endpoint.addresses);
    ip_addresses.extend(cluster.endpoint.external.iter().map(SocketAddr::ip));
    LeafSpec {
        dns_names: unique(dns_names),
        ip_addresses: unique(ip_addresses),
        usage: Usage::Server,
        ..client_leaf(AuthorityKind::Kubernetes, "kube-apiserver", &[])
    }
}

/// etcd's server pair is a client pair as well: its HTTP gateway calls the member's own client port with it.
fn etcd_leaf(node: &Node) -> LeafSpec {
    let mut ip_addresses = node.addresses.clone();
    ip_addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    LeafSpec {
        dns_names: unique(vec!["localhost".to_owned(), node.name.to_string()]),
        ip_addresses: unique(ip_addresses),
        usage: Usage::ServerAndClient,
        ..client_leaf(AuthorityKind::Etcd, node.name.as_str(), &[])
    }
}

/// Trust bundles of a node. What admits clients holds intermediates and never the root.
pub fn bundles(cluster: &Cluster, node: &Node) -> Vec<DesiredBundle> {
    let make = |path: &str, owner: Owner, member: BundleMember| DesiredBundle {
        path: path.to_owned(),
        mode: cluster.settings.files.certificate_mode,
        owner,
        members: vec![member],
        on_change: OnChange::Nothing,
    };
    let trusts = BundleMember::Intermediates;
    let mut bundles = vec![
        make("/etc/kubernetes/pki/ca.crt", Owner::root(), trusts(AuthorityKind::Kubernetes)),
        make("/etc/kubernetes/pki/root.crt", Owner::root(), BundleMember::Root),
        make("/etc/kubezt/pki/root.crt", owner(KUBEZT), BundleMember::Root),
        // kubelet keeps a token for its pods until most of its life is over. Those signed with a key that is trusted no more are
        // given up by a restart, and the age of this file, which nobody reads, tells whether there has been one since.
        DesiredBundle {
            on_change: OnChange::Restart("kubelet.service".to_owned()),
            ..make("/var/lib/kubelet/pki/token-issuers.pub", Owner::root(), BundleMember::ServiceAccountKeys)
        },
    ];
    if node.role == Role::ControlPlane {
        bundles.extend([
            make("/etc/kubernetes/pki/front-proxy-ca.crt", Owner::root(), trusts(AuthorityKind::FrontProxy)),
            make("/etc/kubernetes/pki/scheduler/ca.crt", Owner::root(), trusts(AuthorityKind::Kubernetes)),
            make(
                "/etc/kubernetes/pki/scheduler/front-proxy-ca.crt",
                Owner::root(),
                trusts(AuthorityKind::FrontProxy),
            ),
            make("/etc/kubernetes/pki/etcd/ca.crt", Owner::root(), trusts(AuthorityKind::Etcd)),
            DesiredBundle {
                on_change: OnChange::ReadAtStart("etcd".to_owned()),
                ..make("/etc/etcd/pki/ca.crt", owner(ETCD), trusts(AuthorityKind::Etcd))
            },
            DesiredBundle {
                on_change: OnChange::ReadAtStart("kube-apiserver".to_owned()),
                ..make("/etc/kubernetes/pki/sa.pub", Owner::root(), BundleMember::ServiceAccountKeys)
            },
        ]);
    }
    bundles
}

fn owner(account: &str) -> Owner {
    Owner { user: account.to_owned(), group: account.to_owned() }
}

fn unique<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items.dedup();
    items
}
