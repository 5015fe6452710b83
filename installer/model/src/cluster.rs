//! `cluster.yaml` as a person writes it.
//!
//! These types mirror the file; nothing past `resolve` sees them. Unknown keys are errors everywhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::artifacts::{ArtifactSource, ArtifactsSpec};
use crate::mistakes;
use crate::names::NodeName;
use crate::yaml::{self, YamlError};

/// The only `apiVersion` this release reads.
pub const API_VERSION: &str = "kubezt.dev/v1alpha1";

/// One cluster, as `cluster.yaml` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "kubezt cluster file")]
pub struct ClusterFile {
    /// Always `kubezt.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Cluster`.
    pub kind: Kind,
    /// Name and nothing else.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ClusterSpec,
}

/// The file's schema version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// `kubezt.dev/v1alpha1`
    #[serde(rename = "kubezt.dev/v1alpha1")]
    V1Alpha1,
}

/// The file's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// `Cluster`
    Cluster,
}

/// What identifies the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Cluster name: an RFC 1123 label, part of certificate subjects and of the kubeconfig context.
    pub name: NodeName,
}

/// What is wanted of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Kubernetes version, for example `1.36.3`; the components lock must hold it.
    #[serde(default = "default_kubernetes_version")]
    #[schemars(with = "String", extend("format" = "semver", "pattern" = r"^\d+\.\d+\.\d+"))]
    pub kubernetes_version: semver::Version,
    /// Profile: a name, or the path of a file relative to this one (what has a slash or ends in `.yaml`);
    /// `--profile` overrides it.
    #[serde(default)]
    pub profile: Option<String>,
    /// How clients reach the API.
    #[serde(default)]
    pub endpoint: EndpointSpec,
    /// Pod and service networks.
    #[serde(default)]
    pub networks: NetworksSpec,
    /// How nodes are reached, unless a node says otherwise.
    #[serde(default)]
    pub ssh: SshSpec,
    /// How much is done at a time, on the way to many nodes.
    #[serde(default)]
    pub concurrency: ConcurrencySpec,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// The network plug-in.
    #[serde(default)]
    pub cni: CniSpec,
    /// Where components come from.
    #[serde(default)]
    pub artifacts: ArtifactsSpec,
    /// File holding the passphrase of the operator's secrets, relative to this file; `--passphrase-file` overrides it.
    #[serde(default)]
    pub passphrase_file: Option<String>,
    /// Settings that differ from the profile's, as dotted paths or nested maps (see `kubezt profile show`).
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::overrides")]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Requirements that are knowingly not met.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

/// The Kubernetes version of a cluster file that names none.
pub fn default_kubernetes_version() -> semver::Version {
    semver::Version::new(1, 36, 3)
}

/// How clients reach the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointSpec {
    /// Stable DNS name of the API, in every serving certificate. Empty means `api.<cluster>.internal`.
    pub name: String,
    /// Further addresses that are put into the serving certificate, such as a name server's answers for `name`.
    pub addresses: Vec<IpAddr>,
    /// Where a load balancer of the site, or an address that moves between the control-plane nodes, passes connections on to the API
    /// servers, as `address:port`; they are put into the serving certificate too. kubelet and the network plug-in of workers then reach
    /// the API there and nowhere else. Control-plane nodes go on speaking to each other, since many a balancer does not
    /// lead back to where a connection comes from; pods use the Service `kubernetes`, which leads to the servers themselves.
    #[schemars(schema_with = "crate::schema::sockets")]
    pub external: Vec<SocketAddr>,
    /// Port of every API server.
    pub port: u16,
    /// Loopback port of the on-node balancer through which kubelets, controllers and the CNI reach the API.
    pub balancer_port: u16,
}

impl Default for EndpointSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            external: Vec::new(),
            port: 6443,
            balancer_port: 7443,
        }
    }
}

