//! How long the install of a large fleet takes: the real planner and executor, on nodes that only take their time.
//!
//! ```text
//! simulated-bench [JOURNAL…]
//! ```
//!
//! Prints `{"sim_install_seconds_10": …, …}`: seconds of a clock that leaps to the next moment something happens, and the processor
//! time of this program from the text of the cluster file to the end of the run. A step takes what the journals say that a step of
//! its name took longest, and beside that its blobs go through the lines of the operator and of the nodes, as the real schedule
//! wants it. What nodes do for each other beyond that, such as signing, is taken to be as fast as in a small cluster; of the network
//! plug-in there are images and no objects.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on says so by panicking"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is run by whoever reads what it prints")]

#[allow(dead_code, reason = "shared with the tests")]
mod assembly;
#[allow(dead_code, reason = "shared with the tests")]
mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kubezt_engine::certificates;
use kubezt_engine::distribution::{Carrier, Distribution, Source};
use kubezt_engine::executor::{self, Fleet, Sink};
use kubezt_engine::journal::Entry;
use kubezt_model::action::Action;
use kubezt_model::cluster::ConcurrencySpec;
use kubezt_model::desired::Desired;
use kubezt_model::event::{Event, StepResult};
use kubezt_model::node::Facts;
use kubezt_model::plan::{Operation, Plan, Step};
use kubezt_model::{Digest, NodeName};
use kubezt_plan::Assessment;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Nodes of the fleets, of which three are the control plane.
const FLEETS: [usize; 4] = [10, 50, 150, 1000];

/// What the line of the operator and of each node carries in each direction: 1 Gbit/s.
const LINE_BYTES_PER_SECOND: u64 = 125_000_000;

/// Bytes that are sent in turn where several transfers share a line.
const TURN: u64 = 1 << 20;

/// What a node verifies, unpacks and imports of what arrives, while more of it is under way.
const NODE_BYTES_PER_SECOND: u64 = 60_000_000;

/// Connecting to a node and looking at it, beside sending kubezt itself.
const LOOKING: Duration = Duration::from_millis(1500);

/// Program that is brought to every node before anything else, and what gzip leaves of it, in percent.
const PROGRAM: &str = "/usr/local/bin/kubezt";
const COMPRESSED_PERCENT: u64 = 43;

/// Milliseconds that steps took longest where a control plane and two workers with all artifacts shared two processors
/// (`cargo xtask bench`). Journals replace them.
const MILLISECONDS: [(&str, u64); 24] = [
    ("api-ready", 4200),
    ("api-server", 1500),
    ("authorities", 200),
    ("certificates", 400),
    ("components", 100),
    ("configuration", 50),
    ("control-plane", 50),
    ("controllers", 100),
    ("coredns", 600),
    ("etcd-member", 1900),
    ("firewall", 1000),
    ("host", 300),
    ("images", 1500),
    ("kubelet", 1500),
    ("namespaces", 100),
    ("network-policies", 1800),
    ("nodes", 200),
    ("nodes-ready", 12_400),
    ("pods-talk", 2000),
    ("policies", 100),
    ("rbac", 50),
    ("services", 1000),
    ("workload-images", 3100),
    ("workloads-ready", 32_900),
];

fn main() {
    let journals: Vec<String> = std::env::args().skip(1).collect();
    let times = times(&journals);
    let figures = FLEETS.map(|nodes| (format!("sim_install_seconds_{nodes}"), install(nodes, &times)));
    println!("{}", serde_json::to_string(&BTreeMap::from(figures)).unwrap());
}

/// What a step takes, by its name without the node.
fn times(journals: &[String]) -> BTreeMap<String, Duration> {
    let mut longest: BTreeMap<String, Duration> = BTreeMap::new();
    for journal in journals {
        for line in fs_err::read_to_string(journal).unwrap().lines() {
            let entry: Entry =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{journal}: {error}: {line}"));
            if let Event::StepFinished { step, result, milliseconds, .. } = entry.event
                && matches!(result, StepResult::Changed(_) | StepResult::Unchanged)
            {
                let time = longest.entry(name(step.as_str()).to_owned()).or_default();
                *time = Duration::from_millis(milliseconds).max(*time);
            }
        }
    }
    let known = MILLISECONDS.map(|(step, time)| (step.to_owned(), Duration::from_millis(time)));
    let mut times = BTreeMap::from(known);
    times.extend(longest);
    times
}

