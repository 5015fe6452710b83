//! Connections to the nodes of a cluster, and what is asked of them side by side.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use kubezt_model::NodeName;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::event::Event;
use kubezt_model::node::{Facts, Read, Reading};

use crate::api::{Dialler, Stream};
use crate::certificates::ApplyActions;
use crate::executor::Sink;
use crate::guarded::{self, Patience, Trial};
use crate::link::session::operator_name;
use crate::link::{
    ApplyEvent, BlobSource, Compression, LinkError, LinkStatistics, MissingBlob, NodeConnection, NodeProgram,
    RelayCredential,
};
use crate::reconnect::{Losses, Reconnecting};
use crate::transport::{Access, Target};

/// The nodes that were reached. A connection that is lost is made again, and what was under way goes on.
#[derive(Default)]
pub struct Nodes {
    connections: BTreeMap<NodeName, Arc<Reconnecting>>,
    /// Who is told of lost connections.
    warnings: OnceLock<Sink>,
}

/// Where a node gets a blob from.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// This machine.
    Here,
    /// Another node, which hands it on.
    Node {
        /// Where it listens.
        address: SocketAddr,
        /// What both show.
        credential: &'a RelayCredential,
    },
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
        let privilege = matches!(error, LinkError::Elevation { .. });
        Self { node, why: crate::api::chain(error), privilege }
    }
}

impl std::fmt::Display for NodeFailure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl Nodes {
    /// Connects to every target, `at_once` of them at a time; one that fails does not stop the others.
    pub async fn connect(
        targets: Vec<(NodeName, Target)>,
        at_once: NonZeroU8,
        access: Arc<Access>,
        program: Arc<NodeProgram>,
    ) -> (Self, Vec<NodeFailure>) {
        let operator = operator_name();
        let results: Vec<_> = futures::stream::iter(targets)
            .map(|(node, target)| {
                let (access, program) = (Arc::clone(&access), Arc::clone(&program));
                let operator = operator.clone();
                async move { (node, Reconnecting::open(target, access, program, operator).await) }
            })
            .buffer_unordered(at_once.get().into())
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

    /// Lets nobody else change the nodes while they are connected, before they are looked at: what is planned holds until it is
    /// done. Answers with the nodes another operator keeps.
    ///
    /// A node whose link fails is no answer: whatever is asked of it next says so.
    pub async fn claim(&self, take_over: bool) -> Vec<NodeFailure> {
        let claims = self.connections.iter().map(|(node, connection)| async move {
            let claimed = connection.current().link().claim(take_over).await;
            claimed.err().filter(LinkError::is_locked).map(|error| NodeFailure::of(node.clone(), &error))
        });
        futures::future::join_all(claims).await.into_iter().flatten().collect()
    }

    /// Keeps lines of a run's journal on a node. Only a copy: where it fails, the next lines are tried again without these.
    pub async fn record(&self, node: &NodeName, run: &str, lines: String) -> Result<(), LinkError> {
        match self.connections.get(node) {
            Some(connection) => connection.current().link().record(run, lines).await,
            None => Ok(()),
        }
    }

    /// Names who is told of lost connections; the first one counts.
    pub fn warn(&self, sink: &Sink) {
        self.warnings.get_or_init(|| Arc::clone(sink));
    }

    /// The connection to a node.
    ///
    /// # Errors
    /// The node was not reached.
    pub fn connection(&self, node: &NodeName) -> Result<Arc<NodeConnection>, String> {
        self.reconnecting(node).map(|connection| connection.current())
    }

    fn reconnecting(&self, node: &NodeName) -> Result<&Arc<Reconnecting>, String> {
        self.connections.get(node).ok_or_else(|| format!("{node} was not reached"))
    }

    /// The nodes that were reached.
    pub fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.connections.keys()
    }

    /// Tells whoever wants to know of something that a person should know about a node.
    pub(crate) fn tell(&self, node: &NodeName, message: String) {
        if let Some(sink) = self.warnings.get() {
            sink(Event::Warning { node: Some(node.clone()), message });
        }
    }