/// Pod and service networks; lists, so that a second address family can follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetworksSpec {
    /// Pod networks.
    #[schemars(schema_with = "crate::schema::networks")]
    pub pods: Vec<IpNet>,
    /// Service networks.
    #[schemars(schema_with = "crate::schema::networks")]
    pub services: Vec<IpNet>,
    /// DNS domain of Services.
    pub domain: String,
    /// Bits of the pod network each node gets.
    pub node_mask: u8,
}

impl Default for NetworksSpec {
    fn default() -> Self {
        let network = |text: &str| text.parse().ok().into_iter().collect();
        Self {
            pods: network("10.244.0.0/16"),
            services: network("10.96.0.0/16"),
            domain: "cluster.local".to_owned(),
            node_mask: 24,
        }
    }
}

/// How nodes are reached over SSH. What is absent is taken from ssh_config(5), and then from the defaults named here. Paths are
/// relative to this file, `~/` allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SshSpec {
    /// The ssh_config file that counts, or `none`; `~/.ssh/config` and then `/etc/ssh/ssh_config` where absent.
    pub config: Option<String>,
    /// Login name: root (the default), or a user who may become root.
    pub user: Option<String>,
    /// How that user becomes root.
    pub privilege: Privilege,
    /// File with the password that this asks for; asked on the terminal where absent.
    pub password_file: Option<String>,
    /// Port; 22 by default.
    pub port: Option<u16>,
    /// Private key files; `~/.ssh/id_ed25519` and `~/.ssh/id_ecdsa` where neither this nor ssh_config names any.
    pub identity_files: Option<Vec<String>>,
    /// Certificates of keys, beside those that lie with their keys as `KEY-cert.pub`.
    pub certificate_files: Option<Vec<String>>,
    /// File with the passphrase of encrypted key files; asked on the terminal where absent.
    pub key_passphrase_file: Option<String>,
    /// Whether keys of a running agent (`SSH_AUTH_SOCK`) are offered.
    pub agent: bool,
    /// Whether only those of the agent's keys are offered that are named as files too; false by default.
    pub identities_only: Option<bool>,
    /// Hosts on the way to every node, as `[user@]host[:port]`, the first first; an empty list says there are none.
    pub proxy_jump: Option<Vec<String>>,
    /// known_hosts files, the first that knows the host decides; `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts` by
    /// default.
    pub known_hosts: Option<Vec<String>>,
    /// Seconds to wait for a connection; 15 by default.
    pub connect_timeout_seconds: Option<u16>,
}

/// How a login user becomes root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// By sudo(8).
    #[default]
    Sudo,
    /// By doas(1).
    Doas,
}

impl Default for SshSpec {
    fn default() -> Self {
        Self {
            config: None,
            user: None,
            privilege: Privilege::default(),
            password_file: None,
            port: None,
            identity_files: None,
            certificate_files: None,
            key_passphrase_file: None,
            agent: true,
            identities_only: None,
            proxy_jump: None,
            known_hosts: None,
            connect_timeout_seconds: None,
        }
    }
}

/// How much is done at a time, each 1 to 255, `relays` from 0 on. It is no part of the cluster: another figure changes nothing on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConcurrencySpec {
    /// Nodes that are connected to at the same time.
    #[schemars(range(min = 1, max = 255))]
    pub connections: NonZeroU8,
    /// Nodes that receive components from here at the same time; more share the same uplink, and 2 MiB of memory are used for
    /// each.
    #[schemars(range(min = 1, max = 255))]
    pub uploads: NonZeroU8,
    /// Nodes that one node hands components to at the same time, so that each leaves here once, however many nodes there are. With
    /// 0, and with less than three nodes, all of them come from here.
    pub relays: u8,
    /// Nodes that join at the same time: the next one begins when the step that starts the kubelet of one before has ended. A
    /// kubelet lists and watches what concerns it first, which is what an API server has to bear of each.
    #[schemars(range(min = 1, max = 255))]
    pub joins: NonZeroU8,
}

