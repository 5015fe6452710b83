//! A fleet in memory: nodes with files, accounts, units and images, an API with objects, and faults on demand.
//!
//! It answers the same reads and takes the same actions as a real node, so that whole installs run in milliseconds. It
//! serves speed and fault injection; what a real node does is shown on real nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubezt_engine::certificates::{ApplyActions, Authorities, Issuer};
use kubezt_engine::executor::{Fleet, Sink};
use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::Desired;
use kubezt_model::node::{Facts, FileKind, FileReading, ImageReading, Read, Reading, UnitReading};
use kubezt_model::plan::{Operation, Step};
use kubezt_model::{Digest, Mode, NodeName, Owner, SecretText};
use kubezt_pki::{PrivateKeyPem, PublicKey, RootAuthority};
use kubezt_plan::assess::object_name;
use kubezt_plan::{Assessment, Due};
use serde_json::Value;

/// A file on a simulated node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    kind: FileKind,
    mode: Mode,
    owner: Owner,
    text: String,
}

/// What a simulated node holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    files: BTreeMap<String, File>,
    installed: BTreeMap<String, (Digest, Mode)>,
    users: BTreeMap<String, u32>,
    sysctls: BTreeMap<String, String>,
    units: BTreeMap<String, UnitReading>,
    images: BTreeMap<String, Digest>,
    restarts: u64,
}

/// Everything there is, and the fault that is due.
pub struct World {
    nodes: Mutex<BTreeMap<NodeName, Node>>,
    objects: Mutex<BTreeMap<String, Value>>,
    root: RootAuthority,
    now: jiff::Timestamp,
    desired: Arc<Desired>,
    fault: Mutex<Option<Fault>>,
}

/// A run that dies: in the step of this number, after this many of its actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Steps that begin before it.
    pub steps: usize,
    /// Actions of the step that are still done.
    pub actions: usize,
}

impl World {
    /// Bare nodes for a desired state.
    pub fn bare(desired: Desired, now: jiff::Timestamp) -> Self {
        let nodes = desired.nodes.iter().map(|node| (node.node.name.clone(), Node::default())).collect();
        Self {
            nodes: Mutex::new(nodes),
            objects: Mutex::default(),
            root: kubezt_pki::new_root("simulated", now, 10).unwrap(),
            now,
            desired: Arc::new(desired),
            fault: Mutex::default(),
        }
    }

    /// Lets the next run die.
    pub fn break_at(&self, fault: Fault) {
        *lock(&self.fault) = Some(fault);
    }

    /// What is wanted.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What each node holds; equal for two worlds that ended in the same state, but for keys and what they signed.
    pub fn rendered(&self) -> BTreeMap<NodeName, BTreeMap<String, (Mode, Owner, String)>> {
        let secret = |path: &str| path.contains("/pki/");
        lock(&self.nodes)
            .iter()
            .map(|(name, node)| {
                let files = node.files.iter().filter(|(path, _)| !secret(path));
                let files = files.map(|(path, file)| {
                    (path.clone(), (file.mode, file.owner.clone(), file.text.clone()))
                });
                (name.clone(), files.collect())
            })
            .collect()
    }

    /// Restarts of running units so far.
    pub fn restarts(&self) -> u64 {
        lock(&self.nodes).values().map(|node| node.restarts).sum()
    }

    /// Looks at everything planning looks at.
    pub fn look(&self) -> (BTreeMap<NodeName, Facts>, Assessment) {
        let facts: BTreeMap<NodeName, Facts> = self
            .desired
            .nodes
            .iter()
            .map(|desired| {
                let name = desired.node.name.clone();
                let node = lock(&self.nodes)[&name].clone();
                let readings =
                    kubezt_plan::facts::reads(desired).into_iter().map(|read| (read.clone(), node.read(&read)));
                (name.clone(), Facts { node: name, at: self.now.as_second(), readings: readings.collect() })
            })
            .collect();
        let mut assessment = Assessment { api_reachable: self.api_runs(), ..Assessment::default() };
        let root = self.root.certificate();
        kubezt_engine::certificates::assess(&self.desired, &facts, Some(root), self.now, &mut assessment);
        if assessment.api_reachable {
            let objects = lock(&self.objects);
            for set in &self.desired.manifests {
                let due = set
                    .objects
                    .iter()
                    .filter(|object| objects.get(&object_name(object)) != Some(object))
                    .map(|object| Due { subject: object_name(object), why: "differs".to_owned() });
                assessment.objects.insert(set.name.clone(), due.collect());
            }
        }
        (facts, assessment)
    }

