//! The kinds of checks. Each says what to look at and judges what was seen: parsed values, never substrings.
//!
//! What was not seen, could not be read or cannot be parsed is an error, never a pass.

pub mod api;
pub mod argument;
pub mod assertion;
mod command_line;
mod containers;
pub mod content;
pub mod duration;
pub mod feature_gate;
pub mod file;
pub mod firewall;
mod glob;
mod judged;
pub mod kubelet;
pub mod leaf_lifetime;
pub(crate) mod of_setting;
pub mod op;
pub mod path;
pub mod process;
pub mod sysctl;
mod terms;
pub mod unit;
pub mod version;

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::finding::Verdict;
use kubezt_model::node::{Facts, Read, Reading};
use serde::{Deserialize, Serialize};

use crate::check::api::{ApiCheck, ApiRead};
use crate::check::assertion::AssertionCheck;
use crate::judge::Evidence;

pub use judged::Judged;
pub use op::{Expectation, Op};
pub use path::ValuePath;
pub use terms::Terms;

/// One thing that is read and compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Check {
    /// A command-line argument of a component, running and on disk.
    Argument(argument::ArgumentCheck),
    /// A field of kubelet's configuration, and the flag of the same meaning.
    Kubelet(kubelet::KubeletCheck),
    /// Modes and owners of files.
    File(file::FileCheck),
    /// Values inside a YAML or JSON file.
    Content(content::ContentCheck),
    /// A feature gate.
    FeatureGate(feature_gate::FeatureGateCheck),
    /// How long leaf certificates live.
    LeafLifetime(leaf_lifetime::LeafLifetimeCheck),
    /// systemd units.
    Unit(unit::UnitCheck),
    /// Ports that the host firewall closes.
    Firewall(firewall::FirewallCheck),
    /// A kernel parameter.
    Sysctl(sysctl::SysctlCheck),
    /// The version a program reports.
    Version(version::VersionCheck),
    /// The privileges of a running process.
    Process(process::ProcessCheck),
    /// Predicates over API objects.
    Api(ApiCheck),
    /// A statement about API objects that predicates cannot express.
    Assertion(AssertionCheck),
    /// Something only a person can decide.
    Manual(Manual),
    /// A rule that cannot apply to this Kubernetes version.
    NotApplicable(NotApplicable),
}

/// Something only a person can decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manual {
    /// The question to answer.
    pub question: String,
    /// Where to look.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// A rule that cannot apply here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotApplicable {
    /// Why; the server's version is added as evidence.
    pub reason: String,
}

/// What a node check may look at.
#[derive(Debug, Clone, Copy)]
pub struct NodeContext<'a> {
    /// Settings and cluster facts a check may refer to.
    pub terms: &'a Terms,
    /// The cluster as it should be.
    pub cluster: &'a Cluster,
    /// The node.
    pub node: &'a Node,
    /// What was seen of it, if anything.
    pub facts: Option<&'a Facts>,
}

impl<'a> NodeContext<'a> {
    /// What was seen of this.
    ///
    /// # Errors
    /// It was not looked at, or looking failed.
    pub fn reading(&self, read: &Read) -> Result<&'a Reading, String> {
        let facts = self.facts.ok_or_else(|| format!("nothing was read from {}", self.node.name))?;
        match facts.reading(read) {
            None => Err(format!("{} was not read", describe(read))),
            Some(Reading::Failed(reason)) => Err(format!("{} could not be read: {reason}", describe(read))),
            Some(reading) => Ok(reading),
        }
    }
}

/// What a cluster check may look at.
#[derive(Debug, Clone, Copy)]
pub struct ClusterContext<'a> {
    /// Settings and cluster facts a check may refer to.
    pub terms: &'a Terms,
    /// The cluster as it should be.
    pub cluster: &'a Cluster,
    /// API objects, server version and the day.
    pub evidence: &'a Evidence,
}

