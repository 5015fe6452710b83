//! A fleet in memory: nodes, an API with objects, and faults on demand.
//!
//! It answers the same reads and takes the same actions as real nodes, so that whole installs run in milliseconds. It
//! serves speed and fault injection; what a real node does is shown on real nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubezt_engine::certificates::{ApplyActions, Authorities, DueCertificates, Issuer};
use kubezt_engine::distribution::Source;
use kubezt_engine::executor::{Fleet, Sink};
use kubezt_engine::manifests::is_of;
use kubezt_engine::nodes::NodeFailure;
use kubezt_engine::{doctor, failures};
use kubezt_model::NodeName;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::health::{ApiServerAnswer, ApiServerReading};
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::plan::{Gate, Operation, Step, StepId};
use kubezt_pki::RootAuthority;
use kubezt_plan::assess::object_name;
use kubezt_plan::doctor::{ApiEvidence, Evidence, NodeCondition, NodeSeen};
use kubezt_plan::{Assessment, Due};
use serde_json::Value;

use crate::components::Components;
use crate::etcd::{self, Etcd};
use crate::node::Node;

/// Everything there is, what is wanted of it, and the fault that is due.
pub struct World {
    pub nodes: Mutex<BTreeMap<NodeName, Node>>,
    pub objects: Mutex<BTreeMap<String, Value>>,
    pub etcd: Mutex<Etcd>,
    pub root: Arc<RootAuthority>,
    pub now: jiff::Timestamp,
    /// Nodes that nobody reaches.
    pub unreached: BTreeSet<NodeName>,
    /// Nodes that the operator reaches, and no other node.
    shut: BTreeSet<NodeName>,
    /// What happens to a node in the next run.
    pub ailment: Option<Ailment>,
    desired: Arc<Desired>,
    fault: Option<Fault>,
}

/// What happens to one node, while the others are well.
#[derive(Debug, Clone)]
pub struct Ailment {
    /// The step in which it happens, with this many of its actions done.
    pub step: StepId,
    /// Actions of the step that are still done.
    pub actions: usize,
    /// Whether the node is gone from then on; otherwise that one step fails.
    pub dies: bool,
}

/// A run that dies: in the step that begins after this many others, with this many of its actions done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Steps that begin before it.
    pub steps: usize,
    /// Actions of the step that are still done, wherever they are done.
    pub actions: usize,
}

impl World {
    /// Bare nodes for a desired state.
    pub fn bare(desired: Arc<Desired>, now: jiff::Timestamp) -> Arc<Self> {
        let nodes = desired.nodes.iter().map(|node| (node.node.name.clone(), Node::default())).collect();
        Arc::new(Self {
            nodes: Mutex::new(nodes),
            objects: Mutex::default(),
            etcd: Mutex::default(),
            root: Arc::new(kubezt_pki::new_root("simulated", now, 10).unwrap()),
            now,
            unreached: BTreeSet::new(),
            shut: BTreeSet::new(),
            ailment: None,
            desired,
            fault: None,
        })
    }

    /// The same world, of which something else is wanted and in which the next run may die. Nodes it did not have are bare.
    pub fn fork(&self, desired: Arc<Desired>, fault: Option<Fault>) -> Arc<Self> {
        let mut nodes = lock(&self.nodes).clone();
        for node in &desired.nodes {
            nodes.entry(node.node.name.clone()).or_default();
        }
        Arc::new(Self {
            nodes: Mutex::new(nodes),
            objects: Mutex::new(lock(&self.objects).clone()),
            etcd: Mutex::new(lock(&self.etcd).clone()),
            root: Arc::clone(&self.root),
            now: self.now,
            unreached: BTreeSet::new(),
            shut: BTreeSet::new(),
            ailment: None,
            desired,
            fault,
        })
    }

