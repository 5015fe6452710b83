//! A node in memory. It refuses what a real one would refuse: owners without an account, units without a unit file or
//! program, images without a runtime.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::action::{Action, Condition, KernelChange, Outcome};
use kubezt_model::desired::{DesiredNode, OnChange};
use kubezt_model::health::{ContainerReading, ContainerState};
use kubezt_model::node::{FileKind, FileReading, ImageReading, ProcessReading, Read, Reading, UnitReading};
use kubezt_model::{Digest, Mode, Owner, SecretText};
use kubezt_pki::{CertificateChain, PrivateKeyPem, PublicKey};

use crate::etcd::{DATA, MANIFEST};

const CONTAINERD: &str = "containerd.service";
const KUBELET: &str = "kubelet.service";
const UNIT_FOLDER: &str = "/etc/systemd/system";
/// Where programs go; others are the host's own.
const PROGRAMS: &str = "/usr/local/bin/";

/// A file or directory.
#[derive(Debug, Clone)]
pub struct File {
    pub kind: FileKind,
    pub mode: Mode,
    pub owner: Owner,
    pub text: String,
    /// Digest of the content; of a blob only this is kept.
    pub digest: Digest,
    /// When it changed last, on the node's clock.
    changed: u64,
}

/// A unit that systemd knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unit {
    active: bool,
    enabled: bool,
    /// Unit file and drop-ins as systemd read them last.
    loaded: Option<Digest>,
    /// What was loaded, and all files the unit reads, when it was started last.
    started: Option<(Option<Digest>, Digest)>,
    /// When that was, on the node's clock.
    at: u64,
}

/// A static pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    /// Its manifest, and all files it read, when it was started last.
    started: (Digest, Digest),
    /// When that was, on the node's clock.
    at: u64,
}

/// What a simulated node holds.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub files: BTreeMap<String, File>,
    pub users: BTreeMap<String, u32>,
    pub sysctls: BTreeMap<String, String>,
    pub modules: BTreeSet<String>,
    /// The firewall's table in the kernel.
    pub firewall: Option<String>,
    /// What a killed run left unconfirmed.
    pub waiting: Option<String>,
    pub images: BTreeMap<String, Digest>,
    units: BTreeMap<String, Unit>,
    pods: BTreeMap<String, Pod>,
    /// Static pods that ended and do not come back by themselves.
    crashed: BTreeSet<String>,
    /// Whether the API knows the node: its kubelet says so when it starts, and at no other time.
    pub registered: bool,
    /// Restarts of running units so far.
    pub restarts: u64,
    /// Microseconds since boot: every action takes a second.
    clock: u64,
}

impl Node {
    /// What a real node would answer.
    pub fn read(&self, read: &Read) -> Reading {
        match read {
            Read::File { path, text } => self.file(path, *text),
            Read::Program { path } => self.file(path, false),
            Read::User { name } => self.users.get(name).map_or(Reading::Missing, |uid| Reading::User(*uid)),
            Read::Sysctl { key } => {
                self.sysctls.get(key).map_or(Reading::Missing, |value| Reading::Text(value.clone()))
            }
            Read::Provisional => self.waiting.clone().map_or(Reading::Missing, Reading::Text),
            Read::Firewall => self.firewall.clone().map_or(Reading::Missing, Reading::Text),
            Read::Module { name } if self.modules.contains(name) => Reading::Present,
            Read::Unit { name } => match self.units.get(name) {
                Some(unit) => Reading::Unit(UnitReading {
                    active: if unit.active { "active" } else { "inactive" }.to_owned(),
                    enabled: if unit.enabled { "enabled" } else { "disabled" }.to_owned(),
                    started: unit.at,
                    needs_reload: unit.loaded != self.definition(name),
                    last_run: None,
                }),
                None => Reading::Missing,
            },
            Read::Process { name } => Reading::Processes(self.process(name).into_iter().collect()),
            Read::Image { reference } => self.images.get(reference).map_or(Reading::Missing, |digest| {
                Reading::Image(ImageReading { digest: *digest, pinned: true, archive: Some(*digest) })
            }),
            Read::PublicKey { path } => match self.files.get(path) {
                Some(file) => match kubezt_pki::parse_private_key_spki(&file.text) {
                    Ok(key) => Reading::PublicKey(key.to_base64()),
                    Err(error) => Reading::Failed(error.to_string()),
                },
                None => Reading::Missing,
            },
            Read::UnitLog { name } => Reading::Lines(vec![format!("{name} was here")]),
            Read::Containers => Reading::Containers(self.containers()),
            // Nothing else is asked to plan a node, or looked at where it is not well.
            _ => Reading::Missing,
        }
    }

