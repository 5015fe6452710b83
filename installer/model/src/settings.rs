//! Every hardening decision, fully resolved.
//!
//! `Settings` is what profiles, requirements and `cluster.yaml` add up to. Requirements write into it by dotted
//! path (`apiServer.arguments.anonymous-auth: false`), templates read from it, and nothing else decides.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All settings of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// kube-apiserver.
    pub api_server: ComponentSettings,
    /// Who is let in by the API server beside holders of credentials.
    pub authentication: AuthenticationSettings,
    /// kube-controller-manager.
    pub controller_manager: ComponentSettings,
    /// kube-scheduler.
    pub scheduler: ComponentSettings,
    /// etcd.
    pub etcd: EtcdSettings,
    /// The API on each node's loopback.
    pub balancer: BalancerSettings,
    /// kubelet.
    pub kubelet: KubeletSettings,
    /// containerd.
    pub containerd: ContainerdSettings,
    /// API audit.
    pub audit: AuditSettings,
    /// Encryption of Secrets at rest.
    pub encryption: EncryptionSettings,
    /// Pod Security Admission.
    pub pod_security: PodSecuritySettings,
    /// Other admission control.
    pub admission: AdmissionSettings,
    /// Certificate lifetimes.
    pub pki: PkiSettings,
    /// Kernel and host.
    pub host: HostSettings,
    /// Cluster network.
    pub network: NetworkSettings,
    /// Modes of managed files, by the kind of file.
    pub files: FileSettings,
}

/// A component that is configured by command-line arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ComponentSettings {
    /// Arguments without leading dashes; the ones that follow from the cluster's own shape are not in here.
    pub arguments: BTreeMap<String, Argument>,
}

/// Who is let in by the API server beside holders of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationSettings {
    /// Whether `/livez`, `/readyz` and `/healthz`, and nothing else, answer without a credential
    /// (NSA-AUTH-01). The server refuses the argument `anonymous-auth` beside it.
    pub anonymous_health: bool,
}

/// Value of a command-line argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Argument {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Number(i64),
    /// Text.
    Text(String),
    /// Several values, joined with commas.
    List(Vec<String>),
}

impl fmt::Display for Argument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => value.fmt(formatter),
            Self::Number(value) => value.fmt(formatter),
            Self::Text(value) => formatter.write_str(value),
            Self::List(values) => formatter.write_str(&values.join(",")),
        }
    }
}

/// etcd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdSettings {
    /// Arguments, as for the other components.
    pub arguments: BTreeMap<String, Argument>,
    /// Numeric user and group id of the `etcd` account, on the host and in the pod (V-242445).
    pub uid: u32,
}

/// `kubezt node serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancerSettings {
    /// Numeric user and group id of the `kubezt` account, which every node has.
    pub uid: u32,
}

/// kubelet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeletSettings {
    /// Fields of `KubeletConfiguration` on every node, nested as in the file.
    pub configuration: serde_json::Map<String, serde_json::Value>,
    /// Fields on control-plane nodes only.
    pub control_plane: serde_json::Map<String, serde_json::Value>,
    /// Command-line arguments; the STIG forbids nearly all of them, so this is short.
    pub arguments: BTreeMap<String, Argument>,
}

/// containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerdSettings {
    /// Do not lower the OOM score below the runtime's own: for nested hosts without CAP_SYS_RESOURCE.
    pub restrict_oom_score_adj: bool,
    /// Use systemd to manage cgroups; off on cgroup v1 hosts and nested hosts that use cgroupfs.
    pub systemd_cgroup: bool,
}

/// API audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditSettings {
    /// Which audit policy is written; V-242403 wants `everything`, CIS 3.2.2 wants `tiered`, no file meets both.
    pub policy: AuditPolicy,
    /// Directory of the audit log on the node.
    pub log_directory: String,
}

/// The audit policies kubezt knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditPolicy {
    /// One rule: every request with bodies.
    Everything,
    /// Secrets, ConfigMaps and tokens by metadata, writes with bodies, the rest by metadata.
    Tiered,
}