    /// The same world after a while in which nothing happened, and no node renewed its leaves.
    pub fn later(&self, pause: Duration) -> Arc<Self> {
        let world = self.fork(Arc::clone(&self.desired), None);
        Arc::new(Self { now: self.now + pause, ..Arc::into_inner(world).unwrap() })
    }

    /// The same world, in which something happens to a node in the next run.
    pub fn ailing(&self, ailment: Ailment) -> Arc<Self> {
        let world = self.fork(Arc::clone(&self.desired), None);
        Arc::new(Self { ailment: Some(ailment), ..Arc::into_inner(world).unwrap() })
    }

    /// The same world, in which no other node reaches this one.
    pub fn shut(&self, node: &str) -> Arc<Self> {
        let world = self.fork(Arc::clone(&self.desired), None);
        Arc::new(Self { shut: BTreeSet::from([node.parse().unwrap()]), ..Arc::into_inner(world).unwrap() })
    }

    /// The same world, in which nobody reaches these nodes.
    pub fn without(&self, nodes: &[&str]) -> Arc<Self> {
        let world = self.fork(Arc::clone(&self.desired), None);
        let unreached = nodes.iter().map(|name| name.parse().unwrap()).collect();
        Arc::new(Self { unreached, ..Arc::into_inner(world).unwrap() })
    }

    /// What is wanted.
    pub fn desired(&self) -> &Arc<Desired> {
        &self.desired
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
            .filter(|desired| !self.unreached.contains(&desired.node.name))
            .map(|desired| {
                let name = desired.node.name.clone();
                let node = lock(&self.nodes)[&name].clone();
                let readings = kubezt_plan::facts::reads(desired)
                    .into_iter()
                    .map(|read| {
                        let reading = match read {
                            Read::EtcdMembers if self.member_runs(name.as_str()) => {
                                Reading::EtcdMembers(lock(&self.etcd).members().to_vec())
                            }
                            _ => node.read(&read),
                        };
                        (read, reading)
                    })
                    .collect();
                (name.clone(), Facts { node: name, at: self.now.as_second(), readings })
            })
            .collect();
        let mut assessment = Assessment { api_reachable: self.api_runs(), ..Assessment::default() };
        let root = self.root.certificate();
        kubezt_engine::certificates::assess(&self.desired, &facts, Some(root), self.now, &mut assessment);
        if assessment.api_reachable {
            let objects = lock(&self.objects);
            let known = objects.keys().filter_map(|name| name.strip_prefix("Node "));
            let wanted = || self.desired.nodes.iter().map(|node| &node.node.name);
            let departed = known.filter(|name| wanted().all(|wanted| wanted.as_str() != *name));
            assessment.departed = departed.map(str::to_owned).collect();
            let nodes = lock(&self.nodes);
            let missing = wanted().filter(|name| !nodes[*name].registered);
            assessment.unregistered = missing.cloned().collect();
            for set in &self.desired.manifests {
                let due = set
                    .objects
                    .iter()
                    .filter(|object| objects.get(&object_name(object)) != Some(object))
                    .map(|object| Due { subject: object_name(object), why: "differs".to_owned() });
                let left_over = set
                    .absent
                    .iter()
                    .filter(|object| objects.contains_key(&object_name(object)))
                    .map(|object| Due { subject: object_name(object), why: "switched off".to_owned() });
                assessment.objects.insert(set.name.clone(), due.chain(left_over).collect());
            }
        }
        (facts, assessment)
    }

