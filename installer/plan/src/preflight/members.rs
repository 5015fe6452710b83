//! Whether a node is a member of the cluster already.

use kubezt_model::NodeName;
use kubezt_model::desired::Cluster;
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::SubjectReading;

use super::Seen;

/// The root every node of a cluster trusts. An install writes it before anything that runs.
pub(super) const ROOT: &str = "/etc/kubernetes/pki/root.crt";

/// How it is asked for.
pub(super) fn root() -> Read {
    Read::Subjects { path: ROOT.to_owned() }
}

/// Whether the node trusts the root the operator holds: an install of this cluster has been here.
pub(super) fn is_member(cluster: &Cluster, seen: &Seen, node: &NodeName) -> bool {
    let own = |subject: &SubjectReading| {
        subject.common_name == cluster.name.as_str() && Some(subject.fingerprint) == seen.root
    };
    let subjects = seen.facts.get(node).and_then(|facts| facts.reading(&root()));
    matches!(subjects, Some(Reading::Subjects(subjects)) if subjects.iter().any(own))
}