/// Encryption of Secrets at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EncryptionSettings {
    /// The provider that writes.
    pub provider: EncryptionProvider,
    /// Resources that are encrypted, such as `secrets`.
    pub resources: Vec<String>,
}

/// Providers of `EncryptionConfiguration` that hold their key in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionProvider {
    /// AES-CBC with a 32-byte key: in the CIS list, in the STIG's example and a FIPS primitive.
    Aescbc,
    /// AES-GCM with a 32-byte key.
    Aesgcm,
    /// XSalsa20 with Poly1305 and a 32-byte key; not a FIPS primitive.
    Secretbox,
    /// No encryption.
    Identity,
}

/// Pod Security Admission defaults, by level name (`privileged`, `baseline`, `restricted`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSecuritySettings {
    /// Level that is enforced.
    pub enforce: String,
    /// Level that is audited.
    pub audit: String,
    /// Level that is warned about.
    pub warn: String,
    /// Namespaces that are exempt.
    pub exempt_namespaces: Vec<String>,
}

/// Other admission control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdmissionSettings {
    /// Events a second the API server takes from all clients; 0 leaves the limit out.
    pub event_rate_qps: u32,
    /// Burst over that rate.
    pub event_rate_burst: u32,
    /// ValidatingAdmissionPolicies that are installed, by the name of their template.
    pub policies: Vec<String>,
    /// What is refused in a namespace as long as no ResourceQuota of it covers it; nothing, where the list is empty.
    pub limited_resources: Vec<LimitedResource>,
}

/// What the admission plug-in ResourceQuota (its `limitedResources`) can refuse where no quota is, by the name a quota has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum LimitedResource {
    /// Pods, finished ones too. (The server matches parts of names: with `pods`, quotas would have to name this one as well.)
    #[serde(rename = "count/pods")]
    Pods,
    /// Ports that Services take on every node.
    #[serde(rename = "services.nodeports")]
    NodePorts,
    /// Load balancers of Services.
    #[serde(rename = "services.loadbalancers")]
    LoadBalancers,
    /// Pods of the classes `system-node-critical` and `system-cluster-critical`, which push other pods aside: covered by a quota
    /// whose scope selector names the scope `PriorityClass`.
    #[serde(rename = "system-priority")]
    SystemPriority,
}

/// Certificate lifetimes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PkiSettings {
    /// Years the root lives.
    pub root_years: u16,
    /// Days an intermediate lives.
    pub intermediate_days: u32,
    /// How long a leaf lives, such as `24h` or `20m`; at least a quarter of an hour. Nodes renew theirs by themselves.
    pub leaf_lifetime: crate::Lifetime,
}

/// Kernel and host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSettings {
    /// Kernel parameters.
    #[schemars(extend("additionalProperties" = {"type": ["string", "number"]}))]
    pub sysctls: BTreeMap<String, String>,
    /// Kernel modules that are loaded where they are not built in.
    pub modules: Vec<String>,
    /// Whether auditd rules for Kubernetes' files are written.
    pub auditd: bool,
    /// Whether a host firewall closes the cluster's own ports to everybody but its nodes.
    pub firewall: bool,
}

/// Cluster network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSettings {
    /// Traffic that no policy allows is dropped, in every namespace.
    pub default_deny: bool,
    /// Name servers CoreDNS forwards to; none is valid and means cluster names only.
    pub dns_upstreams: Vec<std::net::IpAddr>,
    /// Whether pod traffic between nodes is encrypted with WireGuard.
    pub wireguard: bool,
}

/// Modes of managed files, by the kind of file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSettings {
    /// Static-pod manifests.
    pub manifest_mode: crate::Mode,
    /// kubeconfig files.
    pub kubeconfig_mode: crate::Mode,
    /// kubelet's configuration and unit.
    pub kubelet_mode: crate::Mode,
    /// Certificates.
    pub certificate_mode: crate::Mode,
}
