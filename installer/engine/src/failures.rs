//! What failed in a run, a block a node: where it stopped, why, what its units and containers said, and how to go on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kubezt_model::NodeName;
use kubezt_model::health::{ContainerReading, ContainerState};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{StepId, Suspect};

use crate::executor::Outcome;
use crate::nodes::NodeFailure;

/// Lines that are shown of each unit or container, the last ones.
const SHOWN: usize = 6;
/// Unit that knows why a pod has no container.
const KUBELET: &str = "kubelet.service";

/// How much came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All is as wanted.
    Whole,
    /// Something was done, or all is as wanted but for nodes that were not reached.
    Part,
    /// Nothing was done.
    Nothing,
}

/// How much came of a run in which these nodes were not reached.
pub fn extent(outcome: &Outcome, unreached: &[NodeFailure]) -> Extent {
    if outcome.is_complete() {
        return if unreached.is_empty() { Extent::Whole } else { Extent::Part };
    }
    if outcome.changed > 0 || outcome.cancelled { Extent::Part } else { Extent::Nothing }
}

/// What failed on a node, or in the cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The node; `None` for the cluster.
    pub node: Option<NodeName>,
    /// What was being done, and why it failed: cause chains, outermost first.
    pub failed: Vec<(String, String)>,
    /// What units and containers said last.
    pub said: Vec<String>,
    /// Steps that did not run because of these.
    pub left_out: Vec<StepId>,
}

/// A block for each node that was not reached, or on which a step failed or was left out; and one for the cluster. It comes
/// last: what fails there often follows from a node.
pub fn blocks(outcome: &Outcome, unreached: &[NodeFailure]) -> Vec<Block> {
    let mut blocks = Blocks::default();
    for NodeFailure { node, why, .. } in unreached {
        blocks.of(Some(node)).failed.push(("connecting".to_owned(), why.clone()));
    }
    for step in &outcome.failed {
        let block = blocks.of(step.node.as_ref());
        block.failed.push((step.step.to_string(), step.cause.clone()));
        block
            .said
            .extend(step.said.iter().filter(|line| !block.said.contains(line)).cloned().collect::<Vec<_>>());
    }
    for (step, node) in &outcome.skipped {
        blocks.of(node.as_ref()).left_out.push(step.clone());
    }
    blocks.0.into_values().collect()
}

#[derive(Default)]
struct Blocks(BTreeMap<(bool, Option<NodeName>), Block>);

impl Blocks {
    fn of(&mut self, node: Option<&NodeName>) -> &mut Block {
        let (node, is_cluster) = (node.cloned(), node.is_none());
        let empty = Block { node: node.clone(), failed: Vec::new(), said: Vec::new(), left_out: Vec::new() };
        self.0.entry((is_cluster, node)).or_insert(empty)
    }
}

impl Block {
    /// As a person reads it. `again` is the command that goes on.
    pub fn text(&self, again: &str) -> String {
        let place = self.node.as_ref().map_or("cluster", NodeName::as_str);
        let mut text = String::new();
        for (what, cause) in &self.failed {
            let _ = writeln!(text, "{place}: {what} failed");
            let _ = writeln!(text, "  why      {cause}");
        }
        if self.failed.is_empty() {
            let _ = writeln!(text, "{place}: nothing failed here, and something has to come first");
        }
        for (at, line) in self.said.iter().enumerate() {
            let _ = writeln!(text, "  {:<8} {line}", if at == 0 { "said" } else { "" });
        }
        if !self.left_out.is_empty() {
            let left_out: Vec<&str> = self.left_out.iter().map(StepId::as_str).collect();
            let _ = writeln!(text, "  not run  {}", left_out.join(", "));
        }
        let _ = writeln!(text, "  go on    {again}");
        text
    }
}

/// What is read to hear what these say.
pub fn reads(suspects: &[Suspect]) -> Vec<Read> {
    let mut reads: Vec<Read> = suspects
        .iter()
        .flat_map(|suspect| match suspect {
            Suspect::Unit(name) => vec![Read::UnitLog { name: name.clone() }],
            Suspect::Pod(_) => vec![Read::Containers, Read::UnitLog { name: KUBELET.to_owned() }],
        })
        .collect();
    reads.sort();
    reads.dedup();
    reads
}

/// What they say, a few lines each, with who says it. Containers that run say nothing; of a pod that has none kubelet knows why.
pub fn words(suspects: &[Suspect], readings: &BTreeMap<Read, Reading>) -> Vec<String> {
    let log = |name: &str| match readings.get(&Read::UnitLog { name: name.to_owned() }) {
        Some(Reading::Lines(lines)) => said(name, lines),
        _ => Vec::new(),
    };
    let containers = match readings.get(&Read::Containers) {
        Some(Reading::Containers(containers)) => containers.as_slice(),
        _ => &[],
    };
    let words = suspects.iter().flat_map(|suspect| match suspect {
        Suspect::Unit(name) => log(name),
        Suspect::Pod(name) => match containers.iter().find(|container| container.name == *name) {
            Some(ContainerReading { state: ContainerState::Running, restarts: 0, .. }) => Vec::new(),
            Some(ContainerReading { state, restarts, said: lines, .. }) => {
                let state = format!("{name}: it {state}, started again {restarts} times");
                std::iter::once(state).chain(said(name, lines)).collect()
            }
            None => log(KUBELET),
        },
    });
    words.collect()
}