    fn file(&self, path: &str, text: bool) -> Reading {
        let Some(file) = self.files.get(path) else { return Reading::Missing };
        let is_file = file.kind == FileKind::File;
        Reading::File(FileReading {
            path: path.to_owned(),
            kind: file.kind,
            mode: file.mode,
            owner: file.owner.clone(),
            size: file.text.len() as u64,
            digest: is_file.then_some(file.digest),
            text: (text && is_file).then(|| SecretText::new(file.text.clone())),
            changed: file.changed,
        })
    }

    fn process(&self, name: &str) -> Option<ProcessReading> {
        Some(ProcessReading {
            pid: 1,
            arguments: vec![name.to_owned()],
            uid: 0,
            started: self.pods.get(name)?.at,
            capabilities: "0".to_owned(),
            seccomp: 2,
        })
    }

    fn containers(&self) -> Vec<ContainerReading> {
        let container = |name: &String, state, said: &[&str]| ContainerReading {
            namespace: "kube-system".to_owned(),
            pod: name.clone(),
            name: name.clone(),
            state,
            restarts: 0,
            said: said.iter().map(|line| (*line).to_owned()).collect(),
        };
        let ended = || ContainerState::Exited { code: 2, reason: String::new() };
        let running = self.pods.keys().map(|name| container(name, ContainerState::Running, &[]));
        running.chain(self.crashed.iter().map(|name| container(name, ended(), &["no space left"]))).collect()
    }

    /// Ends a static pod for good, as far as nobody mends what ended it.
    pub fn crash(&mut self, pod: &str) {
        if self.pods.remove(pod).is_some() {
            self.crashed.insert(pod.to_owned());
        }
    }

    /// Whether the static pod ended for good.
    pub fn has_crashed(&self, pod: &str) -> bool {
        self.crashed.contains(pod)
    }

