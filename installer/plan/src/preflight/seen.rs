//! What was seen of the nodes, and how checks look at it.

use std::collections::BTreeMap;

use kubezt_model::desired::{Cluster, Desired, DesiredNode, Node};
use kubezt_model::node::{Facts, HostReading, Read, Reading};
use kubezt_model::survey::{NetworkReading, SocketReading};
use kubezt_model::{Digest, NodeName};
use serde::Serialize;

use super::members;

/// What was seen of all nodes.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What each node answered.
    pub facts: BTreeMap<NodeName, Facts>,
    /// How far each node's clock is from the operator's.
    pub clocks: BTreeMap<NodeName, ClockOffset>,
    /// Nodes that gave no answer.
    pub unreachable: Vec<Unreachable>,
    /// Fingerprint of the root the operator holds for this cluster; `None` before the first install.
    pub root: Option<Digest>,
}

/// How far a clock is from the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockOffset {
    /// Milliseconds it is ahead; negative where it is behind. Half the way there and back is taken off.
    pub milliseconds: i64,
    /// Milliseconds it may be wrong by: half the way there and back.
    pub uncertainty: i64,
}

/// A node that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreachable {
    /// The node.
    pub node: NodeName,
    /// Why; names the node.
    pub why: String,
    /// Whether it was reached, and the login user may not become root.
    pub privilege: bool,
}

/// What checks look at.
pub(super) struct Scene<'a> {
    pub desired: &'a Desired,
    pub seen: &'a Seen,
    /// Nodes that gave an answer, in the order of the cluster.
    pub places: Vec<Place<'a>>,
}

/// A node that gave an answer.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub node: &'a Node,
    pub desired: &'a DesiredNode,
    pub facts: &'a Facts,
    /// Whether it is a member of this cluster already.
    pub member: bool,
}

impl<'a> Scene<'a> {
    pub fn new(desired: &'a Desired, seen: &'a Seen) -> Self {
        let place = |desired_node: &'a DesiredNode| {
            let node = &desired_node.node;
            let member = members::is_member(&desired.cluster, seen, &node.name);
            Some(Place { node, desired: desired_node, facts: seen.facts.get(&node.name)?, member })
        };
        Self { desired, seen, places: desired.nodes.iter().filter_map(place).collect() }
    }

    pub fn cluster(&self) -> &'a Cluster {
        &self.desired.cluster
    }

    /// Remarks of a check that looks at one node at a time.
    pub fn each(&self, judge: impl Fn(&Place<'a>) -> Option<super::Remark>) -> Vec<super::Remark> {
        self.places.iter().filter_map(judge).collect()
    }
}

impl<'a> Place<'a> {
    pub fn name(&self) -> &'a NodeName {
        &self.node.name
    }

    pub fn host(&self) -> Option<&'a HostReading> {
        match self.facts.reading(&Read::Host)? {
            Reading::Host(host) => Some(host),
            _ => None,
        }
    }

    pub fn network(&self) -> Option<&'a NetworkReading> {
        match self.facts.reading(&Read::Network)? {
            Reading::Network(network) => Some(network),
            _ => None,
        }
    }

    pub fn sockets(&self) -> &'a [SocketReading] {
        match self.facts.reading(&Read::Sockets) {
            Some(Reading::Sockets(sockets)) => sockets,
            _ => &[],
        }
    }
}
