//! Looking at nodes before anything is changed: facts and clocks, disks, and who reaches whom.
//!
//! ```text
//! every node          facts │ clock
//! newcomers           disk and names │ listen ─► every pair tries ─► stop listening
//! ```
//!
//! What stands side by side goes on at the same time, on all nodes at once. Judging what was seen is the plan crate's.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use jiff::Timestamp;
use kubezt_model::desired::Desired;
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::survey::Endpoint;
use kubezt_model::{Digest, NodeName};
use kubezt_plan::preflight::{self, ClockOffset, Seen, Unreachable};

use crate::nodes::{NodeFailure, Nodes};

/// Which nodes are looked at closely: it takes half a second more, and opens ports for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those that are not members of the cluster yet.
    Newcomers,
    /// All of them.
    All,
}

/// Looks at every node that was reached. `root` is the fingerprint of the root the operator holds, by which members are known.
pub async fn look(
    nodes: &Nodes,
    desired: &Desired,
    failures: &[NodeFailure],
    root: Option<Digest>,
    extent: Extent,
) -> Seen {
    let wanted = desired.nodes.iter();
    let reads = wanted.map(|node| (node.node.name.clone(), preflight::reads(desired, node))).collect();
    let ((facts, lost), clocks) = tokio::join!(nodes.gather(reads, Timestamp::now()), clocks(nodes));
    let lost = failures.iter().chain(&lost).map(unreachable).collect();
    let mut seen = Seen { facts, clocks, unreachable: lost, root };
    let close: BTreeSet<NodeName> = match extent {
        Extent::Newcomers => preflight::candidates(desired, &seen),
        Extent::All => seen.facts.keys().cloned().collect(),
    };
    if !close.is_empty() {
        let (measured, reached) =
            tokio::join!(measure(nodes, desired, &close), reach(nodes, desired, &seen, &close));
        for (more, lost) in [measured, reached] {
            add(&mut seen.facts, more);
            seen.unreachable.extend(lost.iter().map(unreachable));
        }
    }
    seen
}

pub(crate) fn unreachable(failure: &NodeFailure) -> Unreachable {
    Unreachable { node: failure.node.clone(), why: failure.why.clone(), privilege: failure.privilege }
}

/// Adds what was seen later to what was seen before.
fn add(facts: &mut BTreeMap<NodeName, Facts>, more: BTreeMap<NodeName, Facts>) {
    for (node, more) in more {
        if let Some(facts) = facts.get_mut(&node) {
            facts.readings.extend(more.readings);
        }
    }
}

/// Asks every node for the time, in a message of its own so that little lies between question and answer.
pub(crate) async fn clocks(nodes: &Nodes) -> BTreeMap<NodeName, ClockOffset> {
    let asked = nodes.names().map(|node| async move {
        let connection = nodes.connection(node).ok()?;
        let link = connection.link();
        let before = Timestamp::now().as_millisecond();
        let readings = link.gather(vec![Read::Clock]).await.ok()?;
        let after = Timestamp::now().as_millisecond();
        match readings.into_iter().next() {
            Some((_, Reading::Clock(clock))) => Some((node.clone(), offset(before, clock, after))),
            _ => None,
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The node's clock is taken to be read in the middle between question and answer, and may have been at either end.
fn offset(before: i64, clock: i64, after: i64) -> ClockOffset {
    let half = (after - before).max(0).div_euclid(2);
    ClockOffset { milliseconds: clock - (before + half), uncertainty: half + 1 }
}

/// What nodes answered, and those that did not.
type Answers = (BTreeMap<NodeName, Facts>, Vec<NodeFailure>);

async fn measure(nodes: &Nodes, desired: &Desired, close: &BTreeSet<NodeName>) -> Answers {
    let wanted = desired.nodes.iter().filter(|node| close.contains(&node.node.name));
    let reads = wanted.map(|node| (node.node.name.clone(), preflight::measures(desired, node))).collect();
    nodes.gather(reads, Timestamp::now()).await
}

/// Lets nodes listen where their components will, and every other node try to reach them.
async fn reach(nodes: &Nodes, desired: &Desired, seen: &Seen, close: &BTreeSet<NodeName>) -> Answers {
    let wanted = preflight::listeners(desired, seen, close);
    let open = listen(nodes, &wanted).await;
    let targets = preflight::targets(desired, seen, close, &open);
    let reads = targets.into_iter().map(|(node, read)| (node, vec![read])).collect();
    let answers = nodes.gather(reads, Timestamp::now()).await;
    // The components that come next need the ports; a node that is lost meanwhile gives them up by itself.
    let nowhere = wanted.into_keys().map(|node| (node, Vec::new())).collect();
    listen(nodes, &nowhere).await;
    answers
}

/// Has nodes listen there and nowhere else; answers with where they do.
async fn listen(
    nodes: &Nodes,
    endpoints: &BTreeMap<NodeName, Vec<Endpoint>>,
) -> BTreeMap<NodeName, BTreeSet<Endpoint>> {
    let asked = endpoints.iter().map(|(node, endpoints)| async move {
        let connection = nodes.connection(node).ok()?;
        let link = connection.link();
        let refused = link.listen(endpoints.clone(), node.clone()).await.ok()?;
        let refused: BTreeSet<Endpoint> = refused.into_iter().map(|(endpoint, _)| endpoint).collect();
        let open = endpoints.iter().filter(|endpoint| !refused.contains(endpoint)).cloned().collect();
        Some((node.clone(), open))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_way_is_taken_off() {
        assert_eq!(offset(1000, 1050, 1100), ClockOffset { milliseconds: 0, uncertainty: 51 });
        assert_eq!(offset(1000, 4_600_050, 1100), ClockOffset { milliseconds: 4_599_000, uncertainty: 51 });
        // The operator's own clock was set back meanwhile.
        assert_eq!(offset(1000, 900, 800), ClockOffset { milliseconds: -100, uncertainty: 1 });
    }
}
