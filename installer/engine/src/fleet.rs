//! Performs the steps of a plan on real nodes and a real API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::{Desired, ManifestSet};
use kubezt_model::event::Event;
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{Gate, Operation, Step};
use kubezt_model::{Digest, NodeName, SecretText, ports};
use kubezt_pki::RootAuthority;
use serde_json::Value;
use tokio::sync::{OnceCell, mpsc};

use crate::api::{ApiClient, Credential, Dialler, chain};
use crate::certificates::{ApplyActions as _, Authorities, DueCertificates, Issuer};
use crate::credential::{ADMINISTRATORS, MASTERS, OPERATOR, issue};
use crate::distribution::{Carrier, Distribution, Source};
use crate::executor::{Fleet, Sink};
use crate::gates::Scope;
use crate::link::message::RELAY_NAME;
use crate::link::{BlobSource, MissingBlob, RelayCredential, RelayOffer};
use crate::nodes::{Nodes, Origin};
use crate::{failures, gates, manifests};

/// How long a server is asked whether it is ready before the next one is.
const READY_PATIENCE: Duration = Duration::from_secs(3);

/// Hours the operator's own credential lives, and the one nodes show each other: longer than any run.
const CREDENTIAL_HOURS: u32 = 2;

/// Nodes with which handing blobs on begins to save anything.
const RELAYED: usize = 3;

/// Manifest set that grants the first rights; applied before any right exists.
const FIRST_RIGHTS: &str = "rbac";

/// A fleet of real nodes.
pub struct RemoteFleet {
    /// The nodes that were reached.
    pub nodes: Nodes,
    desired: Arc<Desired>,
    authorities: Authorities,
    root: Option<RootAuthority>,
    blobs: BTreeMap<Digest, BlobSource>,
    probe_image: String,
    distribution: Distribution,
    /// What nodes show each other when they hand blobs on; of this run alone, and in memory alone.
    relay_credential: OnceCell<RelayCredential>,
    administrators: OnceCell<ApiClient>,
    masters: OnceCell<ApiClient>,
}

/// What a fleet is made of beside its nodes.
pub struct FleetParts {
    /// The wanted cluster.
    pub desired: Arc<Desired>,
    /// Its authorities.
    pub authorities: Authorities,
    /// The root with its key; only where intermediates may have to be issued.
    pub root: Option<RootAuthority>,
    /// Where the content of every blob is on this machine.
    pub blobs: BTreeMap<Digest, BlobSource>,
    /// Image the probe pods run.
    pub probe_image: String,
    /// Nodes that receive blobs from here at the same time; each takes some blocks of memory, however large its blobs are.
    pub uploads: NonZeroU8,
    /// Nodes that one node hands blobs to at the same time; 0 where all come from here.
    pub relays: u8,
}

impl RemoteFleet {
    /// A fleet of these nodes.
    pub fn new(nodes: Nodes, parts: FleetParts) -> Self {
        let relays = if nodes.names().count() < RELAYED { 0 } else { parts.relays };
        Self {
            nodes,
            desired: parts.desired,
            authorities: parts.authorities,
            root: parts.root,
            blobs: parts.blobs,
            probe_image: parts.probe_image,
            distribution: Distribution::new(parts.uploads.get().into(), relays.into()),
            relay_credential: OnceCell::new(),
            administrators: OnceCell::new(),
            masters: OnceCell::new(),
        }
    }

    /// The API as kubezt's administrators see it, through the first control-plane node that was reached and whose server is ready.
    ///
    /// # Errors
    /// The control plane does not sign, or its authority does not exist.
    pub async fn api(&self) -> Result<&ApiClient, String> {
        self.administrators.get_or_try_init(|| self.client(ADMINISTRATORS)).await
    }

    async fn first_api(&self) -> Result<&ApiClient, String> {
        self.masters.get_or_try_init(|| self.client(MASTERS)).await
    }

    /// A client that shows no certificate; only a server of this cluster is spoken to.
    ///
    /// # Errors
    /// The authority does not exist.
    pub fn anonymous_client(&self, dial: Dialler) -> Result<ApiClient, String> {
        ApiClient::new(vec![dial], &self.authorities.root(), &self.desired.cluster.endpoint.name, None)
            .map_err(|error| error.to_string())
    }

    /// Keeps lines of a run's journal on the control plane, where they outlive the operator's machine; on every node where none of
    /// it was reached. A node that cannot keep them must not stop a run.
    pub async fn keep_journal(&self, run: &str, lines: &str) {
        let control_plane = self.desired.cluster.control_plane().map(|node| &node.name);
        let mut keepers: Vec<&NodeName> = control_plane.filter(|node| self.nodes.reaches(node)).collect();
        if keepers.is_empty() {
            keepers = self.nodes.names().collect();
        }
        let kept = keepers.into_iter().map(|node| self.nodes.record(node, run, lines.to_owned()));
        futures::future::join_all(kept).await;
    }

