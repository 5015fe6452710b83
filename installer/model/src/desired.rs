//! The cluster and each of its nodes as they should be.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cluster::{CniSpec, Role, Taint, Waiver};
use crate::names::{Mode, NodeName, Owner};
use crate::settings::Settings;
use crate::{Digest, SecretText};

/// A cluster that was resolved: no options where a default exists, no unknown names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Cluster name.
    pub name: NodeName,
    /// Kubernetes version.
    pub kubernetes_version: semver::Version,
    /// Name of the profile that was resolved.
    pub profile: String,
    /// How the API is reached.
    pub endpoint: Endpoint,
    /// Networks.
    pub networks: Networks,
    /// Nodes, in the order of the file.
    pub nodes: Vec<Node>,
    /// The network plug-in.
    pub cni: CniSpec,
    /// Every hardening decision.
    pub settings: Settings,
    /// Requirements knowingly not met.
    pub waivers: Vec<Waiver>,
}

impl Cluster {
    /// Control-plane nodes, in the order of the file; the first one is where bootstrap starts.
    pub fn control_plane(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// The node of this name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }
}

/// How the API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Stable DNS name, in every serving certificate.
    pub name: String,
    /// Further addresses in the serving certificate.
    pub addresses: Vec<IpAddr>,
    /// Where workers reach the API servers in place of the servers' own addresses; empty where they reach those.
    #[serde(default)]
    pub external: Vec<SocketAddr>,
    /// Port of every API server.
    pub port: u16,
    /// Loopback port of the balancer on every node.
    pub balancer_port: u16,
}

/// Networks of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Networks {
    /// Pod networks.
    pub pods: Vec<IpNet>,
    /// Service networks.
    pub services: Vec<IpNet>,
    /// DNS domain of Services.
    pub domain: String,
    /// Bits of the pod network each node gets.
    pub node_mask: u8,
    /// Address of the `kubernetes` Service: the first of the first service network.
    pub kubernetes_service: IpAddr,
    /// Address of the DNS Service: the tenth of the first service network.
    pub dns_service: IpAddr,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name.
    pub name: NodeName,
    /// Role.
    pub role: Role,
    /// Addresses inside the cluster; at least one.
    pub addresses: Vec<IpAddr>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints beside the control plane's own.
    pub taints: Vec<Taint>,
}

impl Node {
    /// The first internal address; resolution guarantees one.
    pub fn address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }
}

/// Whether a file's content may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// May be shown in plans and diffs.
    Public,
    /// Only its digest may be shown.
    Secret,
}

/// What has to happen once a file changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// Nothing: whoever reads it notices.
    Nothing,
    /// The static pod of this name reads it once, when it starts. Its manifest carries a digest of all such files, so
    /// kubelet replaces the pod when they are to say something else; where only the file was wrong, the pod is
    /// restarted.
    ReadAtStart(String),
    /// Restart this systemd unit.
    Restart(String),
    /// Nothing: this systemd unit needs it to start, and looks at it again while it runs.
    NoticedBy(String),
    /// Load this sysctl file.
    LoadSysctls,
    /// kubelet replaces the static pod of this name.
    StaticPod(String),
}

/// A file kubezt writes to a node, rendered and parsed back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenderedFile {
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Owner.
    pub owner: Owner,
    /// Whole content.
    pub body: SecretText,
    /// Whether the content may be shown.
    pub sensitivity: Sensitivity,
    /// What follows from a change.
    pub on_change: OnChange,
    /// Template it came from, relative to the template folder.
    pub template: String,
}

impl RenderedFile {
    /// Digest of the content.
    pub fn digest(&self) -> Digest {
        Digest::of(self.body.expose().as_bytes())
    }
}

/// Kubernetes objects applied together, rendered and parsed back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSet {
    /// Name, such as `rbac`, `cilium`, `coredns`.
    pub name: String,
    /// Objects in the order they are applied.
    pub objects: Vec<serde_json::Value>,
    /// Objects that must not exist, named by `apiVersion`, `kind` and `metadata`: what other settings would
    /// have put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<serde_json::Value>,
}

/// A file of a component that goes onto nodes as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentFile {
    /// Component it belongs to.
    pub component: String,
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Digest of the content, which is also its address in the blob store.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A container image imported onto nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentImage {
    /// Full reference, such as `registry.k8s.io/kube-apiserver:v1.36.3`.
    pub reference: String,
    /// Digest of the archive, which is also its address in the blob store.
    pub digest: Digest,
    /// Size of the archive in bytes.
    pub size: u64,
}