impl Default for ConcurrencySpec {
    fn default() -> Self {
        let [connections, uploads, joins] =
            const { [NonZeroU8::new(32).unwrap(), NonZeroU8::new(8).unwrap(), NonZeroU8::new(16).unwrap()] };
        Self { connections, uploads, relays: 2, joins }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Node name; equal to the host name (V-242404).
    pub name: NodeName,
    /// What the node is.
    pub role: Role,
    /// Addresses inside the cluster, one for each family.
    pub addresses: Vec<IpAddr>,
    /// How this node is reached, where it differs.
    #[serde(default)]
    pub ssh: NodeSshSpec,
    /// Kubernetes labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints beside the control plane's own.
    #[serde(default)]
    pub taints: Vec<Taint>,
}

/// How one node is reached, where it differs from the cluster's `ssh`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeSshSpec {
    /// Host name, address, or alias of ssh_config; the node's first address where absent.
    pub address: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Login name.
    pub user: Option<String>,
    /// How that user becomes root.
    pub privilege: Option<Privilege>,
    /// Private key files.
    pub identity_files: Option<Vec<String>>,
    /// Hosts on the way; an empty list says there are none.
    pub proxy_jump: Option<Vec<String>>,
    /// The name under which the host key is recorded, and for which a host certificate has to be.
    pub host_key_alias: Option<String>,
    /// Pinned host key fingerprint (`SHA256:…`); takes the place of known_hosts.
    pub host_key: Option<String>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs etcd, the API server, the controller manager and the scheduler.
    ControlPlane,
    /// Runs workloads.
    Worker,
}

impl Role {
    /// The word used in files: `control-plane` or `worker`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
        }
    }
}

/// A Kubernetes taint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Taint key.
    pub key: String,
    /// Taint value.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The network plug-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CniSpec {
    /// Name of a folder in `templates/cni`.
    pub name: String,
    /// Values for its chart, merged over kubezt's own.
    pub values: serde_json::Map<String, serde_json::Value>,
}

impl Default for CniSpec {
    fn default() -> Self {
        Self { name: "cilium".to_owned(), values: serde_json::Map::new() }
    }
}

/// A requirement that is knowingly not met: verify reports it as `accepted`, until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Waiver {
    /// Requirement id.
    pub requirement: String,
    /// Nodes it covers; empty means everywhere.
    #[serde(default)]
    pub nodes: Vec<NodeName>,
    /// Why the risk is accepted.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Last day it holds.
    pub expires: jiff::civil::Date,
}