    /// The first control-plane node that was reached: where the API is asked.
    ///
    /// # Errors
    /// There is none.
    pub fn control_plane(&self) -> Result<NodeName, String> {
        let mut control_plane = self.desired.cluster.control_plane().map(|node| &node.name);
        let reached = control_plane.find(|node| self.nodes.reaches(node));
        reached.cloned().ok_or_else(|| "no control-plane node was reached".to_owned())
    }

    /// The API as kubezt's administrators see it, through the server of one node and no other.
    ///
    /// # Errors
    /// The node is not reached, the control plane does not sign, or its authority does not exist.
    pub async fn api_of(&self, node: &NodeName) -> Result<ApiClient, String> {
        let dial = self.nodes.dialler(node, loopback(self.desired.cluster.endpoint.port))?;
        let credential = self.credential(ADMINISTRATORS).await?;
        self.client_through(vec![dial], &credential)
    }

    async fn credential(&self, group: &str) -> Result<Credential, String> {
        issue(&self.nodes, &self.desired, OPERATOR, group, CREDENTIAL_HOURS).await
    }

    fn client_through(&self, dials: Vec<Dialler>, credential: &Credential) -> Result<ApiClient, String> {
        let (trust, name) = (self.authorities.root(), &self.desired.cluster.endpoint.name);
        ApiClient::new(dials, &trust, name, Some(credential)).map_err(|error| error.to_string())
    }

    async fn client(&self, group: &str) -> Result<ApiClient, String> {
        let credential = self.credential(group).await?;
        let address = loopback(self.desired.cluster.endpoint.port);
        let reached = self.desired.cluster.control_plane().filter(|node| self.nodes.reaches(&node.name));
        let mut dials =
            reached.map(|node| self.nodes.dialler(&node.name, address)).collect::<Result<Vec<_>, _>>()?;
        // A server without its etcd accepts connections and fails every call. While none is ready yet, all will do.
        for _ in 1..dials.len() {
            let first = self.client_through(dials[..1].to_vec(), &credential)?;
            match tokio::time::timeout(READY_PATIENCE, first.read("/readyz")).await {
                Ok(Ok(_)) => break,
                _ => dials.rotate_left(1),
            }
        }
        self.client_through(dials, &credential)
    }

    async fn node_step(
        &self,
        node: &NodeName,
        actions: &[Action],
        report: &(dyn Fn(String) + Sync),
    ) -> Result<usize, String> {
        let blobs: Vec<Digest> = actions.iter().filter_map(blob_of).collect();
        if blobs.is_empty() {
            return self.apply_actions(node, actions, report).await;
        }
        let (sender, arrived) = mpsc::unbounded_channel();
        // Images could not be seen while the runtime did not run; by now it does, and what it has need not be sent.
        let imported = self.imported(node, actions).await?;
        let (at_hand, blobs): (Vec<Digest>, Vec<Digest>) =
            blobs.into_iter().partition(|digest| imported.contains(digest));
        for digest in at_hand {
            let _ = sender.send(digest);
        }
        let uploading = self.upload(node, blobs, sender, report);
        let (uploaded, applied) =
            tokio::join!(uploading, self.apply_as_they_arrive(node, actions, arrived, report));
        uploaded?;
        applied
    }

