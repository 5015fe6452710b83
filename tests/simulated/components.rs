//! Components of one run: which nodes have which, and how they come there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use kubezt_engine::distribution::{Carrier, Distribution, Source};
use kubezt_model::action::Action;
use kubezt_model::cluster::ConcurrencySpec;
use kubezt_model::{Digest, NodeName};
use tokio::sync::mpsc;

use crate::fleet::lock;

/// Blobs on the nodes, and those on their way.
pub struct Components {
    distribution: Distribution,
    /// Blobs that nodes got.
    stores: Mutex<BTreeMap<NodeName, BTreeSet<Digest>>>,
    transfers: Mutex<Vec<Transfer>>,
}

/// A blob on its way to a node.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub blob: Digest,
    pub source: Source,
    /// Whether all of it came.
    pub came: bool,
}

/// What keeps a node from getting anything from somewhere.
pub type Obstacle<'a> = &'a (dyn Fn(&NodeName, &Source) -> Result<(), String> + Sync);

/// Blobs on their way to one node.
struct Delivery<'a> {
    components: &'a Components,
    node: &'a NodeName,
    obstacle: Obstacle<'a>,
}

impl Components {
    /// No node has anything; as much is done at a time as by default.
    pub fn new() -> Self {
        let ConcurrencySpec { uploads, relays, .. } = ConcurrencySpec::default();
        Self {
            distribution: Distribution::new(uploads.get().into(), relays.into()),
            stores: Mutex::default(),
            transfers: Mutex::default(),
        }
    }

    /// Whether a node has what an action takes.
    pub fn suffice(&self, node: &NodeName, action: &Action) -> bool {
        blob_of(action).is_none_or(|blob| self.are_at(node, blob))
    }

    fn are_at(&self, node: &NodeName, blob: Digest) -> bool {
        lock(&self.stores).get(node).is_some_and(|store| store.contains(&blob))
    }

    /// Brings the blobs of a step to its node.
    pub async fn deliver(
        &self,
        node: &NodeName,
        actions: &[Action],
        obstacle: Obstacle<'_>,
    ) -> Result<(), String> {
        let store = lock(&self.stores).get(node).cloned().unwrap_or_default();
        let blobs = actions.iter().filter_map(blob_of).filter(|blob| !store.contains(blob)).collect();
        let (sender, _arrived) = mpsc::unbounded_channel();
        let delivery = Delivery { components: self, node, obstacle };
        self.distribution.deliver(node, blobs, &delivery, sender).await
    }

    /// Blobs that were brought to nodes, or were about to be.
    pub fn transfers(&self) -> Vec<Transfer> {
        lock(&self.transfers).clone()
    }
}

impl Delivery<'_> {
    async fn come(&self, blob: Digest, source: &Source) -> Result<(), String> {
        // At its beginning, in the middle, and at its end.
        for _ in 0..3 {
            (self.obstacle)(self.node, source)?;
            tokio::task::yield_now().await;
        }
        if let Source::Node(sender) = source
            && !self.components.are_at(sender, blob)
        {
            return Err(format!("{sender} does not have it"));
        }
        lock(&self.components.stores).entry(self.node.clone()).or_default().insert(blob);
        Ok(())
    }
}

impl Carrier for Delivery<'_> {
    async fn carry(&self, blob: Digest, source: &Source, _: &(dyn Fn(u64) + Sync)) -> Result<(), String> {
        let came = self.come(blob, source).await;
        let transfer = Transfer { blob, source: source.clone(), came: came.is_ok() };
        lock(&self.components.transfers).push(transfer);
        came
    }
}

fn blob_of(action: &Action) -> Option<Digest> {
    match action {
        Action::InstallBlob { digest, .. } | Action::ImportImage { digest, .. } => Some(*digest),
        _ => None,
    }
}
