//! Objects in the API, and the gates that prove the cluster works.

use kubezt_model::desired::{Desired, ManifestSet, Node};
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
    let serves = |node: &Node| ["kubelet", "etcd-promotion"].map(|what| StepId::on(&node.name, what));
    let control_plane: Vec<StepId> = desired.cluster.control_plane().flat_map(serves).collect();

    let mut drafts = vec![gate("api-ready", "Wait for the API", Gate::ApiReady, control_plane, anything)];
    let first = applies.first().map(|(set, _)| StepId::cluster(&set.name));
    let mut applied = Vec::new();
    for (set, due) in applies {
        let id = StepId::cluster(&set.name);
        let needs = match &first {
            // Node labels can only be set on nodes that have registered.
            _ if set.name == NODE_OBJECTS => vec![StepId::cluster("nodes-ready")],
            // The first set grants the rights the others are applied with; those do not wait for each other.
            // Pods that find no image would wait longer and longer before they look again.
            Some(first) if *first != id => every("workload-images").chain([first.clone()]).collect(),
            _ => vec![StepId::cluster("api-ready")],
        };
        if set.name == NODE_OBJECTS {
            let needs = every("kubelet").chain(every("workload-images")).chain(first.clone()).collect();
            drafts.push(gate("nodes-ready", "Wait for nodes", Gate::NodesReady, needs, anything));
        }
        applied.push(id.clone());
        let Due { manifests, changes } = due;
        drafts.push(Draft {
            id,
            title: format!("Apply {}", set.name),
            node: None,
            operation: (!changes.is_empty()).then_some(Operation::Apply { manifests }),
            needs,
            interrupts: Disruption::None,
            changes,
        });
    }
    drafts.push(gate("workloads-ready", "Wait for workloads", Gate::WorkloadsReady, applied, anything));
    let talk = vec![StepId::cluster("workloads-ready")];
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

fn gate(what: &str, title: &str, gate: Gate, needs: Vec<StepId>, wanted: bool) -> Draft {
    Draft {
        id: StepId::cluster(what),
        title: title.to_owned(),
        node: None,
        operation: wanted.then_some(Operation::Gate { gate, timeout_seconds: READY_TIMEOUT_SECONDS }),
        needs,
        interrupts: Disruption::None,
        changes: Vec::new(),
    }
}