    /// Looks at everything the doctor looks at.
    pub fn examine(&self) -> Evidence {
        let reached = self.desired.nodes.iter().filter(|node| !self.unreached.contains(&node.node.name));
        let names: Vec<String> =
            lock(&self.etcd).members().iter().map(|member| member.name.clone()).collect();
        let running = names.iter().filter(|name| self.member_runs(name)).count();
        let decides = running * 2 > names.len();
        let answer =
            if decides { ApiServerAnswer::Ready } else { ApiServerAnswer::Failing(vec!["etcd".to_owned()]) };
        let servers = self.desired.cluster.control_plane().map(|node| ApiServerReading {
            address: SocketAddr::new(node.address(), self.desired.cluster.endpoint.port),
            answer: answer.clone(),
        });
        let servers: Vec<ApiServerReading> = servers.collect();
        let facts = reached.map(|desired| {
            let name = desired.node.name.clone();
            let runs = self.member_runs(name.as_str());
            let node = lock(&self.nodes)[&name].clone();
            let readings = kubezt_plan::doctor::reads(desired).into_iter().map(|read| {
                let reading = match &read {
                    Read::EtcdMembers if runs && decides => {
                        Reading::EtcdMembers(lock(&self.etcd).members().to_vec())
                    }
                    Read::EtcdMembers | Read::EtcdStatus if !runs || !decides => {
                        Reading::Failed("no answer".to_owned())
                    }
                    Read::ApiServers if !names.is_empty() => Reading::ApiServers(servers.clone()),
                    other => node.read(other),
                };
                (read, reading)
            });
            (name.clone(), Facts { node: name, at: self.now.as_second(), readings: readings.collect() })
        });
        let facts = facts.collect();
        let lost = self.unreached.iter().map(|node| NodeFailure {
            node: node.clone(),
            why: format!("{node}: no route to host"),
            privilege: false,
        });
        let lost: Vec<NodeFailure> = lost.collect();
        let api = if decides { Ok(self.seen_by_api()) } else { Err("the API gave no answer".to_owned()) };
        doctor::evidence(&self.desired, facts, &lost, BTreeMap::new(), api, self.now)
    }

    /// A node is Ready whose kubelet runs and that is reached.
    fn seen_by_api(&self) -> ApiEvidence {
        let nodes = lock(&self.nodes);
        let registered = nodes.iter().filter(|(_, node)| node.registered);
        let seen = registered.map(|(name, node)| {
            let ready = node.is_active("kubelet.service") && !self.unreached.contains(name);
            let status = if ready { "True" } else { "Unknown" };
            let condition = NodeCondition {
                kind: "Ready".to_owned(),
                status: status.to_owned(),
                message: "Kubelet stopped posting node status.".to_owned(),
            };
            NodeSeen { name: name.to_string(), conditions: vec![condition] }
        });
        ApiEvidence { nodes: seen.collect(), ..ApiEvidence::default() }
    }

    /// Whether the member of etcd on this node runs: kubelet starts it where it has a manifest, it has data, and nobody has
    /// removed it.
    fn member_runs(&self, node: &str) -> bool {
        let listed = lock(&self.etcd).members().iter().any(|member| member.name == node);
        let nodes = lock(&self.nodes);
        let node = nodes.iter().find(|(name, _)| name.as_str() == node).map(|(_, node)| node);
        listed
            && node.is_some_and(|node| {
                node.is_active("kubelet.service")
                    && !node.has_crashed("etcd")
                    && [etcd::MANIFEST, etcd::DATA].iter().all(|path| node.files.contains_key(*path))
            })
    }

    /// Does what concerns more than one node; `None` where it does not.
    fn among_members(&self, node: &NodeName, action: &Action) -> Option<Result<Outcome, String>> {
        let concerns_them = matches!(
            action,
            Action::FormEtcdMember { .. }
                | Action::PromoteEtcdMember { .. }
                | Action::RemoveEtcdMember { .. }
        );
        if !concerns_them {
            return None;
        }
        let members = lock(&self.etcd).clone();
        let names = members.members().iter().map(|member| member.name.clone());
        let running: Vec<String> = names.filter(|name| self.member_runs(name)).collect();
        let runs = |name: &str| running.iter().any(|running| running == name);
        let changed = match action {
            Action::FormEtcdMember { manifest, cluster, .. } => {
                if lock(&self.nodes)[node].files.contains_key(etcd::DATA) {
                    Ok(false)
                } else {
                    self.trusted(node, &running).and_then(|()| {
                        let peer_url = manifest
                            .lines()
                            .find_map(|line| line.trim().strip_prefix("- \"--initial-advertise-peer-urls="))
                            .and_then(|rest| rest.strip_suffix('"'))
                            .ok_or("the manifest names no peer URL")?;
                        lock(&self.etcd).form(node, peer_url, cluster, &runs)?;
                        lock(&self.nodes).get_mut(node).ok_or("no such node")?.form_member().map(|()| true)
                    })
                }
            }
            _ => lock(&self.etcd).change(action, &runs),
        };
        Some(changed.map(|changed| match changed {
            true => Outcome::Changed { output: None },
            false => Outcome::Unchanged { output: None },
        }))
    }