    /// Whether the unit runs.
    pub fn is_active(&self, unit: &str) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.active)
    }

    /// Whether the unit comes back with the next boot.
    pub fn is_enabled(&self, unit: &str) -> bool {
        self.units.get(unit).is_some_and(|unit| unit.enabled)
    }

    /// Ends a unit.
    pub fn stop(&mut self, unit: &str) {
        if let Some(unit) = self.units.get_mut(unit) {
            unit.active = false;
        }
    }

    /// Units that run and were started before one of their files got its present content.
    pub fn stale_units(&self, desired: &DesiredNode) -> BTreeSet<String> {
        self.units
            .iter()
            .filter(|(name, unit)| {
                let read = self.files_of(desired, &OnChange::Restart((*name).clone()));
                unit.active && unit.started != Some((self.definition(name), read))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Static pods that run and were started before their manifest or one of their files got its present content.
    pub fn stale_pods(&self, desired: &DesiredNode) -> BTreeSet<String> {
        let running = self.pods.iter();
        let stale =
            running.filter(|(name, pod)| Some(&pod.started) != self.pod_files(desired, name).as_ref());
        stale.map(|(name, _)| name.clone()).collect()
    }

    /// Digests of a static pod's manifest and of what it reads when it starts; `None` where there is no manifest.
    fn pod_files(&self, desired: &DesiredNode, pod: &str) -> Option<(Digest, Digest)> {
        let (manifest, _) = desired.static_pods().find(|(_, name)| *name == pod)?;
        let manifest = self.files.get(&manifest.path)?.digest;
        Some((manifest, self.files_of(desired, &OnChange::ReadAtStart(pod.to_owned()))))
    }

    /// kubelet at work: a pod is started where there is none or its manifest is another.
    fn run_pods(&mut self, desired: &DesiredNode) {
        if !self.is_active(KUBELET) {
            return;
        }
        for (_, name) in desired.static_pods() {
            let Some(started) = self.pod_files(desired, name) else { continue };
            if !self.crashed.contains(name)
                && self.pods.get(name).is_none_or(|pod| pod.started.0 != started.0)
            {
                self.pods.insert(name.to_owned(), Pod { started, at: self.clock });
            }
        }
    }

    /// Digest of the unit's file and drop-ins; `None` where it has no file.
    fn definition(&self, unit: &str) -> Option<Digest> {
        let path = format!("{UNIT_FOLDER}/{unit}");
        self.files.get(&path)?;
        Some(digest_of(self.definitions(unit)))
    }

    fn definitions(&self, unit: &str) -> impl Iterator<Item = (&String, &File)> {
        let path = format!("{UNIT_FOLDER}/{unit}");
        let drop_ins = format!("{path}.d/");
        self.files.iter().filter(move |(name, file)| {
            file.kind == FileKind::File && (**name == path || name.starts_with(&drop_ins))
        })
    }

    /// Digest of every file whose change has this consequence.
    fn files_of(&self, desired: &DesiredNode, consequence: &OnChange) -> Digest {
        let files = desired.files.iter().filter(|file| file.on_change == *consequence);
        let paths: BTreeSet<&String> = files.map(|file| &file.path).collect();
        digest_of(self.files.iter().filter(|(path, _)| paths.contains(path)))
    }

    /// Does what a real node would do.
    pub fn apply(
        &mut self,
        desired: &DesiredNode,
        action: &Action,
        now: jiff::Timestamp,
    ) -> Result<Outcome, String> {
        self.clock += 1_000_000;
        let outcome = self.perform(desired, action, now)?;
        self.run_pods(desired);
        Ok(outcome)
    }

    fn perform(
        &mut self,
        desired: &DesiredNode,
        action: &Action,
        now: jiff::Timestamp,
    ) -> Result<Outcome, String> {
        let changed = match action {
            Action::EnsureUser { name, uid } => self.users.insert(name.clone(), *uid) != Some(*uid),
            Action::EnsureDirectory { path, mode, owner } => {
                self.put(path, FileKind::Directory, *mode, owner, "", None)?
            }
            Action::PutFile { path, mode, owner, body, .. } => {
                self.put(path, FileKind::File, *mode, owner, body.expose(), None)?
            }
            Action::InstallBlob { digest, path, mode } => {
                self.put(path, FileKind::File, *mode, &Owner::root(), "", Some(*digest))?
            }
            Action::RemoveFile { path } => self.files.remove(path).is_some(),
            Action::MakeKey { path, owner } => return self.make_key(path, owner),
            Action::SignLeaf { authority_certificate, authority_key, leaf, public_key, lifetime } => {
                let chain = CertificateChain::parse(self.text(authority_certificate)?).map_err(text)?;
                let key = PrivateKeyPem::parse(self.text(authority_key)?).map_err(text)?;
                let public = PublicKey::from_base64(public_key).map_err(text)?;
                let signed = kubezt_pki::sign_leaf(&chain, &key, leaf, &public, now, lifetime.duration())
                    .map_err(text)?;
                return Ok(Outcome::Unchanged { output: Some(signed.to_pem()) });
            }
            Action::LoadSysctls { path } => self.load_sysctls(path)?,
            Action::ImportImage { digest, reference } => {
                self.need_unit(CONTAINERD)?;
                self.images.insert(reference.clone(), *digest) != Some(*digest)
            }
            // Every new connection gets through here, so what is provisional is confirmed at once.
            Action::Provisional { change: KernelChange::Firewall { rules }, .. } => {
                self.waiting = None;
                let changes = self.firewall != *rules;
                self.firewall.clone_from(rules);
                changes
            }
            Action::Provisional { change: KernelChange::Sysctls { values }, .. } => {
                self.waiting = None;
                let before = self.sysctls.clone();
                self.sysctls.extend(values.clone());
                self.sysctls != before
            }
            Action::DisableUnit { name } => self.units.remove(name).is_some(),
            Action::LoadUnits { enable } => {
                self.reload();
                for name in enable {
                    self.definition(name).ok_or_else(|| format!("{name} has no unit file"))?;
                    self.units.entry(name.clone()).or_default().enabled = true;
                }
                true
            }
            Action::StartUnit { name } => self.start(desired, name)?,
            Action::RestartUnit { name } => {
                self.restarts += u64::from(self.is_active(name));
                self.bring_up(desired, name)?;
                true
            }
            Action::RestartStaticPod { name, .. } => {
                self.need_unit(KUBELET)?;
                self.pods.remove(name).ok_or_else(|| format!("{name} does not run"))?;
                true
            }
            Action::SetAside { path } => {
                let below = self.files.keys().filter(|name| name.starts_with(path.as_str())).cloned();
                let below: Vec<String> = below.collect();
                for name in &below {
                    if let Some(file) = self.files.remove(name) {
                        self.files.insert(name.replacen(path.as_str(), &format!("{path}.aside"), 1), file);
                    }
                }
                !below.is_empty()
            }
            Action::FormEtcdMember { .. }
            | Action::Confirm
            | Action::Undo
            | Action::PromoteEtcdMember { .. }
            | Action::RemoveEtcdMember { .. } => return Err("that is not one node's business".to_owned()),
            Action::LoadModule { name } => self.modules.insert(name.clone()),
            Action::Wait { condition, .. } => {
                match condition {
                    Condition::SocketOpen { path } if path.contains("containerd") => {
                        self.need_unit(CONTAINERD)?
                    }
                    Condition::StaticPodCurrent { manifest, .. } => {
                        self.need_unit(KUBELET)?;
                        self.text(manifest)?;
                    }
                    Condition::EtcdCurrent => {
                        self.need_unit(KUBELET)?;
                        self.files.get(DATA).ok_or("etcd has no data")?;
                    }
                    Condition::ApiServerReady { .. } => {
                        self.need_unit(KUBELET)?;
                        self.text("/etc/kubernetes/manifests/kube-apiserver.yaml")?;
                    }
                    other => return Err(format!("nobody simulates {}", other.describe())),
                }
                false
            }
        };
        Ok(if changed { Outcome::Changed { output: None } } else { Outcome::Unchanged { output: None } })
    }

    /// Puts the data of a member of etcd into its place; its container needs an image and certificates.
    pub fn form_member(&mut self) -> Result<(), String> {
        self.need_unit(CONTAINERD)?;
        self.text("/etc/etcd/pki/peer.crt")?;
        if self.pods.contains_key("etcd") && self.files.contains_key(MANIFEST) {
            return Err("another etcd runs here".to_owned());
        }
        if !self.images.keys().any(|reference| reference.contains("/etcd:")) {
            return Err("no image of etcd".to_owned());
        }
        let owner = Owner { user: "etcd".to_owned(), group: "etcd".to_owned() };
        self.put(DATA, FileKind::Directory, Mode::new(0o700), &owner, "", None).map(drop)
    }

    fn put(
        &mut self,
        path: &str,
        kind: FileKind,
        mode: Mode,
        owner: &Owner,
        text: &str,
        blob: Option<Digest>,
    ) -> Result<bool, String> {
        for account in [&owner.user, &owner.group] {
            if account != "root" && !self.users.contains_key(account) {
                return Err(format!("{path}: there is no account {account}"));
            }
        }
        if self.files.get(path).is_some_and(|file| file.kind != kind) {
            return Err(format!("{path}: something else is there"));
        }
        let digest = blob.unwrap_or_else(|| Digest::of(text.as_bytes()));
        let same = |file: &File| (file.digest, file.mode, &file.owner) == (digest, mode, owner);
        if self.files.get(path).is_some_and(same) {
            return Ok(false);
        }
        let changed = self.clock;
        let file = File { kind, mode, owner: owner.clone(), text: text.to_owned(), digest, changed };
        self.files.insert(path.to_owned(), file);
        Ok(true)
    }

    fn text(&self, path: &str) -> Result<&str, String> {
        self.files.get(path).map(|file| file.text.as_str()).ok_or_else(|| format!("{path}: no such file"))
    }

    fn make_key(&mut self, path: &str, owner: &Owner) -> Result<Outcome, String> {
        let key = match self.files.get(path) {
            Some(file) => PrivateKeyPem::parse(&file.text).map_err(text)?,
            None => kubezt_pki::generate().map_err(text)?,
        };
        let changed = self.put(path, FileKind::File, Mode::new(0o600), owner, key.expose(), None)?;
        let public = kubezt_pki::spki_of(&key).map_err(text)?;
        let output = Some(public.to_base64());
        Ok(if changed { Outcome::Changed { output } } else { Outcome::Unchanged { output } })
    }

    fn load_sysctls(&mut self, path: &str) -> Result<bool, String> {
        let mut changed = false;
        // Parameters of devices that come later: there are none yet.
        for line in self.text(path)?.to_owned().lines().filter(|line| !line.starts_with(['#', '-'])) {
            let (key, value) = line.split_once(" = ").ok_or_else(|| format!("{path}: {line:?}"))?;
            changed |= self.sysctls.insert(key.to_owned(), value.to_owned()).as_deref() != Some(value);
        }
        Ok(changed)
    }

    fn need_unit(&self, name: &str) -> Result<(), String> {
        if self.is_active(name) { Ok(()) } else { Err(format!("{name} does not run")) }
    }

    fn reload(&mut self) {
        let names: Vec<String> = self.units.keys().cloned().collect();
        for name in names {
            let loaded = self.definition(&name);
            self.units.entry(name).or_default().loaded = loaded;
        }
    }

    fn start(&mut self, desired: &DesiredNode, name: &str) -> Result<bool, String> {
        let active = self.is_active(name);
        if !active {
            self.bring_up(desired, name)?;
        }
        Ok(!active)
    }

    fn bring_up(&mut self, desired: &DesiredNode, name: &str) -> Result<(), String> {
        let definition = self.definition(name).ok_or_else(|| format!("{name} has no unit file"))?;
        // A timer starts the service of its name.
        let started = name.strip_suffix(".timer").map(|stem| format!("{stem}.service"));
        let program = self
            .definitions(started.as_deref().unwrap_or(name))
            .flat_map(|(_, file)| file.text.lines())
            .filter_map(|line| line.strip_prefix("ExecStart=")?.split_whitespace().next())
            .last()
            .ok_or_else(|| format!("{name} starts nothing"))?;
        if program.starts_with(PROGRAMS) && !self.files.contains_key(program) {
            return Err(format!("{name}: there is no program {program}"));
        }
        self.registered |= name == KUBELET;
        let files = self.files_of(desired, &OnChange::Restart(name.to_owned()));
        let at = self.clock;
        let unit = self.units.entry(name.to_owned()).or_default();
        // A unit systemd never heard of is read now; one it knows stays as it was read, until it is told to read again.
        let loaded = *unit.loaded.get_or_insert(definition);
        unit.active = true;
        unit.started = Some((Some(loaded), files));
        unit.at = at;
        Ok(())
    }
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a String, &'a File)>) -> Digest {
    let lines: String = files.map(|(path, file)| format!("{path} {}\n", file.digest)).collect();
    Digest::of(lines.as_bytes())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
