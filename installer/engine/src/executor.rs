//! Runs a plan: every step whose needs are met, all at once, one disruption of a kind at a time.
//!
//! The executor decides nothing. A failed step stops the steps that need it and no others, with one exception: after a
//! component of the control plane did not come back, none is interrupted on another node, which might be one too many. A
//! cancelled run finishes what has begun and starts nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubezt_model::NodeName;
use kubezt_model::event::{Event, StepResult};
use kubezt_model::plan::{Disruption, Plan, Step, StepId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::link::session::operator_name;

/// How long the units and containers of a failed step may take to be heard.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Where events go: bars, lines, JSON and the journal.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// Whatever performs the operations of steps: real nodes, or an in-memory fleet in tests.
pub trait Fleet: Send + Sync + 'static {
    /// Performs one step; answers with the number of things that changed, or with a cause chain. What concerns all nodes leaves
    /// those out that are `behind`: something failed on them.
    fn perform(
        &self,
        step: &Step,
        behind: &BTreeSet<NodeName>,
        sink: &Sink,
    ) -> impl Future<Output = Result<usize, String>> + Send;

    /// What the units and containers that a failed step is about said last, redacted and few lines.
    fn last_words(&self, step: &Step) -> impl Future<Output = Vec<String>> + Send;
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// Which.
    pub step: StepId,
    /// Its node, or `None` for the cluster.
    pub node: Option<NodeName>,
    /// Cause chain, outermost first.
    pub cause: String,
    /// What its units and containers said last.
    pub said: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Things that changed.
    pub changed: usize,
    /// Steps that failed.
    pub failed: Vec<FailedStep>,
    /// Steps that did not run because of these, or because the run was cancelled, with their nodes.
    pub skipped: Vec<(StepId, Option<NodeName>)>,
    /// Whether the run was cancelled.
    pub cancelled: bool,
}

impl Outcome {
    /// Whether everything was done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty() && !self.cancelled
    }
}

/// How many things a step changed; or its cause chain, and what its units and containers said last.
type Performed = Result<usize, (String, Vec<String>)>;

/// Runs the plan to its end.
pub async fn run<F: Fleet>(plan: &Plan, fleet: Arc<F>, sink: Sink, cancel: CancellationToken) -> Outcome {
    let began = Instant::now();
    sink(Event::RunStarted { steps: plan.steps.len(), operator: operator_name() });
    let mut state = State::new(plan);
    let mut running: JoinSet<(usize, Instant, Performed)> = JoinSet::new();
    loop {
        if cancel.is_cancelled() {
            state.outcome.cancelled = true;
        } else {
            for index in state.startable() {
                let step = plan.steps[index].clone();
                state.start(index, &step);
                sink(Event::StepStarted {
                    step: step.id.clone(),
                    node: step.node.clone(),
                    title: step.title.clone(),
                });
                let (fleet, sink, behind) = (Arc::clone(&fleet), Arc::clone(&sink), state.behind());
                running.spawn(async move {
                    let began = Instant::now();
                    let result = match fleet.perform(&step, &behind, &sink).await {
                        Ok(changed) => Ok(changed),
                        Err(cause) => {
                            let said = tokio::time::timeout(LAST_WORDS, fleet.last_words(&step)).await;
                            Err((cause, said.unwrap_or_default()))
                        }
                    };
                    (index, began, result)
                });
            }
        }
        let Some(joined) = running.join_next().await else { break };
        match joined {
            Ok((index, began, result)) => {
                for event in state.finish(index, result, began) {
                    sink(event);
                }
            }
            // A panic in a step is a bug, and still only that step's failure: its dependants never start.
            Err(error) => {
                let cause = format!("a step ended abnormally: {error}");
                sink(Event::Warning { node: None, message: cause.clone() });
                let step = StepId::cluster("internal");
                state.outcome.failed.push(FailedStep { step, node: None, cause, said: Vec::new() });
            }
        }
    }
    state.skip_the_rest();
    sink(Event::RunFinished {
        changed: state.outcome.changed,
        failed: state.outcome.failed.len(),
        skipped: state.outcome.skipped.len(),
        milliseconds: milliseconds(began),
    });
    state.outcome
}

#[derive(Clone, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running,
    Done,
    Stopped,
}

struct State<'a> {
    plan: &'a Plan,
    progress: Vec<Progress>,
    index: BTreeMap<&'a StepId, usize>,
    disruptions: BTreeSet<Disruption>,
    outcome: Outcome,
}