    /// Members that run take only those whose authority they have read.
    fn trusted(&self, node: &NodeName, running: &[String]) -> Result<(), String> {
        const BUNDLE: &str = "/etc/etcd/pki/ca.crt";
        let nodes = lock(&self.nodes);
        let bundle = |node: &Node| node.files.get(BUNDLE).map(|file| file.text.clone());
        let wanted = bundle(&nodes[node]).ok_or("no certificates")?;
        for desired in &self.desired.nodes {
            let name = &desired.node.name;
            if running.iter().any(|running| running == name.as_str()) {
                let other = &nodes[name];
                if bundle(other).as_ref() != Some(&wanted) || other.stale_pods(desired).contains("etcd") {
                    return Err(format!("{name} does not trust it"));
                }
            }
        }
        Ok(())
    }

    /// A fleet on this world, for one run.
    pub fn fleet(self: &Arc<Self>, facts: &BTreeMap<NodeName, Facts>) -> Arc<SimulatedFleet> {
        let authorities = Authorities::read(self.root.certificate().clone(), &self.desired, facts);
        Arc::new(SimulatedFleet {
            world: Arc::clone(self),
            authorities,
            begun: Mutex::default(),
            components: Components::new(),
        })
    }

    fn wanted(&self, node: &NodeName) -> Result<&DesiredNode, String> {
        let mut nodes = self.desired.nodes.iter();
        nodes.find(|desired| desired.node.name == *node).ok_or_else(|| format!("{node}: no such node"))
    }

    /// Nodes that are not waited for: something failed on them, or nobody reaches them.
    fn without_these(&self, behind: &BTreeSet<NodeName>) -> BTreeSet<NodeName> {
        behind.union(&self.unreached).cloned().collect()
    }

    fn api_runs(&self) -> bool {
        const NEEDED: [&str; 4] = [
            "/etc/etcd/pki/server.crt",
            "/etc/kubernetes/manifests/etcd.yaml",
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "/etc/kubernetes/pki/apiserver.crt",
        ];
        let nodes = lock(&self.nodes);
        let reached = |node: &&kubezt_model::desired::Node| !self.unreached.contains(&node.name);
        self.desired.cluster.control_plane().filter(reached).all(|node| {
            let node = &nodes[&node.name];
            ["containerd.service", "kubelet.service"].iter().all(|unit| node.is_active(unit))
                && NEEDED.iter().all(|path| node.files.contains_key(*path))
                && ["/etcd:", "/kube-apiserver:"]
                    .iter()
                    .all(|part| node.images.keys().any(|reference| reference.contains(part)))
        })
    }

    /// What a gate waits for, as far as it exists here.
    fn gate(&self, gate: &Gate, behind: &BTreeSet<NodeName>) -> Result<(), String> {
        if !self.api_runs() {
            return Err("the API does not run".to_owned());
        }
        match gate {
            Gate::ApiReady => Ok(()),
            Gate::NodesReady => match self.idle_node(behind) {
                None => Ok(()),
                Some(node) => Err(format!("{node} is not Ready")),
            },
            Gate::WorkloadsReady | Gate::PodsTalk => {
                let objects = lock(&self.objects);
                let wanted = self.desired.manifests.iter().flat_map(|set| &set.objects);
                let wanted = wanted.filter(|object| !is_of(object, behind)).map(object_name);
                match wanted.into_iter().find(|name| !objects.contains_key(name)) {
                    None => Ok(()),
                    Some(name) => Err(format!("{name} is missing")),
                }
            }
        }
    }