    /// Losses of one piece of work on a node, which are told to whoever wants to know.
    fn losses<'a>(&'a self, node: &'a NodeName) -> Result<Losses<'a, impl Fn(String) + 'a>, String> {
        Ok(Losses::new(self.reconnecting(node)?, move |message| self.tell(node, message)))
    }

    /// Looks at things on many nodes at once; answers with facts, and with the nodes whose link failed.
    pub async fn gather(
        &self,
        reads: BTreeMap<NodeName, Vec<Read>>,
        now: jiff::Timestamp,
    ) -> (BTreeMap<NodeName, Facts>, Vec<NodeFailure>) {
        let reads = reads.into_iter().filter(|(node, _)| self.connections.contains_key(node));
        let asked = reads.map(|(node, reads)| async move {
            let readings = self.look(&node, reads).await;
            (node, readings)
        });
        let mut facts = BTreeMap::new();
        let mut failures = Vec::new();
        for (node, result) in futures::future::join_all(asked).await {
            match result {
                Ok(readings) => {
                    let readings = readings.into_iter().collect();
                    facts.insert(node.clone(), Facts { node, at: now.as_second(), readings });
                }
                Err(why) => failures.push(NodeFailure { node, why, privilege: false }),
            }
        }
        (facts, failures)
    }

    /// Looks at things on one node.
    ///
    /// # Errors
    /// The node was not reached, or its link failed and could not be made again.
    pub async fn look(&self, node: &NodeName, reads: Vec<Read>) -> Result<Vec<(Read, Reading)>, String> {
        let mut losses = self.losses(node)?;
        loop {
            match losses.connection().link().gather(reads.clone()).await {
                Ok(readings) => return Ok(readings),
                Err(error) => losses.overcome(error).await?,
            }
        }
    }

    /// Looks at one thing on one node.
    ///
    /// # Errors
    /// As [`Nodes::look`].
    pub async fn read(&self, node: &NodeName, read: Read) -> Result<Reading, String> {
        let mut readings = self.look(node, vec![read]).await?;
        readings.pop().map(|(_, reading)| reading).ok_or_else(|| format!("{node} gave no answer"))
    }

    /// Which of these blobs a node does not have.
    ///
    /// # Errors
    /// As [`Nodes::look`].
    pub async fn missing(
        &self,
        node: &NodeName,
        digests: Vec<kubezt_model::Digest>,
    ) -> Result<Vec<MissingBlob>, String> {
        let mut losses = self.losses(node)?;
        loop {
            match losses.connection().link().missing(digests.clone()).await {
                Ok(missing) => return Ok(missing),
                Err(error) => losses.overcome(error).await?,
            }
        }
    }

    /// Brings a blob to a node. Where the connection is lost, what has arrived is not brought again.
    ///
    /// # Errors
    /// As [`Nodes::look`], or the blob cannot be read, is refused, or does not come from the other node.
    pub async fn bring_blob(
        &self,
        node: &NodeName,
        source: &BlobSource,
        mut missing: MissingBlob,
        origin: Origin<'_>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), String> {
        let mut losses = self.losses(node)?;
        loop {
            let connection = losses.connection();
            let link = connection.link();
            let brought = match origin {
                Origin::Here => link.put_blob(source, missing, Compression::Adaptive, &mut progress).await,
                Origin::Node { address, credential } => {
                    link.fetch_blob(source, missing, address, credential, &mut progress).await
                }
            };
            match brought {
                Ok(()) => return Ok(()),
                Err(error) => losses.overcome(error).await?,
            }
            match self.missing(node, vec![source.digest]).await?.pop() {
                Some(left) => {
                    if left.present > missing.present {
                        losses.went_on();
                    }
                    missing = left;
                }
                None => return Ok(()),
            }
        }
    }

    /// Opens byte streams to a TCP address as a node reaches it.
    ///
    /// # Errors
    /// The node was not reached.
    pub fn dialler(&self, node: &NodeName, address: SocketAddr) -> Result<Dialler, String> {
        let reconnecting = Arc::clone(self.reconnecting(node)?);
        Ok(Arc::new(move || {
            let reconnecting = Arc::clone(&reconnecting);
            Box::pin(async move {
                let mut losses = Losses::new(&reconnecting, |_| {});
                loop {
                    match losses.connection().dial(address).await {
                        Ok(stream) => return Ok(Box::new(stream) as Box<dyn Stream>),
                        Err(error) => losses.overcome(error).await.map_err(io::Error::other)?,
                    }
                }
            })
        }))
    }

    /// Applies actions on a node and reports what goes on. Where the connection is lost, the actions that were not seen to
    /// end are done over a new one: doing one again changes nothing more. What could cut the operator off is confirmed before
    /// anything else is done, or undone.
    ///
    /// # Errors
    /// The first action that failed, described, with its cause chain.
    pub async fn apply_with_progress(
        &self,
        node: &NodeName,
        actions: Vec<Action>,
        mut progress: impl FnMut(String),
    ) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::new();
        let is_plain = |action: &Action| !matches!(action, Action::Provisional { .. });
        for run in actions.chunk_by(|one, next| is_plain(one) && is_plain(next)) {
            match run {
                [action @ Action::Provisional { seconds, .. }] => {
                    progress(action.describe());
                    let trial = OnNode { reconnecting: self.reconnecting(node)?, action };
                    let outcome = guarded::carry_out(&trial, Patience::within(*seconds)).await;
                    outcomes.push(outcome.map_err(|why| format!("{}: {why}", action.describe()))?);
                }
                plain => outcomes.extend(self.apply_plainly(node, plain.to_vec(), &mut progress).await?),
            }
        }
        Ok(outcomes)
    }

    async fn apply_plainly(
        &self,
        node: &NodeName,
        actions: Vec<Action>,
        progress: &mut impl FnMut(String),
    ) -> Result<Vec<Outcome>, String> {
        let described: Vec<String> = actions.iter().map(Action::describe).collect();
        let what = |index: usize| described.get(index).map_or("", String::as_str).to_owned();
        let mut losses = self.losses(node)?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        loop {
            let before = outcomes.len();
            let connection = losses.connection();
            let applied = connection.link().apply(actions[before..].to_vec(), |event| match event {
                ApplyEvent::Started { index } => progress(what(before + index)),
                ApplyEvent::Progress { index, message } => {
                    progress(format!("{}: {message}", what(before + index)));
                }
                ApplyEvent::Done { outcome, .. } => outcomes.push(outcome.clone()),
            });
            let Err(error) = applied.await else { break };
            if outcomes.len() > before {
                losses.went_on();
            }
            if outcomes.len() == actions.len() || matches!(outcomes.last(), Some(Outcome::Failed { .. })) {
                break;
            }
            losses.overcome(error).await?;
        }
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
        self.connections
            .iter()
            .map(|(node, connection)| (node.clone(), connection.current().statistics()))
            .collect()
    }
}