impl Check {
    /// What is wrong with the check as it is written.
    ///
    /// # Errors
    /// A sentence for whoever wrote it.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            Self::Argument(check) => check.validate(),
            Self::Kubelet(check) => check.validate(),
            Self::File(check) => check.validate(),
            Self::Content(check) => check.validate(),
            Self::FeatureGate(check) => check.validate(),
            Self::LeafLifetime(check) => check.validate(),
            Self::Unit(check) => check.validate(),
            Self::Firewall(check) => check.validate(),
            Self::Version(check) => check.validate(),
            Self::Process(check) => check.validate(),
            Self::Api(check) => check.validate(),
            Self::Assertion(check) => check.validate(),
            Self::Sysctl(_) | Self::Manual(_) | Self::NotApplicable(_) => Ok(()),
        }
    }

    /// Whether the check is about the cluster as a whole instead of one node.
    pub const fn is_of_cluster(&self) -> bool {
        matches!(self, Self::Api(_) | Self::Assertion(_) | Self::Manual(_) | Self::NotApplicable(_))
    }

    /// Whether the check makes sense on a node of this role.
    pub fn runs_on(&self, role: Role) -> bool {
        match self {
            Self::Argument(check) => check.component.runs_on(role),
            Self::Process(check) => check.component.runs_on(role),
            Self::FeatureGate(check) => check.runs_on(role),
            Self::Kubelet(check) => among(&check.roles, role),
            Self::File(check) => among(&check.roles, role),
            Self::Content(check) => among(&check.roles, role),
            Self::LeafLifetime(check) => among(&check.roles, role),
            Self::Unit(check) => among(&check.roles, role),
            Self::Firewall(check) => among(&check.roles, role),
            Self::Sysctl(_) | Self::Version(_) => true,
            Self::Api(_) | Self::Assertion(_) | Self::Manual(_) | Self::NotApplicable(_) => false,
        }
    }

    /// What has to be read from a node.
    pub fn reads(&self, terms: &Terms, node: &Node) -> Vec<Read> {
        match self {
            Self::Argument(check) => check.reads(),
            Self::Kubelet(_) => kubelet::reads(),
            Self::File(check) => check.reads(terms),
            Self::Content(check) => check.reads(terms),
            Self::FeatureGate(check) => check.reads(node),
            Self::LeafLifetime(check) => check.reads(),
            Self::Unit(check) => check.reads(),
            Self::Firewall(check) => check.reads(),
            Self::Sysctl(check) => check.reads(),
            Self::Version(check) => check.reads(),
            Self::Process(check) => check.reads(),
            Self::Api(_) | Self::Assertion(_) | Self::Manual(_) | Self::NotApplicable(_) => Vec::new(),
        }
    }

    /// What has to be read from the API.
    pub fn api_reads(&self) -> Vec<ApiRead> {
        match self {
            Self::Api(check) => check.reads(),
            Self::Assertion(check) => check.reads(),
            _ => Vec::new(),
        }
    }

    /// Judges a node check.
    pub fn judge_node(&self, context: &NodeContext<'_>) -> Judged {
        let judged = match self {
            Self::Argument(check) => check.judge(context),
            Self::Kubelet(check) => check.judge(context),
            Self::File(check) => check.judge(context),
            Self::Content(check) => check.judge(context),
            Self::FeatureGate(check) => check.judge(context),
            Self::LeafLifetime(check) => check.judge(context),
            Self::Unit(check) => check.judge(context),
            Self::Firewall(check) => check.judge(context),
            Self::Sysctl(check) => check.judge(context),
            Self::Version(check) => check.judge(context),
            Self::Process(check) => check.judge(context),
            Self::Api(_) | Self::Assertion(_) | Self::Manual(_) | Self::NotApplicable(_) => {
                Err("this check is about the cluster, not about a node".to_owned())
            }
        };
        judged.unwrap_or_else(Judged::error)
    }

    /// Judges a cluster check.
    pub fn judge_cluster(&self, context: &ClusterContext<'_>) -> Judged {
        let judged = match self {
            Self::Api(check) => check.judge(context),
            Self::Assertion(check) => check.judge(context),
            Self::Manual(manual) => Ok(Judged {
                verdict: Verdict::Manual { question: manual.question.clone() },
                evidence: manual.evidence.iter().map(|place| format!("look at: {place}")).collect(),
            }),
            Self::NotApplicable(check) => check.judge(context),
            _ => Err("this check is about a node, not about the cluster".to_owned()),
        };
        judged.unwrap_or_else(Judged::error)
    }
}

impl NotApplicable {
    /// Without the server's own word for its version nothing is excused.
    fn judge(&self, context: &ClusterContext<'_>) -> Result<Judged, String> {
        let version = context.evidence.server_version.as_deref();
        let version =
            version.ok_or("the API server's version is not known, and only it could excuse this rule")?;
        Ok(Judged {
            verdict: Verdict::NotApplicable { reason: self.reason.clone() },
            evidence: vec![format!("the API server reports {version}")],
        })
    }
}

fn among(roles: &[Role], role: Role) -> bool {
    roles.is_empty() || roles.contains(&role)
}

/// A reading in words.
pub(crate) fn describe(read: &Read) -> String {
    match read {
        Read::Host => "the host".to_owned(),
        Read::File { path, .. } => format!("file {path}"),
        Read::Tree { path } => format!("directory tree {path}"),
        Read::Process { name } => format!("process {name}"),
        Read::Unit { name } => format!("unit {name}"),
        Read::Sysctl { key } => format!("kernel parameter {key}"),
        Read::Firewall => "the host firewall".to_owned(),
        Read::Subjects { path } => format!("the certificates of {path}"),
        Read::Version { program, .. } => format!("version of {program}"),
        other => format!("{other:?}"),
    }
}

/// A reading of a kind that does not answer the question: a broken reader, never a verdict.
pub(crate) fn unexpected(read: &Read) -> String {
    format!("{} was answered with something else", describe(read))
}

/// Components that run on nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// kube-apiserver
    KubeApiserver,
    /// kube-controller-manager
    KubeControllerManager,
    /// kube-scheduler
    KubeScheduler,
    /// etcd
    Etcd,
    /// kubelet
    Kubelet,
}

impl Component {
    /// The ones that run as static pods of the control plane.
    pub const CONTROL_PLANE: [Self; 4] =
        [Self::KubeApiserver, Self::KubeControllerManager, Self::KubeScheduler, Self::Etcd];

    /// Name of the process and of the static pod.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Etcd => "etcd",
            Self::Kubelet => "kubelet",
        }
    }

    /// Whether it runs on nodes of this role.
    pub fn runs_on(self, role: Role) -> bool {
        self == Self::Kubelet || role == Role::ControlPlane
    }

    pub(crate) fn process_read(self) -> Read {
        Read::Process { name: self.name().to_owned() }
    }

    /// The static-pod manifest; kubelet has none.
    pub(crate) fn manifest_read(self) -> Option<Read> {
        let path = format!("/etc/kubernetes/manifests/{}.yaml", self.name());
        (self != Self::Kubelet).then_some(Read::File { path, text: true })
    }
}