/// A step's name without its node.
fn name(step: &str) -> &str {
    step.split_once('/').map_or(step, |(_, what)| what)
}

/// Seconds that an install of this many bare nodes takes.
fn install(nodes: usize, times: &BTreeMap<String, Duration>) -> f64 {
    let began = processor_time();
    let desired = cluster::highly_available("stig", nodes - 3);
    let rendered = processor_time();
    let plan = plan(&desired);
    let planned = processor_time();
    let fleet = Arc::new(TimedFleet::new(&desired, times.clone()));
    let paused =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let waited = paused.block_on(async {
        let began = Instant::now();
        fleet.connect().await;
        let joins = ConcurrencySpec::default().joins;
        let outcome =
            executor::run(&plan, Arc::clone(&fleet), joins, Arc::new(|_| {}), CancellationToken::new()).await;
        assert!(outcome.is_complete(), "{:?}", outcome.failed);
        began.elapsed()
    });
    let ended = processor_time();
    eprintln!(
        "{nodes} nodes: {} steps and {:.1} GB from the operator in {:.1} s; processor: {:.2} s rendering, {:.2} s planning, {:.2} s executing",
        plan.steps.len(),
        *fleet.operator.sent.lock().unwrap() as f64 / 1e9,
        waited.as_secs_f64(),
        (rendered - began).as_secs_f64(),
        (planned - rendered).as_secs_f64(),
        (ended - planned).as_secs_f64(),
    );
    let seconds = (waited + (ended - began)).as_secs_f64();
    (seconds * 1000.0).round() / 1000.0
}

/// The plan for nodes that have nothing.
fn plan(desired: &Desired) -> Plan {
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    let nothing = |name: &NodeName| Facts { node: name.clone(), at: 0, readings: BTreeMap::new() };
    let names = desired.nodes.iter().map(|node| &node.node.name);
    let facts: BTreeMap<NodeName, Facts> = names.map(|name| (name.clone(), nothing(name))).collect();
    let mut assessment = Assessment::default();
    certificates::assess(desired, &facts, None, now, &mut assessment);
    kubezt_plan::plan(desired, &facts, &assessment)
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// Nodes that take their time and do nothing.
struct TimedFleet {
    times: BTreeMap<String, Duration>,
    sizes: BTreeMap<Digest, u64>,
    program: (Digest, u64),
    distribution: Distribution,
    operator: Line,
    nodes: BTreeMap<NodeName, Node>,
}

/// One direction of a machine's connection to the network.
struct Line {
    /// When it has nothing to do any more.
    free: Mutex<Instant>,
    sent: Mutex<u64>,
}

struct Node {
    up: Line,
    down: Line,
}

impl Line {
    fn new() -> Self {
        Self { free: Mutex::new(Instant::now()), sent: Mutex::default() }
    }

    /// When a part is through that comes at this moment; what others send meanwhile goes in between.
    fn through(&self, bytes: u64, comes: Instant) -> Instant {
        *self.sent.lock().unwrap() += bytes;
        let mut free = self.free.lock().unwrap();
        *free = comes.max(*free) + duration(bytes, LINE_BYTES_PER_SECOND);
        *free
    }

    /// Sends this many bytes to another machine, which receives while they are sent.
    async fn send(&self, to: &Self, bytes: u64, progress: impl Fn(u64)) {
        let mut left = bytes;
        while left > 0 {
            let part = left.min(TURN);
            left -= part;
            let sent = self.through(part, Instant::now());
            let began = sent - duration(part, LINE_BYTES_PER_SECOND);
            tokio::time::sleep_until(to.through(part, began)).await;
            progress(bytes - left);
        }
    }
}

impl TimedFleet {
    fn new(desired: &Desired, times: BTreeMap<String, Duration>) -> Self {
        let components = || desired.nodes.iter().flat_map(|node| &node.components);
        let images = desired.nodes.iter().flat_map(|node| &node.images);
        let sizes = components().map(|file| (file.digest, file.size));
        let nodes = desired.nodes.iter().map(|node| node.node.name.clone());
        let concurrency = ConcurrencySpec::default();
        let program = components().find(|file| file.path == PROGRAM).unwrap();
        Self {
            times,
            sizes: sizes.chain(images.map(|image| (image.digest, image.size))).collect(),
            program: (program.digest, program.size * COMPRESSED_PERCENT / 100),
            distribution: Distribution::new(concurrency.uploads.get().into(), concurrency.relays.into()),
            operator: Line::new(),
            nodes: nodes.map(|name| (name, Node { up: Line::new(), down: Line::new() })).collect(),
        }
    }

    /// Every node is connected to, gets kubezt and is looked at.
    async fn connect(self: &Arc<Self>) {
        let places = Arc::new(Semaphore::new(ConcurrencySpec::default().connections.get().into()));
        let mut connecting = JoinSet::new();
        for name in self.nodes.keys() {
            let (fleet, places, name) = (Arc::clone(self), Arc::clone(&places), name.clone());
            connecting.spawn(async move {
                let _place = places.acquire().await.unwrap();
                fleet.operator.send(&fleet.nodes[&name].down, fleet.program.1, |_| {}).await;
                tokio::time::sleep(LOOKING).await;
            });
        }
        connecting.join_all().await;
    }

    /// Verifies, unpacks and imports blobs in the order they are used, as they arrive.
    async fn handle(&self, blobs: &[Digest], mut arrived: mpsc::UnboundedReceiver<Digest>) {
        let mut there = BTreeSet::new();
        for blob in blobs {
            while !there.contains(blob) {
                there.insert(arrived.recv().await.unwrap());
            }
            tokio::time::sleep(duration(self.sizes[blob], NODE_BYTES_PER_SECOND)).await;
        }
    }
}

/// Blobs on their way to one node.
struct Delivery<'a> {
    fleet: &'a TimedFleet,
    node: &'a NodeName,
}

