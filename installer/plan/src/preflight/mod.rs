//! What would make an install fail or do damage, found before anything is changed, all of it at once.
//!
//! Each check is one file in [`checks`] and its line in the list there. It sees every node, since much of what goes wrong lies
//! between two of them, and says what it found and what to do about it.
//!
//! What is looked at comes in three messages to a node: [`reads`], then [`measures`] on nodes that are not members yet, and,
//! once [`listeners`] are open, [`targets`].

mod checks;
mod finding;
mod members;
mod ports;
mod reach;
mod seen;

use std::collections::BTreeSet;

use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, DesiredNode, Node};
use kubezt_model::node::Read;

pub use checks::{CHECKS, Check};
pub use finding::{Finding, Severity};
pub use reach::{listeners, targets};
pub use seen::{ClockOffset, Seen, Unreachable};

pub(crate) use checks::clock::disagreement;
pub(crate) use finding::Remark;

use members::is_member;
use seen::Scene;

/// Looked at on every node, in one message.
pub fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    let mut reads: Vec<Read> = CHECKS.iter().flat_map(|check| (check.reads)(desired, node)).collect();
    reads.push(members::root());
    reads.sort();
    reads.dedup();
    reads
}

/// Measured on a node that is not a member yet: it takes a moment, and on control-plane nodes writes a temporary file.
pub fn measures(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    let mut reads = checks::name_resolution::measures(&desired.cluster, &node.node);
    reads.extend(checks::fsync::measures(&node.node));
    reads
}

/// Judges what was seen. `nodes` are those that somebody is about to install; what concerns only others is left out, and what
/// concerns the cluster as a whole is not.
pub fn preflight(desired: &Desired, seen: &Seen, nodes: &BTreeSet<NodeName>) -> Vec<Finding> {
    let scene = Scene::new(desired, seen);
    let concerns =
        |remark: &Remark| remark.nodes.is_empty() || remark.nodes.iter().any(|node| nodes.contains(node));
    let mut findings: Vec<Finding> = CHECKS
        .iter()
        .flat_map(|check| (check.judge)(&scene).into_iter().map(move |remark| (check, remark)))
        .filter(|(_, remark)| concerns(remark))
        .map(|(check, remark)| Finding::of(check, remark))
        .collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Nodes of the cluster that are not members of it yet, as far as they were reached.
pub fn candidates(desired: &Desired, seen: &Seen) -> BTreeSet<NodeName> {
    let reached = |node: &&Node| seen.facts.contains_key(&node.name);
    let nodes = desired.cluster.nodes.iter().filter(reached);
    nodes
        .filter(|node| !is_member(&desired.cluster, seen, &node.name))
        .map(|node| node.name.clone())
        .collect()
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