    /// Archives of the images among these actions that the node's runtime has imported.
    async fn imported(&self, node: &NodeName, actions: &[Action]) -> Result<BTreeSet<Digest>, String> {
        let wanted: BTreeMap<Read, Digest> = actions
            .iter()
            .filter_map(|action| match action {
                Action::ImportImage { reference, digest } => {
                    Some((Read::Image { reference: reference.clone() }, *digest))
                }
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(BTreeSet::new());
        }
        let readings = self.nodes.look(node, wanted.keys().cloned().collect()).await?;
        let current = |(read, reading): (Read, Reading)| match (wanted.get(&read), reading) {
            (Some(digest), Reading::Image(image)) => image.is_import_of(*digest).then_some(*digest),
            _ => None,
        };
        Ok(readings.into_iter().filter_map(current).collect())
    }

    async fn apply_actions(
        &self,
        node: &NodeName,
        actions: &[Action],
        report: &(dyn Fn(String) + Sync),
    ) -> Result<usize, String> {
        let outcomes = self.nodes.apply_with_progress(node, actions.to_vec(), report).await?;
        Ok(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Changed { .. })).count())
    }

    /// Applies actions in order, each once its blob is there, so that the node works while the next blob is sent.
    async fn apply_as_they_arrive(
        &self,
        node: &NodeName,
        actions: &[Action],
        mut arrived: mpsc::UnboundedReceiver<Digest>,
        report: &(dyn Fn(String) + Sync),
    ) -> Result<usize, String> {
        let mut present = BTreeSet::new();
        let mut left = actions;
        let mut changed = 0;
        while !left.is_empty() {
            while let Ok(digest) = arrived.try_recv() {
                present.insert(digest);
            }
            let lacks = |action: &Action| blob_of(action).is_some_and(|digest| !present.contains(&digest));
            let ready = left.iter().position(lacks).unwrap_or(left.len());
            if ready > 0 {
                changed += self.apply_actions(node, &left[..ready], report).await?;
                left = &left[ready..];
            } else if let Some(digest) = arrived.recv().await {
                present.insert(digest);
            } else {
                // The transfer failed, and its own error says why.
                return Err("a blob did not come".to_owned());
            }
        }
        Ok(changed)
    }

    /// Brings the blobs the node lacks, one after the other. Each is announced once it is there.
    async fn upload(
        &self,
        node: &NodeName,
        digests: Vec<Digest>,
        arrived: mpsc::UnboundedSender<Digest>,
        report: &(dyn Fn(String) + Sync),
    ) -> Result<(), String> {
        let missing = self.nodes.missing(node, digests.clone()).await?;
        let missing: BTreeMap<Digest, MissingBlob> =
            missing.into_iter().map(|blob| (blob.digest, blob)).collect();
        // In the order they are used.
        let (lacking, at_hand): (Vec<Digest>, Vec<Digest>) =
            digests.into_iter().partition(|digest| missing.contains_key(digest));
        for digest in &at_hand {
            let _ = arrived.send(*digest);
        }
        self.distribution.has(node, at_hand);
        let (count, missing) = (lacking.len(), Mutex::new(missing));
        let delivery = Delivery { fleet: self, node, count, missing, report };
        self.distribution.deliver(node, lacking, &delivery, arrived).await
    }

    /// Has a node hand blobs on, where it does not already.
    async fn relay(&self, node: &NodeName) -> Result<Origin<'_>, String> {
        let credential = self.relay_credential.get_or_try_init(async || relay_credential()).await?;
        let mut nodes = self.desired.cluster.nodes.iter();
        let known = nodes.find(|known| known.name == *node).ok_or_else(|| format!("{node} is not known"))?;
        let address = SocketAddr::new(known.address(), ports::RELAY);
        let offer = || RelayOffer {
            listen: address,
            blobs: self.blobs.keys().copied().collect(),
            credential: credential.clone(),
        };
        let connection = self.nodes.connection(node)?;
        connection.link().relay(offer).await.map_err(|error| chain(&error))?;
        Ok(Origin::Node { address, credential })
    }

    async fn apply_step(
        &self,
        set: &ManifestSet,
        behind: &BTreeSet<NodeName>,
        report: &(dyn Fn(String) + Sync),
    ) -> Result<usize, String> {
        let client = if set.name == FIRST_RIGHTS { self.first_api().await? } else { self.api().await? };
        // Labels would make a node in the API that has not registered.
        let objects: Vec<Value> =
            set.objects.iter().filter(|object| !manifests::is_of(object, behind)).cloned().collect();
        manifests::apply(client, &objects, report).await?;
        manifests::remove(client, &set.absent).await?;
        Ok(objects.len() + set.absent.len())
    }

    async fn gate_step(
        &self,
        gate: &Gate,
        seconds: u32,
        behind: &BTreeSet<NodeName>,
        report: &(dyn Fn(String) + Sync),
    ) -> Result<usize, String> {
        // The API may be asked before any right was granted to anybody.
        let client = if *gate == Gate::ApiReady { self.first_api().await? } else { self.api().await? };
        let timeout = Duration::from_secs(seconds.into());
        let scope = Scope { desired: &self.desired, behind };
        gates::wait(gate, client, scope, &self.probe_image, timeout, report).await.map(|()| 0)
    }

    /// What is not waited for: nodes on which something failed, and those that were never reached.
    fn without(&self, behind: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        let nodes = self.desired.cluster.nodes.iter().map(|node| &node.name);
        let unreached = nodes.filter(|node| !self.nodes.reaches(node));
        behind.iter().chain(unreached).cloned().collect()
    }
}