    fn idle_node(&self, behind: &BTreeSet<NodeName>) -> Option<NodeName> {
        let nodes = lock(&self.nodes);
        let runs = |name: &NodeName| {
            nodes.get(name).is_some_and(|node| node.is_active("kubelet.service") && node.registered)
        };
        let mut wanted = self.desired.nodes.iter().map(|node| &node.node.name);
        wanted.find(|name| !runs(name) && !behind.contains(*name)).cloned()
    }
}

/// Performs the steps of one run on a simulated world.
pub struct SimulatedFleet {
    world: Arc<World>,
    authorities: Authorities,
    /// Steps that began, with the actions each did.
    begun: Mutex<Vec<(StepId, usize)>>,
    /// What nodes got.
    pub components: Components,
}

/// The actions of one step, counted; a run that dies stops after some.
struct Hands<'a> {
    world: &'a World,
    components: &'a Components,
    left: Mutex<Option<usize>>,
    done: Mutex<usize>,
}

const KILLED: &str = "killed";

impl Hands<'_> {
    /// Whether one more action is done.
    fn reach(&self) -> Result<(), String> {
        if let Some(left) = lock(&self.left).as_mut() {
            *left = left.checked_sub(1).ok_or(KILLED)?;
        }
        *lock(&self.done) += 1;
        Ok(())
    }

    fn live(&self) -> Result<(), String> {
        if lock(&self.left).is_some() { Err(KILLED.to_owned()) } else { Ok(()) }
    }
}

impl ApplyActions for Hands<'_> {
    fn reaches(&self, node: &NodeName) -> bool {
        !self.world.unreached.contains(node)
    }

    async fn apply(&self, node: &NodeName, actions: Vec<Action>) -> Result<Vec<Outcome>, String> {
        let desired = self.world.wanted(node)?;
        let mut outcomes = Vec::new();
        for action in &actions {
            self.reach()?;
            if !self.components.suffice(node, action) {
                return Err(format!("{node}: {}: there is no such blob", action.describe()));
            }
            let outcome = match self.world.among_members(node, action) {
                Some(outcome) => outcome,
                None => {
                    let mut nodes = lock(&self.world.nodes);
                    let state = nodes.get_mut(node).ok_or("no such node")?;
                    state.apply(desired, action, self.world.now)
                }
            };
            outcomes.push(outcome.map_err(|why| format!("{node}: {}: {why}", action.describe()))?);
        }
        Ok(outcomes)
    }
}

impl SimulatedFleet {
    /// Steps in the order they began, with the number of actions of each.
    pub fn begun(&self) -> Vec<(StepId, usize)> {
        lock(&self.begun).clone()
    }