/// A change that could cut the operator off, on one node.
struct OnNode<'a> {
    reconnecting: &'a Reconnecting,
    action: &'a Action,
}

impl OnNode<'_> {
    async fn apply(connection: &NodeConnection, action: Action) -> Result<Outcome, LinkError> {
        let outcomes = connection.link().apply(vec![action], |_| {}).await?;
        let none = || Outcome::Failed { error: "the node did not say how it ended".to_owned() };
        Ok(outcomes.into_iter().next().unwrap_or_else(none))
    }
}

impl Trial for OnNode<'_> {
    async fn begin(&self) -> Result<Outcome, LinkError> {
        Self::apply(&self.reconnecting.current(), self.action.clone()).await
    }

    async fn confirm(&self) -> Result<Outcome, LinkError> {
        let connection = self.reconnecting.another().await?;
        Self::apply(&connection, Action::Confirm).await
    }

    async fn undo(&self) -> Result<Outcome, LinkError> {
        Self::apply(&self.reconnecting.current(), Action::Undo).await
    }
}

impl ApplyActions for Nodes {
    fn reaches(&self, node: &NodeName) -> bool {
        self.connections.contains_key(node)
    }

    async fn apply(&self, node: &NodeName, actions: Vec<Action>) -> Result<Vec<Outcome>, String> {
        self.apply_with_progress(node, actions, |_| {}).await
    }
}