    /// A fleet on this world, for one run.
    pub fn fleet(self: &Arc<Self>, facts: &BTreeMap<NodeName, Facts>) -> SimulatedFleet {
        let authorities = Authorities::read(self.root.certificate().clone(), &self.desired, facts);
        SimulatedFleet { world: Arc::clone(self), authorities, begun: Mutex::new(0) }
    }

    fn api_runs(&self) -> bool {
        let nodes = lock(&self.nodes);
        self.desired.cluster.control_plane().all(|node| {
            let node = &nodes[&node.name];
            node.units.get("kubelet.service").is_some_and(|unit| unit.active == "active")
                && node.files.contains_key("/etc/kubernetes/manifests/kube-apiserver.yaml")
        })
    }
}

impl Node {
    fn read(&self, read: &Read) -> Reading {
        match read {
            Read::File { path, text } => self.file(path, *text),
            Read::User { name } => self.users.get(name).map_or(Reading::Missing, |uid| Reading::User(*uid)),
            Read::Sysctl { key } => {
                self.sysctls.get(key).map_or(Reading::Missing, |value| Reading::Text(value.clone()))
            }
            Read::Unit { name } => {
                self.units.get(name).map_or(Reading::Missing, |unit| Reading::Unit(unit.clone()))
            }
            Read::Image { reference } => self.images.get(reference).map_or(Reading::Missing, |digest| {
                Reading::Image(ImageReading { digest: *digest, pinned: true, archive: Some(*digest) })
            }),
            Read::PublicKey { path } => match self.files.get(path) {
                Some(file) => Reading::PublicKey(public_key(&file.text).to_base64()),
                None => Reading::Missing,
            },
            _ => Reading::Missing,
        }
    }

    fn file(&self, path: &str, text: bool) -> Reading {
        let reading = |kind, mode, owner: Owner, digest, size, text| {
            Reading::File(FileReading { path: path.to_owned(), kind, mode, owner, size, digest, text })
        };
        if let Some((digest, mode)) = self.installed.get(path) {
            return reading(FileKind::File, *mode, Owner::root(), Some(*digest), 1, None);
        }
        let Some(file) = self.files.get(path) else { return Reading::Missing };
        let digest = (file.kind == FileKind::File).then(|| Digest::of(file.text.as_bytes()));
        let text = text.then(|| SecretText::new(file.text.clone()));
        reading(file.kind, file.mode, file.owner.clone(), digest, file.text.len() as u64, text)
    }

    fn apply(&mut self, desired: &Desired, name: &NodeName, action: &Action, now: jiff::Timestamp) -> Outcome {
        let changed = Outcome::Changed { output: None };
        match action {
            Action::EnsureUser { name, uid } => {
                self.users.insert(name.clone(), *uid);
            }
            Action::EnsureDirectory { path, mode, owner } => {
                self.put(path, FileKind::Directory, *mode, owner, String::new());
            }
            Action::PutFile { path, mode, owner, body, .. } => {
                self.put(path, FileKind::File, *mode, owner, body.expose().to_owned());
            }
            Action::InstallBlob { digest, path, mode } => {
                self.installed.insert(path.clone(), (*digest, *mode));
            }
            Action::RemoveFile { path } => {
                self.files.remove(path);
            }
            Action::MakeKey { path, owner, public_path } => {
                if !self.files.contains_key(path) {
                    let key = kubezt_pki::generate().unwrap();
                    self.put(path, FileKind::File, Mode::new(0o600), owner, key.expose().to_owned());
                }
                let public = public_key(&self.files[path].text);
                if let Some(public_path) = public_path {
                    self.put(public_path, FileKind::File, Mode::new(0o644), owner, public.to_pem());
                }
                return Outcome::Changed { output: Some(public.to_base64()) };
            }
            Action::SignLeaf { authority_certificate, authority_key, leaf, public_key, hours } => {
                let text = |path: &str| self.files[path].text.clone();
                let chain = kubezt_pki::CertificateChain::parse(&text(authority_certificate)).unwrap();
                let key = PrivateKeyPem::parse(&text(authority_key)).unwrap();
                let public = PublicKey::from_base64(public_key).unwrap();
                let life = std::time::Duration::from_secs(u64::from(*hours) * 3600);
                let signed = kubezt_pki::sign_leaf(&chain, &key, leaf, &public, now, life).unwrap();
                return Outcome::Changed { output: Some(signed.to_pem()) };
            }
            Action::LoadSysctls { .. } => {
                let wanted = desired.nodes.iter().find(|node| node.node.name == *name);
                self.sysctls = wanted.map(|node| node.sysctls.clone()).unwrap_or_default();
            }
            Action::ImportImage { digest, reference } => {
                self.images.insert(reference.clone(), *digest);
            }
            Action::StartUnit { name } => {
                let unit = self.units.entry(name.clone()).or_insert_with(|| UnitReading {
                    active: String::new(),
                    enabled: String::new(),
                    since: 0,
                    needs_reload: false,
                });
                unit.active = "active".to_owned();
                unit.enabled = "enabled".to_owned();
            }
            Action::RestartUnit { .. } => self.restarts += 1,
            Action::ReloadUnits | Action::LoadModule { .. } | Action::Wait { .. } => {
                return Outcome::Unchanged { output: None };
            }
        }
        changed
    }

