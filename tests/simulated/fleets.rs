//! Fleets of 3, 50 and 500 nodes: whatever happens in whichever step, the next run ends where an undisturbed one does.
//!
//! Of three nodes every step meets everything that can happen. Of the larger ones some steps do, which are taken evenly from the
//! run's beginning to its end, each with the next kind of fault.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use kubezt_engine::distribution::Source;
use kubezt_engine::executor::{self, Fleet, Sink};
use kubezt_model::action::Action;
use kubezt_model::desired::Desired;
use kubezt_model::plan::{Disruption, Gate, Operation, Plan, Step, StepId};
use kubezt_model::{Digest, NodeName};
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::end_state::EndState;
use crate::fleet::{Ailment, Fault, SimulatedFleet, World};
use crate::{assert_complete, bare, install, perform, run};

/// What can happen in a step.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// It fails.
    Fails,
    /// Its node is gone from then on.
    LosesNode,
    /// The operator's process is killed.
    Killed,
}

const MISHAPS: [Mishap; 3] = [Mishap::Killed, Mishap::LosesNode, Mishap::Fails];

/// A fleet before its install, and what becomes of it where nothing happens.
struct Undisturbed {
    start: Arc<World>,
    /// Steps in the order they begin, with the number of actions of each.
    begun: Vec<(StepId, usize)>,
    end: EndState,
}

impl Undisturbed {
    fn of(desired: Arc<Desired>) -> Self {
        let start = bare(desired);
        let world = start.fork(Arc::clone(start.desired()), None);
        let (outcome, begun) = run(&world);
        assert_complete(&world, &outcome, "undisturbed");
        Self { start, begun, end: EndState::of(&world) }
    }

    /// Lets something happen halfway through a step; the next run ends as if nothing had.
    fn suffers(&self, mishap: Mishap, at: usize) {
        let (step, count) = &self.begun[at];
        let actions = count / 2;
        let what = format!("{mishap:?} in {step} after {actions} of {count} actions");
        let ails = |dies| self.start.ailing(Ailment { step: step.clone(), actions, dies });
        let world = match mishap {
            Mishap::Fails => ails(false),
            Mishap::LosesNode => ails(true),
            Mishap::Killed => {
                self.start.fork(Arc::clone(self.start.desired()), Some(Fault { steps: at, actions }))
            }
        };
        let outcome = install(&world);
        assert!(outcome.failed.iter().any(|failed| failed.step == *step), "{what}: broke nothing");
        let next = world.fork(Arc::clone(self.start.desired()), None);
        assert_complete(&next, &install(&next), &what);
        self.end.assert_same(&EndState::of(&next), &what);
    }

    /// Mishaps in this many steps, evenly from the first to the last, each of the next kind.
    fn suffers_evenly(&self, mishaps: usize) {
        let steps = self.begun.len();
        for (index, mishap) in (0..mishaps).zip(MISHAPS.into_iter().cycle()) {
            self.suffers(mishap, (2 * index + 1) * steps / (2 * mishaps));
        }
    }
}

#[test]
fn three_nodes_recover_from_every_mishap_in_every_step() {
    let fleet = Undisturbed::of(cluster::desired("stig", 2));
    assert!(fleet.begun.len() >= 35, "{:?}", fleet.begun);
    for (at, (step, _)) in fleet.begun.iter().enumerate() {
        let has_node = !step.as_str().starts_with("cluster/");
        let possible = MISHAPS.into_iter().filter(|mishap| has_node || !matches!(mishap, Mishap::LosesNode));
        possible.for_each(|mishap| fleet.suffers(mishap, at));
    }
}

#[test]
fn fifty_nodes_recover_from_mishaps_in_all_parts_of_a_run() {
    let fleet = Undisturbed::of(cluster::highly_available("stig", 47));
    assert!(fleet.begun.len() >= 450, "only {} steps", fleet.begun.len());
    fleet.suffers_evenly(3);
}

#[test]
fn five_hundred_nodes_recover_from_mishaps_in_all_parts_of_a_run() {
    let fleet = Undisturbed::of(cluster::highly_available("stig", 497));
    assert!(fleet.begun.len() >= 4500, "only {} steps", fleet.begun.len());
    fleet.suffers_evenly(1);
}

/// How often each blob left the operator, and how transfers from this node ended.
fn transfers(fleet: &SimulatedFleet, node: &str) -> (BTreeMap<Digest, usize>, Vec<bool>) {
    let (mut left, mut of_node) = (BTreeMap::new(), Vec::new());
    for transfer in fleet.components.transfers() {
        match transfer.source {
            Source::Operator => *left.entry(transfer.blob).or_default() += 1,
            Source::Node(sender) if sender.as_str() == node => of_node.push(transfer.came),
            Source::Node(_) => {}
        }
    }
    (left, of_node)
}

