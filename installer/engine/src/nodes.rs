//! Connections to the nodes of a cluster, and what is asked of them side by side.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use kubezt_model::NodeName;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::node::{Facts, Read, Reading};

use crate::api::{Dialler, Stream};
use crate::certificates::ApplyActions;
use crate::link::session::operator_name;
use crate::link::{ApplyEvent, LinkError, LinkStatistics, NodeConnection, NodeProgram};
use crate::transport::Target;

/// Nodes that are connected to at the same time.
const CONNECTING: usize = 32;

/// The nodes that were reached.
#[derive(Default)]
pub struct Nodes {
    connections: BTreeMap<NodeName, Arc<NodeConnection>>,
}

/// A node that was not reached, or not understood: its cause chain, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// Node.
    pub node: NodeName,
    /// Why; names the node.
    pub why: String,
    /// Whether it was reached, and the login user may not become root.
    pub privilege: bool,
}

impl NodeFailure {
    fn of(node: NodeName, error: &LinkError) -> Self {
        let privilege = matches!(error, LinkError::Sudo { .. });
        Self { node, why: crate::api::chain(error), privilege }
    }
}

impl std::fmt::Display for NodeFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl Nodes {
    /// Connects to every target; one that fails does not stop the others.
    pub async fn connect(
        targets: Vec<(NodeName, Target)>,
        program: Arc<NodeProgram>,
    ) -> (Self, Vec<NodeFailure>) {
        let operator = operator_name();
        let results: Vec<_> = futures::stream::iter(targets)
            .map(|(node, target)| {
                let (program, operator) = (Arc::clone(&program), operator.clone());
                async move { (node, NodeConnection::open(target, program, &operator).await) }
            })
            .buffer_unordered(CONNECTING)
            .collect()
            .await;
        let mut nodes = Self::default();
        let mut failures = Vec::new();
        for (node, result) in results {
            match result {
                Ok(connection) => {
                    nodes.connections.insert(node, Arc::new(connection));
                }
                Err(error) => failures.push(NodeFailure::of(node, &error)),
            }
        }
        failures.sort_by(|one, other| one.node.cmp(&other.node));
        (nodes, failures)
    }

    /// The connection to a node.
    ///
    /// # Errors
    /// The node was not reached.
    pub fn connection(&self, node: &NodeName) -> Result<&Arc<NodeConnection>, String> {
        self.connections.get(node).ok_or_else(|| format!("{node} was not reached"))
    }

    /// The nodes that were reached.
    pub fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.connections.keys()
    }

    /// Looks at things on many nodes at once; answers with facts, and with the nodes whose link failed.
    pub async fn gather(
        &self,
        reads: BTreeMap<NodeName, Vec<Read>>,
        now: jiff::Timestamp,
    ) -> (BTreeMap<NodeName, Facts>, Vec<NodeFailure>) {
        let asked = reads.into_iter().filter_map(|(node, reads)| {
            let connection = Arc::clone(self.connections.get(&node)?);
            Some(async move { (node, connection.link().gather(reads).await) })
        });
        let mut facts = BTreeMap::new();
        let mut failures = Vec::new();
        for (node, result) in futures::future::join_all(asked).await {
            match result {
                Ok(readings) => {
                    let readings = readings.into_iter().collect();
                    facts.insert(node.clone(), Facts { node, at: now.as_second(), readings });
                }
                Err(error) => failures.push(NodeFailure::of(node, &error)),
            }
        }
        (facts, failures)
    }

    /// Looks at one thing on one node.
    ///
    /// # Errors
    /// The node was not reached, or its link failed.
    pub async fn read(&self, node: &NodeName, read: Read) -> Result<Reading, String> {
        let connection = self.connection(node)?;
        let mut readings =
            connection.link().gather(vec![read]).await.map_err(|error| crate::api::chain(&error))?;
        readings.pop().map(|(_, reading)| reading).ok_or_else(|| format!("{node} gave no answer"))
    }

    /// Opens byte streams to a TCP address as a node reaches it.
    ///
    /// # Errors
    /// The node was not reached.
    pub fn dialler(&self, node: &NodeName, address: SocketAddr) -> Result<Dialler, String> {
        let connection = Arc::clone(self.connection(node)?);
        Ok(Arc::new(move || {
            let connection = Arc::clone(&connection);
            Box::pin(async move {
                let stream = connection.dial(address).await.map_err(io::Error::other)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            })
        }))
    }

    /// Applies actions on a node and reports what goes on.
    ///
    /// # Errors
    /// The first action that failed, described, with its cause chain.
    pub async fn apply_with_progress(
        &self,
        node: &NodeName,
        actions: Vec<Action>,
        mut progress: impl FnMut(String),
    ) -> Result<Vec<Outcome>, String> {
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let described: Vec<String> = actions.iter().map(Action::describe).collect();
        let what = |index: usize| described.get(index).map_or("", String::as_str).to_owned();
        let connection = self.connection(node)?;
        let outcomes = connection
            .link()
            .apply(actions, |event| match event {
                ApplyEvent::Started { index } => progress(what(*index)),
                ApplyEvent::Progress { index, message } => progress(format!("{}: {message}", what(*index))),
                ApplyEvent::Done { .. } => {}
            })
            .await
            .map_err(|error| crate::api::chain(&error))?;
        if let Some(Outcome::Failed { error }) = outcomes.last() {
            return Err(format!("{}: {error}", what(outcomes.len() - 1)));
        }
        if outcomes.len() != described.len() {
            return Err(format!("only {} of {} actions were done", outcomes.len(), described.len()));
        }
        Ok(outcomes)
    }

    /// What each node cost so far.
    pub fn statistics(&self) -> BTreeMap<NodeName, LinkStatistics> {
        self.connections.iter().map(|(node, connection)| (node.clone(), connection.statistics())).collect()
    }
}

impl ApplyActions for Nodes {
    fn reaches(&self, node: &NodeName) -> bool {
        self.connection(node).is_ok()
    }

    async fn apply(&self, node: &NodeName, actions: Vec<Action>) -> Result<Vec<Outcome>, String> {
        self.apply_with_progress(node, actions, |_| {}).await
    }
}