    fn put(&mut self, path: &str, kind: FileKind, mode: Mode, owner: &Owner, text: String) {
        self.files.insert(path.to_owned(), File { kind, mode, owner: owner.clone(), text });
    }
}

fn public_key(private: &str) -> PublicKey {
    kubezt_pki::parse_private_key_spki(private).unwrap()
}

/// Performs the steps of one run on a simulated world.
pub struct SimulatedFleet {
    world: Arc<World>,
    authorities: Authorities,
    begun: Mutex<usize>,
}

impl SimulatedFleet {
    /// How many actions of this step are done before the run dies; `None` where it lives.
    fn allowance(&self) -> Option<usize> {
        let fault = (*lock(&self.world.fault))?;
        let mut begun = lock(&self.begun);
        *begun += 1;
        match (*begun - 1).cmp(&fault.steps) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(fault.actions),
            // A process that was killed does nothing more anywhere.
            std::cmp::Ordering::Greater => Some(0),
        }
    }
}

impl ApplyActions for SimulatedFleet {
    async fn apply(&self, node: &NodeName, actions: Vec<Action>) -> Result<Vec<Outcome>, String> {
        let mut nodes = lock(&self.world.nodes);
        let state = nodes.get_mut(node).ok_or("no such node")?;
        Ok(actions
            .iter()
            .map(|action| state.apply(&self.world.desired, node, action, self.world.now))
            .collect())
    }
}

impl Fleet for SimulatedFleet {
    async fn perform(&self, step: &Step, _: &Sink) -> Result<usize, String> {
        let allowance = self.allowance();
        let killed = || Err("killed".to_owned());
        match &step.operation {
            Operation::Node { actions } => {
                let node = step.node.as_ref().ok_or("the step names no node")?;
                let count = allowance.unwrap_or(actions.len()).min(actions.len());
                self.apply(node, actions[..count].to_vec()).await?;
                if allowance.is_some() { killed() } else { Ok(count) }
            }
            Operation::Certificates { certificates, bundles } => {
                let node = step.node.as_ref().ok_or("the step names no node")?;
                let count = allowance.unwrap_or(certificates.len()).min(certificates.len());
                let issuer = Issuer {
                    desired: &self.world.desired,
                    authorities: &self.authorities,
                    root: Some(&self.world.root),
                    now: self.world.now,
                };
                let bundles = if allowance.is_some() { &[] } else { bundles.as_slice() };
                let changed = issuer.issue(self, node, &certificates[..count], bundles).await?;
                if allowance.is_some() { killed() } else { Ok(changed) }
            }
            Operation::Apply { manifests } => {
                let count = allowance.unwrap_or(manifests.objects.len()).min(manifests.objects.len());
                let mut objects = lock(&self.world.objects);
                for object in &manifests.objects[..count] {
                    objects.insert(object_name(object), object.clone());
                }
                if allowance.is_some() { killed() } else { Ok(count) }
            }
            Operation::Gate { .. } => {
                if allowance.is_some() {
                    killed()
                } else if self.world.api_runs() {
                    Ok(0)
                } else {
                    Err("the API does not run".to_owned())
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