#[test]
fn each_blob_leaves_the_operator_once_however_many_nodes_there_are() {
    for workers in [0, 47] {
        let world = bare(cluster::highly_available("stig", workers));
        let (outcome, fleet) = perform(&world);
        assert_complete(&world, &outcome, "undisturbed");
        let (left, _) = transfers(&fleet, "");
        assert!(left.len() >= 14 && left.values().all(|times| *times == 1), "{workers} workers: {left:?}");
    }
}

/// A node dies that others are getting something from; they get it elsewhere.
#[test]
fn a_sender_that_dies_in_the_middle_stops_no_other_node() {
    let start = bare(cluster::highly_available("stig", 47));
    let step = StepId::on(&"w1".parse().unwrap(), "services");
    let dying = start.ailing(Ailment { step: step.clone(), actions: 0, dies: true });
    let (outcome, fleet) = perform(&dying);
    let (left, ended) = transfers(&fleet, "w1");
    assert!(ended.contains(&true) && ended.contains(&false), "{ended:?}");
    assert!(left.values().all(|times| *times <= 2), "{left:?}");
    assert!(outcome.failed.iter().all(|failed| failed.step.as_str().starts_with("w1/")), "{outcome:?}");
    let behind = outcome.skipped.iter().filter_map(|(_, node)| node.as_ref());
    assert!(behind.clone().all(|node| node.as_str() == "w1"), "{outcome:?}");
    let next = dying.fork(Arc::clone(start.desired()), None);
    assert_complete(&next, &install(&next), "without the dying node");
}

/// A firewall lets nobody but the operator in: that costs two attempts, and nobody the install.
#[test]
fn a_node_that_others_do_not_reach_is_soon_left_alone() {
    let world = bare(cluster::highly_available("stig", 47)).shut("w2");
    let (outcome, fleet) = perform(&world);
    assert_complete(&world, &outcome, "w2 is not reached by others");
    let (left, ended) = transfers(&fleet, "w2");
    assert!((1..=3).contains(&ended.len()) && !ended.contains(&true), "{ended:?}");
    assert!(left.values().sum::<usize>() <= left.len() + 2, "{left:?}");
}

/// Nodes that do everything at once.
struct Instantly;

impl Fleet for Instantly {
    async fn perform(&self, step: &Step, _: &BTreeSet<NodeName>, _: &Sink) -> Result<usize, String> {
        if step.id.as_str() == "n7/s3" { Err("broken".to_owned()) } else { Ok(1) }
    }

    async fn last_words(&self, _: &Step) -> Vec<String> {
        Vec::new()
    }
}

/// Whatever ends costs what depends on it, and not the whole plan: at first ten thousand steps that wait for each other, then ten
/// thousand of which one at a time may run.
#[test]
fn the_executor_costs_little_for_each_step() {
    let gate = || Operation::Gate { gate: Gate::ApiReady, timeout_seconds: 1 };
    let join = || Operation::Node { actions: vec![Action::StartUnit { name: "kubelet.service".to_owned() }] };
    for interrupts in [Disruption::None, Disruption::Kubelet] {
        let mut steps: Vec<Step> = Vec::new();
        for node in 0..1000 {
            let name: NodeName = format!("n{node}").parse().unwrap();
            steps.extend((0..10).map(|step| Step {
                id: StepId::on(&name, &format!("s{step}")),
                title: String::new(),
                node: Some(name.clone()),
                operation: if step == 9 { join() } else { gate() },
                needs: (0..step).map(|before| StepId::on(&name, &format!("s{before}"))).collect(),
                after: Vec::new(),
                interrupts,
                changes: Vec::new(),
            }));
        }
        let after = steps.iter().map(|step| step.id.clone()).collect();
        let (id, title) = (StepId::cluster("end"), String::new());
        let (needs, changes) = (Vec::new(), Vec::new());
        let last = Step { id, title, node: None, operation: gate(), needs, after, interrupts, changes };
        steps.push(last);
        let plan = Plan { cluster: "demo".parse().unwrap(), steps };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let joins = NonZeroU8::new(16).unwrap();
        let began = processor_time();
        let going =
            executor::run(&plan, Arc::new(Instantly), joins, Arc::new(|_| {}), CancellationToken::new());
        let outcome = runtime.block_on(going);
        let took = processor_time() - began;
        assert_eq!((outcome.changed, outcome.failed.len(), outcome.skipped.len()), (9994, 1, 6));
        // A few tenths of a second without optimisation; looking at all steps whenever one ends takes minutes.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
