//! Ordered steps of actions, with what they interrupt.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Condition};
use crate::desired::{DesiredBundle, DesiredCertificate, DesiredKey, ManifestSet};
use crate::names::NodeName;
use crate::{Digest, SecretText, redaction};

/// Names a step: `node/what`, or `cluster/what`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// Id of a step on a node.
    pub fn on(node: &NodeName, what: &str) -> Self {
        Self(format!("{node}/{what}"))
    }

    /// Id of a step for the whole cluster.
    pub fn cluster(what: &str) -> Self {
        Self(format!("cluster/{what}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// What has to be done to get from what was seen to what is wanted. Empty on a converged cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Cluster name.
    pub cluster: NodeName,
    /// Steps; a step stands after all it needs.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One step: actions in order at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Id.
    pub id: StepId,
    /// What it does, for people.
    pub title: String,
    /// Node, or `None` for the cluster.
    pub node: Option<NodeName>,
    /// What is done.
    pub operation: Operation,
    /// Steps of this plan that must have succeeded before.
    pub needs: Vec<StepId>,
    /// Steps of this plan that must have ended before, however they ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// What running workloads and clients notice. One disruption of a kind happens at a time.
    pub interrupts: Disruption,
    /// What changes, for people.
    pub changes: Vec<Change>,
}

/// What is done in a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Actions on the step's node; the blobs they name are sent first where they are missing.
    Node {
        /// In order.
        actions: Vec<Action>,
    },
    /// Keys are made on the step's node, their public halves signed where the authority lives, chains written back.
    Certificates {
        /// Keys without certificates to make.
        keys: Vec<DesiredKey>,
        /// Certificates to issue.
        certificates: Vec<DesiredCertificate>,
        /// Trust bundles to write once the authorities are known.
        bundles: Vec<DesiredBundle>,
    },
    /// Objects are applied to the API (server-side apply).
    Apply {
        /// The objects.
        manifests: ManifestSet,
    },
    /// Something about the whole cluster is waited for.
    Gate {
        /// What.
        gate: Gate,
        /// At most this many seconds.
        timeout_seconds: u32,
    },
}

/// Something about the whole cluster that can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The API server on the first control-plane node answers `/readyz` to an authenticated client.
    ApiReady,
    /// Every node of the cluster is registered and Ready, and carries its labels and taints.
    NodesReady,
    /// Every workload kubezt installed runs at its wanted size.
    WorkloadsReady,
    /// A pod on one node reaches a pod on another through a Service name, where a policy allows it.
    PodsTalk,
}

/// What running workloads and clients notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disruption {
    /// Nothing.
    None,
    /// An etcd member restarts.
    EtcdMember,
    /// An API server restarts.
    ApiServer,
    /// A controller manager or scheduler restarts.
    Controllers,
    /// kubelet or the container runtime restarts; pods keep running.
    Kubelet,
    /// Pod traffic may pause.
    DataPath,
}

impl Disruption {
    /// Whether a component of the control plane is away for a moment, of which more than one at a time may be too many.
    pub fn is_of_control_plane(self) -> bool {
        matches!(self, Self::EtcdMember | Self::ApiServer | Self::Controllers)
    }
}

/// One thing that changes, for people and for change tickets. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What: a path, a unit, an image, an object.
    pub subject: String,
    /// How: `create`, `change`, `remove`, `start`, `restart`, `import`, `issue`, `apply`.
    pub verb: String,
    /// Why it is needed, in a few words.
    pub why: String,
    /// Unified diff of a public file; empty where there is none to show.
    pub diff: String,
}

/// Unit of kubelet.
const KUBELET: &str = "kubelet.service";

impl Step {
    /// Whether its node joins the cluster by this step, or comes back to it: its kubelet does not run, and is started. Where one
    /// runs and is restarted, the API server gets nothing new to watch, and [`Disruption::Kubelet`] lets one do so at a time.
    pub fn joins(&self) -> bool {
        let Operation::Node { actions } = &self.operation else { return false };
        actions.iter().any(|action| matches!(action, Action::StartUnit { name } if name == KUBELET))
    }

    /// Units and static pods whose own words tell why the step failed, in the order it touches them.
    pub fn suspects(&self) -> Vec<Suspect> {
        let Operation::Node { actions } = &self.operation else { return Vec::new() };
        let mut suspects = Vec::new();
        for suspect in actions.iter().filter_map(suspect) {
            if !suspects.contains(&suspect) {
                suspects.push(suspect);
            }
        }
        suspects
    }

    /// The step with every secret content replaced by its digest, for tickets and journals.
    pub fn redacted(&self) -> Self {
        let mut step = self.clone();
        match &mut step.operation {
            Operation::Node { actions } => actions.iter_mut().for_each(redact),
            Operation::Apply { manifests } => manifests.objects.iter_mut().for_each(redaction::object),
            Operation::Certificates { .. } | Operation::Gate { .. } => {}
        }
        step
    }
}

/// What may know more of a failure than the failure says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspect {
    /// A systemd unit.
    Unit(String),
    /// A static pod.
    Pod(String),
}

fn suspect(action: &Action) -> Option<Suspect> {
    let unit = |name: &str| Some(Suspect::Unit(name.to_owned()));
    let pod = |name: &str| Some(Suspect::Pod(name.to_owned()));
    match action {
        Action::StartUnit { name } | Action::RestartUnit { name } => unit(name),
        Action::ImportImage { .. } => unit("containerd.service"),
        Action::Wait { condition: Condition::SocketOpen { path }, .. } if path.contains("containerd") => {
            unit("containerd.service")
        }
        Action::RestartStaticPod { name, .. }
        | Action::Wait { condition: Condition::StaticPodCurrent { name, .. }, .. } => pod(name),
        Action::FormEtcdMember { .. }
        | Action::PromoteEtcdMember { .. }
        | Action::Wait { condition: Condition::EtcdCurrent, .. } => pod("etcd"),
        Action::Wait { condition: Condition::ApiServerReady { .. }, .. } => pod("kube-apiserver"),
        _ => None,
    }
}

fn redact(action: &mut Action) {
    if let Action::PutFile { body, sensitivity: crate::desired::Sensitivity::Secret, .. } = action {
        *body = SecretText::new(format!("sha256:{}", Digest::of(body.expose().as_bytes())));
    }
}