    fn begin(&self, step: &Step) -> (usize, Option<usize>) {
        let mut begun = lock(&self.begun);
        begun.push((step.id.clone(), 0));
        let index = begun.len() - 1;
        let allowance = self.world.fault.and_then(|fault| match index.cmp(&fault.steps) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(fault.actions),
            // A process that was killed does nothing more anywhere.
            std::cmp::Ordering::Greater => Some(0),
        });
        (index, allowance)
    }

    /// How many actions of a step are done where something happens to its node.
    fn ails(&self, step: &Step) -> Option<usize> {
        let ailment = self.world.ailment.as_ref()?;
        if ailment.step == step.id {
            return Some(ailment.actions);
        }
        step.node.as_ref().is_some_and(|node| self.is_dead(node)).then_some(0)
    }

    /// Whether a node died in this run.
    fn is_dead(&self, node: &NodeName) -> bool {
        self.world.ailment.as_ref().is_some_and(|ailment| {
            let of_it = ailment.step.as_str().split_once('/').is_some_and(|(name, _)| name == node.as_str());
            ailment.dies && of_it && lock(&self.begun).iter().any(|(step, _)| *step == ailment.step)
        })
    }

    /// Why a node gets nothing from there, where it does not.
    fn obstacle(&self, node: &NodeName, source: &Source) -> Result<(), String> {
        if self.is_dead(node) {
            return Err(format!("{node}: the connection was lost"));
        }
        match source {
            Source::Node(sender) if self.is_dead(sender) || self.world.shut.contains(sender) => {
                Err(format!("{sender}: no answer"))
            }
            _ => Ok(()),
        }
    }

    async fn act(
        &self,
        step: &Step,
        behind: &BTreeSet<NodeName>,
        hands: &Hands<'_>,
    ) -> Result<usize, String> {
        let node = || step.node.as_ref().ok_or_else(|| "the step names no node".to_owned());
        match &step.operation {
            Operation::Node { actions } => {
                let obstacle = |node: &NodeName, source: &Source| self.obstacle(node, source);
                self.components.deliver(node()?, actions, &obstacle).await?;
                let outcomes = hands.apply(node()?, actions.clone()).await?;
                Ok(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Changed { .. })).count())
            }
            Operation::Certificates { keys, certificates, bundles } => {
                let issuer = Issuer {
                    desired: &self.world.desired,
                    authorities: &self.authorities,
                    root: Some(&self.world.root),
                    now: self.world.now,
                };
                let due = DueCertificates { keys, certificates, bundles };
                issuer.issue(hands, node()?, &due).await
            }
            Operation::Apply { manifests } => {
                self.world.gate(&Gate::ApiReady, behind)?;
                for object in manifests.objects.iter().filter(|object| !is_of(object, behind)) {
                    hands.reach()?;
                    if object["kind"] == "Node"
                        && let Some(node) = self.world.idle_node(behind)
                    {
                        return Err(format!("{node} is not registered"));
                    }
                    lock(&self.world.objects).insert(object_name(object), object.clone());
                }
                for object in &manifests.absent {
                    hands.reach()?;
                    lock(&self.world.objects).remove(&object_name(object));
                    let node = object.pointer("/metadata/name").and_then(Value::as_str);
                    if object["kind"] == "Node"
                        && let Some((_, node)) =
                            lock(&self.world.nodes).iter_mut().find(|(name, _)| node == Some(name.as_str()))
                    {
                        node.registered = false;
                    }
                }
                Ok(manifests.objects.len() + manifests.absent.len())
            }
            Operation::Gate { gate, .. } => {
                hands.live()?;
                self.world.gate(gate, behind).map(|()| 0)
            }
        }
    }
}

impl Fleet for SimulatedFleet {
    async fn perform(&self, step: &Step, behind: &BTreeSet<NodeName>, _: &Sink) -> Result<usize, String> {
        let (index, mut allowance) = self.begin(step);
        if let Some(actions) = self.ails(step) {
            allowance = Some(actions);
        }
        let hands = Hands {
            world: &self.world,
            components: &self.components,
            left: Mutex::new(allowance),
            done: Mutex::default(),
        };
        let result = self.act(step, &self.world.without_these(behind), &hands).await;
        lock(&self.begun)[index].1 = *lock(&hands.done);
        // Its end is not reached even where the allowance was enough for all of it.
        hands.live().and(result)
    }

    async fn last_words(&self, step: &Step) -> Vec<String> {
        let suspects = step.suspects();
        let readings = failures::reads(&suspects).into_iter().map(|read| {
            let reading = match &read {
                Read::UnitLog { name } => Reading::Lines(vec![format!("{name} fails")]),
                _ => Reading::Missing,
            };
            (read, reading)
        });
        failures::words(&suspects, &readings.collect())
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