impl Carrier for Delivery<'_> {
    async fn carry(
        &self,
        blob: Digest,
        source: &Source,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), String> {
        let nodes = &self.fleet.nodes;
        let from = match source {
            Source::Operator => &self.fleet.operator,
            Source::Node(sender) => &nodes[sender].up,
        };
        from.send(&nodes[self.node].down, self.fleet.sizes[&blob], progress).await;
        Ok(())
    }
}

fn duration(bytes: u64, per_second: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / per_second)
}

impl Fleet for TimedFleet {
    async fn perform(&self, step: &Step, _: &BTreeSet<NodeName>, _: &Sink) -> Result<usize, String> {
        let what = name(step.id.as_str());
        let time = *self.times.get(what).ok_or_else(|| format!("nobody knows how long `{what}` takes"))?;
        let blobs = blobs(step);
        let lacking = blobs.iter().copied().filter(|blob| *blob != self.program.0).collect();
        if let Some(node) = step.node.as_ref().filter(|_| !blobs.is_empty()) {
            let (sender, arrived) = mpsc::unbounded_channel();
            let delivery = Delivery { fleet: self, node };
            let _ = sender.send(self.program.0);
            let delivering = self.distribution.deliver(node, lacking, &delivery, sender);
            let (delivered, ()) = tokio::join!(delivering, self.handle(&blobs, arrived));
            delivered?;
        }
        tokio::time::sleep(time).await;
        Ok(1)
    }

    async fn last_words(&self, _: &Step) -> Vec<String> {
        Vec::new()
    }
}

fn blobs(step: &Step) -> Vec<Digest> {
    let Operation::Node { actions } = &step.operation else { return Vec::new() };
    let digest = |action: &Action| match action {
        Action::InstallBlob { digest, .. } | Action::ImportImage { digest, .. } => Some(*digest),
        _ => None,
    };
    actions.iter().filter_map(digest).collect()
}