impl<'a> State<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            progress: vec![Progress::Waiting; plan.steps.len()],
            index: plan.steps.iter().enumerate().map(|(index, step)| (&step.id, index)).collect(),
            disruptions: BTreeSet::new(),
            outcome: Outcome::default(),
        }
    }

    /// Steps that can start now; picks at most one of a disruption.
    fn startable(&self) -> Vec<usize> {
        let mut taken = self.disruptions.clone();
        let mut ready = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let met = |need: &StepId| {
                self.index.get(need).is_none_or(|need| self.progress[*need] == Progress::Done)
            };
            let ended = |step: &StepId| {
                let ended = [Progress::Done, Progress::Stopped];
                self.index.get(step).is_none_or(|step| ended.contains(&self.progress[*step]))
            };
            let waits = !step.needs.iter().all(met) || !step.after.iter().all(ended);
            if self.progress[index] != Progress::Waiting || waits {
                continue;
            }
            if step.interrupts == Disruption::None || taken.insert(step.interrupts) {
                ready.push(index);
            }
        }
        ready
    }

    fn start(&mut self, index: usize, step: &Step) {
        self.progress[index] = Progress::Running;
        if step.interrupts != Disruption::None {
            self.disruptions.insert(step.interrupts);
        }
    }

    /// Nodes on which a step failed, or was left out because of one.
    fn behind(&self) -> BTreeSet<NodeName> {
        let steps = self.plan.steps.iter().zip(&self.progress);
        let stopped = steps.filter(|(_, progress)| **progress == Progress::Stopped);
        stopped.filter_map(|(step, _)| step.node.clone()).collect()
    }

    fn finish(&mut self, index: usize, result: Performed, began: Instant) -> Vec<Event> {
        let step = &self.plan.steps[index];
        self.disruptions.remove(&step.interrupts);
        let mut said = Vec::new();
        let result = match result {
            Ok(changed) => {
                self.progress[index] = Progress::Done;
                self.outcome.changed += changed;
                if changed == 0 { StepResult::Unchanged } else { StepResult::Changed(changed) }
            }
            Err((cause, words)) => {
                self.progress[index] = Progress::Stopped;
                said = words.clone();
                let (id, node) = (step.id.clone(), step.node.clone());
                self.outcome.failed.push(FailedStep { step: id, node, cause: cause.clone(), said: words });
                StepResult::Failed(cause)
            }
        };
        let (id, node) = (step.id.clone(), step.node.clone());
        let mut events = vec![Event::StepFinished {
            step: id.clone(),
            node: node.clone(),
            result,
            milliseconds: milliseconds(began),
        }];
        if !said.is_empty() {
            events.push(Event::LastWords { step: id, node, lines: said });
        }
        if self.progress[index] == Progress::Stopped {
            events.extend(self.stop_dependants(index));
        }
        events
    }

    /// Everything that needs a stopped step, however far away, is skipped because of it.
    fn stop_dependants(&mut self, cause: usize) -> Vec<Event> {
        let cause_id = self.plan.steps[cause].id.clone();
        let broken = self.plan.steps[cause].interrupts;
        let mut events = Vec::new();
        // Steps stand after what they need, so one pass in order reaches all of them.
        for (index, step) in self.plan.steps.iter().enumerate() {
            let stopped = |need: &StepId| {
                self.index.get(need).is_some_and(|need| self.progress[*need] == Progress::Stopped)
            };
            let one_too_many = broken.is_of_control_plane() && step.interrupts.is_of_control_plane();
            let stops = one_too_many || step.needs.iter().any(stopped);
            if self.progress[index] == Progress::Waiting && stops {
                self.progress[index] = Progress::Stopped;
                self.outcome.skipped.push((step.id.clone(), step.node.clone()));
                events.push(Event::StepFinished {
                    step: step.id.clone(),
                    node: step.node.clone(),
                    result: StepResult::Skipped(cause_id.clone()),
                    milliseconds: 0,
                });
            }
        }
        events
    }

    fn skip_the_rest(&mut self) {
        for (index, step) in self.plan.steps.iter().enumerate() {
            if matches!(self.progress[index], Progress::Waiting | Progress::Running) {
                self.outcome.skipped.push((step.id.clone(), step.node.clone()));
            }
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use kubezt_model::plan::{Gate, Operation};

    use super::*;

    #[derive(Default)]
    struct Recorder {
        order: Mutex<Vec<String>>,
        running: Mutex<BTreeSet<Disruption>>,
        fails: Option<&'static str>,
    }

    impl Fleet for Recorder {
        async fn last_words(&self, step: &Step) -> Vec<String> {
            vec![format!("{} says goodbye", step.id)]
        }

        async fn perform(&self, step: &Step, _: &BTreeSet<NodeName>, _: &Sink) -> Result<usize, String> {
            if step.interrupts != Disruption::None {
                let first = self.running.lock().unwrap().insert(step.interrupts);
                assert!(first, "two disruptions of a kind at once");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.running.lock().unwrap().remove(&step.interrupts);
            self.order.lock().unwrap().push(step.id.to_string());
            if self.fails == Some(step.id.as_str()) { Err("broken".to_owned()) } else { Ok(1) }
        }
    }

    fn step(what: &str, needs: &[&str], interrupts: Disruption) -> Step {
        Step {
            id: StepId::cluster(what),
            title: what.to_owned(),
            node: None,
            operation: Operation::Gate { gate: Gate::ApiReady, timeout_seconds: 1 },
            needs: needs.iter().map(|need| StepId::cluster(need)).collect(),
            after: Vec::new(),
            interrupts,
            changes: Vec::new(),
        }
    }

    fn after(what: &str, after: &str) -> Step {
        Step { after: vec![StepId::cluster(after)], ..step(what, &[], Disruption::None) }
    }

    async fn run_steps(steps: Vec<Step>, fails: Option<&'static str>) -> (Outcome, Vec<String>) {
        let plan = Plan { cluster: "demo".parse().unwrap(), steps };
        let fleet = Arc::new(Recorder { fails, ..Recorder::default() });
        let outcome = run(&plan, Arc::clone(&fleet), Arc::new(|_| {}), CancellationToken::new()).await;
        let order = fleet.order.lock().unwrap().clone();
        (outcome, order)
    }

    #[tokio::test]
    async fn steps_wait_for_their_needs() {
        let steps = vec![step("a", &[], Disruption::None), step("b", &["a"], Disruption::None)];
        let (outcome, order) = run_steps(steps, None).await;
        assert!(outcome.is_complete());
        assert_eq!(order, ["cluster/a", "cluster/b"]);
    }

    #[tokio::test]
    async fn a_failure_stops_only_its_dependants() {
        let steps = vec![
            step("a", &[], Disruption::None),
            step("b", &["a"], Disruption::None),
            step("c", &["b"], Disruption::None),
            step("d", &[], Disruption::None),
        ];
        let (outcome, order) = run_steps(steps, Some("cluster/a")).await;
        let failed = &outcome.failed[0];
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(failed.said, ["cluster/a says goodbye"]);
        assert_eq!(outcome.skipped, [(StepId::cluster("b"), None), (StepId::cluster("c"), None)]);
        assert!(order.contains(&"cluster/d".to_owned()));
    }

    #[tokio::test]
    async fn what_only_comes_after_a_step_comes_after_its_failure_too() {
        let steps = || vec![step("a", &[], Disruption::None), after("b", "a"), after("c", "b")];
        for fails in [None, Some("cluster/a")] {
            let (outcome, order) = run_steps(steps(), fails).await;
            assert_eq!(order, ["cluster/a", "cluster/b", "cluster/c"]);
            assert_eq!(outcome.skipped, []);
        }
    }

    /// One member that does not come back is as much as three of them bear.
    #[tokio::test]
    async fn after_one_of_the_control_plane_did_not_come_back_no_other_is_interrupted() {
        let steps = || {
            vec![
                step("a", &[], Disruption::EtcdMember),
                step("b", &[], Disruption::EtcdMember),
                step("c", &[], Disruption::Controllers),
                step("d", &[], Disruption::Kubelet),
                step("e", &[], Disruption::Kubelet),
            ]
        };
        let (outcome, order) = run_steps(steps(), Some("cluster/a")).await;
        assert_eq!(outcome.skipped, [(StepId::cluster("b"), None)]);
        assert!(order.contains(&"cluster/e".to_owned()), "{order:?}");
        let (outcome, _) = run_steps(steps(), Some("cluster/d")).await;
        assert_eq!(outcome.skipped, []);
    }

    #[tokio::test]
    async fn disruptions_of_a_kind_take_turns() {
        let steps = (0..4).map(|index| step(&index.to_string(), &[], Disruption::Kubelet)).collect();
        let (outcome, order) = run_steps(steps, None).await;
        assert!(outcome.is_complete());
        assert_eq!(order.len(), 4);
    }

    #[tokio::test]
    async fn a_cancelled_run_starts_nothing() {
        let plan = Plan { cluster: "demo".parse().unwrap(), steps: vec![step("a", &[], Disruption::None)] };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = run(&plan, Arc::new(Recorder::default()), Arc::new(|_| {}), cancel).await;
        assert!(outcome.cancelled);
        assert_eq!(outcome.skipped.len(), 1);
    }
}