fn said(who: &str, lines: &[String]) -> Vec<String> {
    let from = lines.len().saturating_sub(SHOWN);
    lines[from..].iter().map(|line| format!("{who}: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::FailedStep;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn unreached(name: &str) -> NodeFailure {
        NodeFailure { node: node(name), why: format!("{name}: no route to host"), privilege: false }
    }

    fn failed(name: Option<&str>, what: &str, said: &[&str]) -> FailedStep {
        let step = name.map_or_else(|| StepId::cluster(what), |name| StepId::on(&node(name), what));
        let said = said.iter().map(|line| (*line).to_owned()).collect();
        FailedStep { step, node: name.map(node), cause: "start a: it ended: no space".to_owned(), said }
    }

    #[test]
    fn there_is_one_block_a_node_and_the_cluster_comes_last() {
        let outcome = Outcome {
            changed: 3,
            failed: vec![
                failed(None, "nodes-ready", &[]),
                failed(Some("w1"), "services", &["kubelet.service: no"]),
                failed(Some("w1"), "images", &["kubelet.service: no"]),
            ],
            skipped: vec![
                (StepId::on(&node("w1"), "kubelet"), Some(node("w1"))),
                (StepId::on(&node("w2"), "certificates"), Some(node("w2"))),
            ],
            cancelled: false,
        };
        let blocks = blocks(&outcome, &[unreached("w3")]);
        let text: Vec<String> = blocks.iter().map(|block| block.text("kubezt install")).collect();
        assert_eq!(
            text,
            [
                "w1: w1/services failed\n  why      start a: it ended: no space\n\
                 w1: w1/images failed\n  why      start a: it ended: no space\n\
                 \x20 said     kubelet.service: no\n  not run  w1/kubelet\n  go on    kubezt install\n",
                "w2: nothing failed here, and something has to come first\n  not run  w2/certificates\n  go on    kubezt install\n",
                "w3: connecting failed\n  why      w3: no route to host\n  go on    kubezt install\n",
                "cluster: cluster/nodes-ready failed\n  why      start a: it ended: no space\n  go on    kubezt install\n",
            ]
        );
    }

    #[test]
    fn what_was_done_is_part_of_it_and_nothing_is_nothing() {
        let whole = Outcome::default();
        assert_eq!(extent(&whole, &[]), Extent::Whole);
        assert_eq!(extent(&whole, &[unreached("w1")]), Extent::Part);
        let nothing = Outcome { failed: vec![failed(Some("w1"), "host", &[])], ..Outcome::default() };
        assert_eq!(extent(&nothing, &[]), Extent::Nothing);
        assert_eq!(extent(&Outcome { changed: 1, ..nothing }, &[]), Extent::Part);
        assert_eq!(extent(&Outcome { cancelled: true, ..Outcome::default() }, &[]), Extent::Part);
    }

    #[test]
    fn a_pod_says_why_it_does_not_run_and_kubelet_why_there_is_none() {
        let suspects = [Suspect::Unit("containerd.service".to_owned()), Suspect::Pod("etcd".to_owned())];
        let lines = |prefix: &str| (0..9).map(|at| format!("{prefix}{at}")).collect::<Vec<_>>();
        let mut readings: BTreeMap<Read, Reading> = reads(&suspects)
            .into_iter()
            .map(|read| match &read {
                Read::UnitLog { name } => (read.clone(), Reading::Lines(lines(&name[..4]))),
                _ => (read, Reading::Containers(Vec::new())),
            })
            .collect();
        assert_eq!(readings.len(), 3);
        let said = words(&suspects, &readings);
        assert_eq!((said.len(), said[0].as_str()), (12, "containerd.service: cont3"));
        assert_eq!(said[11], "kubelet.service: kube8");
        let container = ContainerReading {
            namespace: "kube-system".to_owned(),
            pod: "etcd-cp1".to_owned(),
            name: "etcd".to_owned(),
            state: ContainerState::Exited { code: 2, reason: String::new() },
            restarts: 4,
            said: vec!["panic: no space".to_owned()],
        };
        readings.insert(Read::Containers, Reading::Containers(vec![container]));
        let said = words(&suspects[1..], &readings);
        assert_eq!(said, ["etcd: it ended with code 2, started again 4 times", "etcd: panic: no space"]);
    }
}
