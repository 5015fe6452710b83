//! Objects in the API, and the gates that prove the cluster works.

use kubezt_model::desired::{Desired, ManifestSet};
use kubezt_model::plan::{Change, Disruption, Gate, Operation, StepId};

use serde_json::json;

use crate::assess::{Assessment, object_name};
use crate::order::Draft;

/// The CNI and CoreDNS may have to unpack images and elect leaders on slow disks.
const READY_TIMEOUT_SECONDS: u32 = 300;

/// Steps for the cluster as a whole; the gates run whenever anything else does.
pub(super) fn steps(desired: &Desired, assessment: &Assessment, nodes: &[Draft]) -> Vec<Draft> {
    let applies: Vec<(&ManifestSet, Due)> =
        desired.manifests.iter().map(|set| (set, due_objects(set, assessment))).collect();
    let anything = nodes.iter().any(|draft| draft.operation.is_some())
        || applies.iter().any(|(_, due)| !due.changes.is_empty())
        || !assessment.unready.is_empty();
    let every = |what: &'static str| desired.nodes.iter().map(move |node| StepId::on(&node.node.name, what));
    let control_plane = |what: &'static str| {
        desired.cluster.control_plane().map(move |node| StepId::on(&node.name, what)).collect::<Vec<_>>()
    };

    // An API that answers goes on without one of its servers; one that is only about to be needs all of them.
    let waits = match assessment.api_reachable {
        true => Waits { needs: Vec::new(), after: control_plane("controllers") },
        false => Waits::needing(control_plane("api-server")),
    };
    let mut drafts = vec![gate("api-ready", "Wait for the API", Gate::ApiReady, waits, anything)];
    let first = applies.first().map(|(set, _)| StepId::cluster(&set.name));
    let mut applied = Vec::new();
    for (set, due) in applies {
        let id = StepId::cluster(&set.name);
        let Waits { needs, after } = match &first {
            // Node labels can only be set on nodes that have registered.
            _ if set.name == NODE_OBJECTS => Waits::needing([StepId::cluster("nodes-ready")]),
            // The first set grants the rights the others are applied with; those do not wait for each other.
            // Pods that find no image would wait longer and longer before they look again. A node that has none in the end
            // stops nothing.
            Some(first) if *first != id => {
                Waits { needs: vec![first.clone()], after: every("workload-images").collect() }
            }
            _ => Waits::needing([StepId::cluster("api-ready")]),
        };
        if set.name == NODE_OBJECTS {
            let after = every("kubelet").chain(every("workload-images")).collect();
            let waits = Waits { needs: first.iter().cloned().collect(), after };
            drafts.push(gate("nodes-ready", "Wait for nodes", Gate::NodesReady, waits, anything));
        }
        applied.push(id.clone());
        let Due { manifests, changes } = due;
        drafts.push(Draft {
            id,
            title: format!("Apply {}", set.name),
            node: None,
            operation: (!changes.is_empty()).then_some(Operation::Apply { manifests }),
            needs,
            after,
            interrupts: Disruption::None,
            changes,
        });
    }
    let applied = Waits::needing(applied);
    drafts.push(gate("workloads-ready", "Wait for workloads", Gate::WorkloadsReady, applied, anything));
    let talk = Waits::needing([StepId::cluster("workloads-ready")]);
    drafts.push(gate("pods-talk", "Let a pod talk to a pod", Gate::PodsTalk, talk, anything));
    drafts
}

/// Name of the manifest set that holds the nodes' labels; it is the last one.
pub const NODE_OBJECTS: &str = "nodes";

/// The part of a set that is due, and what that changes.
struct Due {
    manifests: ManifestSet,
    changes: Vec<Change>,
}

fn due_objects(set: &ManifestSet, assessment: &Assessment) -> Due {
    let mut manifests = ManifestSet { name: set.name.clone(), objects: Vec::new(), absent: Vec::new() };
    let mut changes = Vec::new();
    let mut change = |subject: String, verb: &str, why: String| {
        changes.push(Change { subject, verb: verb.to_owned(), why, diff: String::new() });
    };
    for object in &set.objects {
        let name = object_name(object);
        if let Some(due) = assessment.object(&set.name, &name) {
            change(name, "apply", due.why);
            manifests.objects.push(object.clone());
        }
    }
    for object in &set.absent {
        let name = object_name(object);
        if let Some(due) = assessment.left_over(&set.name, &name) {
            change(name, "remove", due.why.clone());
            manifests.absent.push(object.clone());
        }
    }
    if set.name == NODE_OBJECTS {
        for name in &assessment.departed {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            change(object_name(&node), "remove", "not in the cluster file".to_owned());
            manifests.absent.push(node);
        }
    }
    Due { manifests, changes }
}

/// What a step of the cluster waits for: what must have succeeded, and what must have ended.
struct Waits {
    needs: Vec<StepId>,
    after: Vec<StepId>,
}

impl Waits {
    fn needing(needs: impl IntoIterator<Item = StepId>) -> Self {
        Self { needs: needs.into_iter().collect(), after: Vec::new() }
    }
}

fn gate(what: &str, title: &str, gate: Gate, Waits { needs, after }: Waits, wanted: bool) -> Draft {
    Draft {
        id: StepId::cluster(what),
        title: title.to_owned(),
        node: None,
        operation: wanted.then_some(Operation::Gate { gate, timeout_seconds: READY_TIMEOUT_SECONDS }),
        needs,
        after,
        interrupts: Disruption::None,
        changes: Vec::new(),
    }
}