/// A certificate a node must hold, with the key it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredCertificate {
    /// Path of the PEM chain.
    pub certificate_path: String,
    /// Path of the private key, which is made on the node and never leaves it.
    pub key_path: String,
    /// Owner of both files.
    pub owner: Owner,
    /// Mode of the certificate; the key is always 0600.
    pub certificate_mode: Mode,
    /// What the certificate says.
    pub kind: CertificateKind,
    /// What follows once it was replaced.
    pub on_change: OnChange,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// An intermediate authority, signed by the operator's root.
    Intermediate(AuthorityKind),
    /// A leaf, signed by an intermediate on the control plane.
    Leaf(LeafSpec),
}

/// The authorities of a cluster below its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKind {
    /// Everything that speaks to the Kubernetes API, and kubelets.
    Kubernetes,
    /// etcd, its members and its clients.
    Etcd,
    /// The API server towards aggregated API servers.
    FrontProxy,
}

impl AuthorityKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kubernetes, Self::Etcd, Self::FrontProxy];

    /// The word used in subjects and plans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::FrontProxy => "front-proxy",
        }
    }
}

/// What a leaf certificate says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafSpec {
    /// Who signs.
    pub authority: AuthorityKind,
    /// Subject common name.
    pub common_name: String,
    /// Subject organizations (Kubernetes groups).
    #[serde(default)]
    pub organizations: Vec<String>,
    /// DNS names.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// Addresses.
    #[serde(default)]
    pub ip_addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usage: Usage,
}

/// The leaves of a node that has no authority's key, and asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeLeaves {
    /// The node.
    pub node: NodeName,
    /// Its leaves.
    pub leaves: Vec<LeafSpec>,
}

/// Extended key usage of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// serverAuth
    Server,
    /// clientAuth
    Client,
    /// Both: etcd peers.
    ServerAndClient,
}

/// A file of certificates or public keys that a component trusts, known only once the authorities exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredBundle {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Owner.
    pub owner: Owner,
    /// Whose certificates or keys it holds, in order. Bundles that admit clients never hold the root.
    pub members: Vec<BundleMember>,
    /// What follows from a change.
    pub on_change: OnChange,
}

/// One certificate of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BundleMember {
    /// The operator's root.
    Root,
    /// The intermediates of this kind: one of every control-plane node, since their keys stay where they were made.
    Intermediates(AuthorityKind),
    /// Public halves of the keys that service-account tokens are signed with, one of every control-plane node.
    ServiceAccountKeys,
}

/// A key for service-account tokens, which has no certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredKey {
    /// Path of the private key.
    pub key_path: String,
}

/// A system account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredUser {
    /// Name of user and group.
    pub name: String,
    /// Numeric id of both.
    pub uid: u32,
}

/// A directory with the mode and owner that matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredDirectory {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Owner.
    pub owner: Owner,
}

/// One node as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredNode {
    /// The node.
    pub node: Node,
    /// Accounts.
    pub users: Vec<DesiredUser>,
    /// Directories.
    pub directories: Vec<DesiredDirectory>,
    /// Files of components.
    pub components: Vec<ComponentFile>,
    /// Rendered files.
    pub files: Vec<RenderedFile>,
    /// Kernel parameters that must hold now.
    pub sysctls: BTreeMap<String, String>,
    /// Kernel modules that must be loaded or built in.
    pub modules: Vec<String>,
    /// Units that must be enabled and active, in starting order.
    pub units: Vec<String>,
    /// Images that must be imported and pinned.
    pub images: Vec<ComponentImage>,
    /// Keys without certificates.
    pub keys: Vec<DesiredKey>,
    /// Certificates.
    pub certificates: Vec<DesiredCertificate>,
    /// Trust bundles.
    pub bundles: Vec<DesiredBundle>,
    /// Paths that must not exist.
    pub absent: Vec<String>,
}

impl DesiredNode {
    /// Units that timers of the node start: they do their work and end, so they are not active and need not be enabled.
    pub fn timed_units(&self) -> impl Iterator<Item = String> {
        self.units.iter().filter_map(|unit| Some(format!("{}.service", unit.strip_suffix(".timer")?)))
    }

    /// Manifests of static pods, each with the name of its pod, which is also that of its executable.
    pub fn static_pods(&self) -> impl Iterator<Item = (&RenderedFile, &str)> {
        self.files.iter().filter_map(|file| match &file.on_change {
            OnChange::StaticPod(name) => Some((file, name.as_str())),
            _ => None,
        })
    }
}

/// Everything that should be true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// The resolved cluster.
    pub cluster: Cluster,
    /// Its nodes, in the order of the cluster.
    pub nodes: Vec<DesiredNode>,
    /// Objects in the API, in the order they are applied.
    pub manifests: Vec<ManifestSet>,
}