/// Reads a cluster file.
///
/// # Errors
/// Unknown and missing keys, wrong types and values, all at once and each with file, line and caret; a mistake of syntax alone,
/// since nothing is known of what follows it.
pub fn parse(source_name: &str, text: &str) -> Result<ClusterFile, Vec<YamlError>> {
    yaml::read(source_name, text).map_err(|first| mistakes::all(source_name, text, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "
apiVersion: kubezt.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  nodes:
    - {name: cp1, role: control-plane, addresses: [10.0.0.11]}
";

    #[test]
    fn a_small_file_gets_sane_defaults() {
        let file = parse("cluster.yaml", SMALL).unwrap();
        assert_eq!(file.spec.endpoint.port, 6443);
        assert_eq!(file.spec.networks.pods[0].to_string(), "10.244.0.0/16");
        assert_eq!(file.spec.artifacts.source, ArtifactSource::Release);
        assert_eq!(file.spec.concurrency.uploads.get(), 8);
    }

    fn told(text: &str) -> Vec<String> {
        parse("cluster.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_keys_point_at_their_line() {
        let errors = told(&SMALL.replace("role:", "rôle:"));
        assert!(errors[0].starts_with("cluster.yaml:7"), "{errors:?}");
        assert!(parse("cluster.yaml", &SMALL.replace("v1alpha1", "v9")).is_err());
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line_and_what_was_meant() {
        let text = "
apiVersion: kubezt.dev/v1alpha2
kind: Cluster
metadata: {name: Demo, labels: {}}
spec:
  kubernetesVersion: 1.36
  enpoint:
    port: 6443
  endpoint: {port: 70000, addresses: 10.0.0.1}
  networks: {pods: [10.244.0.0], nodeMask: wide}
  ssh:
    agent: perhaps
    privilege: sudoo
  concurrency: {connections: 0, uploads: many, relays: -1, joins: 256}
  nodes:
    - {name: cp1, role: controlplane, addresses: [10.0.0.400]}
    - {name: w1, role: worker}
    - w2
  artifacts: {source: releases}
  waivers:
    - {requirement: node-sshd, reason: because, owner: us, expires: 2027-02-30}
";
        let errors = told(text);
        let expected = [
            (2, "did you mean `kubezt.dev/v1alpha1`?"),
            (4, "not a node name"),
            (4, "unknown field `labels`, expected one of `name`"),
            (6, "1.36"),
            (7, "did you mean `endpoint`?"),
            (9, "70000"),
            (9, "a list"),
            (10, "10.244.0.0"),
            (10, "`wide`"),
            (12, "`perhaps`"),
            (13, "did you mean `sudo`?"),
            (14, "0 is not between 1 and 255"),
            (14, "`many` is not a whole number"),
            (14, "-1 is not between 0 and 255"),
            (14, "256 is not between 1 and 255"),
            (16, "did you mean `control-plane`?"),
            (16, "10.0.0.400"),
            (17, "missing field `addresses`"),
            (18, "a map"),
            (19, "did you mean `release`?"),
            (21, "2027-02-30"),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, (line, part)) in errors.iter().zip(expected) {
            assert!(
                error.starts_with(&format!("cluster.yaml:{line}: ")) && error.contains(part),
                "{part}: {error}"
            );
            assert!(error.contains('^'), "{error}");
        }
    }

    #[test]
    fn of_very_many_mistakes_the_first_are_told_and_how_many_there_are() {
        let keys: String = (0..1_000).map(|key| format!("key{key}: 1\n")).collect();
        let errors = told(&(SMALL.to_owned() + &keys));
        assert_eq!(errors.len(), 51, "{errors:?}");
        assert_eq!(errors[50], "cluster.yaml: and 950 more mistakes");
        let long = told(&(SMALL.to_owned() + &"k".repeat(1 << 20) + ": 1\n"));
        assert!(long.iter().all(|error| error.len() < 2_000), "{}", long[0].len());
    }

    #[test]
    fn a_mistake_is_told_once_and_what_follows_from_syntax_not_at_all() {
        for wrong in [
            SMALL.replace("role: control-plane", "role: master"),
            SMALL.replace("10.0.0.11", "cp1.example.org"),
            SMALL.replace("{name: demo}", "{}"),
            SMALL.replace("nodes:", "noodles:").replace("kind: Cluster", "kind: Cluster\nkind: Cluster"),
            SMALL.replace("[10.0.0.11]}", "[10.0.0.11"),
            SMALL.replace("[10.0.0.11]", "{}"),
            SMALL.replace("spec:", "spec: {}\nother:"),
        ] {
            let errors = told(&wrong);
            assert!(errors.len() == 1 || wrong.contains("other:") && errors.len() == 2, "{errors:#?}");
        }
    }

    #[test]
    fn what_aliases_and_merges_bring_is_known() {
        let text = SMALL.replace("  nodes:\n", "  nodes:\n    - &base {name: w1, role: worker, addresses: [10.0.0.12]}\n    - {<<: *base, nmae: w2}\n");
        let errors = told(&text);
        assert!(errors.len() == 1 && errors[0].contains("did you mean `name`?"), "{errors:#?}");
    }
}