impl Fleet for RemoteFleet {
    async fn perform(&self, step: &Step, behind: &BTreeSet<NodeName>, sink: &Sink) -> Result<usize, String> {
        self.nodes.warn(sink);
        let report = |message: String| {
            sink(Event::Progress { step: step.id.clone(), node: step.node.clone(), message });
        };
        let node = || step.node.as_ref().ok_or_else(|| "the step names no node".to_owned());
        match &step.operation {
            Operation::Node { actions } => self.node_step(node()?, actions, &report).await,
            Operation::Certificates { keys, certificates, bundles } => {
                let issuer = Issuer {
                    desired: &self.desired,
                    authorities: &self.authorities,
                    root: self.root.as_ref(),
                    now: jiff::Timestamp::now(),
                };
                let due = DueCertificates { keys, certificates, bundles };
                issuer.issue(&self.nodes, node()?, &due).await
            }
            Operation::Apply { manifests } => {
                self.apply_step(manifests, &self.without(behind), &report).await
            }
            Operation::Gate { gate, timeout_seconds } => {
                self.gate_step(gate, *timeout_seconds, &self.without(behind), &report).await
            }
        }
    }

    async fn last_words(&self, step: &Step) -> Vec<String> {
        let suspects = step.suspects();
        let Some(node) = step.node.as_ref().filter(|_| !suspects.is_empty()) else { return Vec::new() };
        let Ok(connection) = self.nodes.connection(node) else { return Vec::new() };
        // Over the connection as it is: a node that is lost has no last words.
        let reads = failures::reads(&suspects);
        let readings = connection.link().gather(reads).await.unwrap_or_default();
        failures::words(&suspects, &readings.into_iter().collect())
    }
}

/// Blobs on their way to one node.
struct Delivery<'a> {
    fleet: &'a RemoteFleet,
    node: &'a NodeName,
    /// How many it lacked.
    count: usize,
    /// What it lacks, as it was when it was asked.
    missing: Mutex<BTreeMap<Digest, MissingBlob>>,
    report: &'a (dyn Fn(String) + Sync),
}

impl Carrier for Delivery<'_> {
    async fn carry(
        &self,
        blob: Digest,
        source: &Source,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), String> {
        let Self { fleet, node, count, .. } = *self;
        let content =
            fleet.blobs.get(&blob).ok_or_else(|| format!("blob {} is not in the cache", blob.short()))?;
        let (known, left) = {
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            (missing.remove(&blob), missing.len())
        };
        let missing = match known {
            Some(missing) => missing,
            // An attempt failed, and left something or nothing.
            None => match fleet.nodes.missing(node, vec![blob]).await?.pop() {
                Some(missing) => missing,
                None => return Ok(()),
            },
        };
        let (number, megabytes) = (count - left, content.size >> 20);
        let told = |from: &str, done: u64| {
            progress(done);
            (self.report)(format!("{from} blob {number} of {count}: {} of {megabytes} MiB", done >> 20));
        };
        if fleet.distribution.relays() {
            // So that it keeps what comes. Whoever is sent here is told where it cannot.
            let _ = fleet.relay(node).await;
        }
        match source {
            Source::Operator => {
                fleet.nodes.bring_blob(node, content, missing, Origin::Here, |done| told("send", done)).await
            }
            Source::Node(sender) => {
                let from = format!("from {sender}:");
                let brought = match fleet.relay(sender).await {
                    Ok(origin) => {
                        let bringing =
                            fleet.nodes.bring_blob(node, content, missing, origin, |done| told(&from, done));
                        bringing.await
                    }
                    Err(why) => Err(why),
                };
                brought.inspect_err(|why| {
                    let message = format!(
                        "{sender} does not hand blob {} on to it, so that it comes from another node or from here: {why}",
                        blob.short()
                    );
                    fleet.nodes.tell(node, message);
                })
            }
        }
    }
}

fn relay_credential() -> Result<RelayCredential, String> {
    let lifetime = Duration::from_secs(u64::from(CREDENTIAL_HOURS) * 3600);
    let made = kubezt_pki::passing_credential(RELAY_NAME, jiff::Timestamp::now(), lifetime);
    let made = made.map_err(|error| error.to_string())?;
    Ok(RelayCredential {
        authority_pem: made.authority.to_pem(),
        leaf_pem: made.leaf.to_pem(),
        key_pem: SecretText::new(made.key.expose().to_owned()),
    })
}

fn blob_of(action: &Action) -> Option<Digest> {
    match action {
        Action::InstallBlob { digest, .. } | Action::ImportImage { digest, .. } => Some(*digest),
        _ => None,
    }
}

/// A port on the node's own loopback address.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
