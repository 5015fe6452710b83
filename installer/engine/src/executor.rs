//! Runs a plan: every step whose needs are met, all at once, one disruption of a kind and some joins at a time. The control plane is
//! one kind.
//!
//! The executor decides nothing. A failed step stops the steps that need it and no others, with one exception: after a
//! component of the control plane did not come back, none is interrupted on another node, which might be one too many. A
//! cancelled run finishes what has begun and starts nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::mem::take;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use kubezt_model::NodeName;
use kubezt_model::event::{Event, StepResult};
use kubezt_model::plan::{Disruption, Plan, Step, StepId};
use tokio::task::JoinSet;
use tokio::time::Instant;
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

/// Runs the plan to its end; at most `joins` nodes join the cluster at a time ([`Step::joins`]).
///
/// Whatever ends costs as much as there are steps that wait for it, however large the plan is.
pub async fn run<F: Fleet>(
    plan: &Plan,
    fleet: Arc<F>,
    joins: NonZeroU8,
    sink: Sink,
    cancel: CancellationToken,
) -> Outcome {
    let began = Instant::now();
    sink(Event::RunStarted { steps: plan.steps.len(), operator: operator_name() });
    let mut state = State::new(plan, joins);
    let mut running: JoinSet<(usize, Instant, Performed)> = JoinSet::new();
    loop {
        if cancel.is_cancelled() {
            state.outcome.cancelled = true;
        } else {
            for index in state.start() {
                let step = plan.steps[index].clone();
                sink(Event::StepStarted {
                    step: step.id.clone(),
                    node: step.node.clone(),
                    title: step.title.clone(),
                });
                let (fleet, sink, behind) =
                    (Arc::clone(&fleet), Arc::clone(&sink), Arc::clone(&state.behind));
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

/// What a step has to wait for beside other steps: that few enough of its kind run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Free,
    Joins,
    /// Members of the control plane go one at a time, whichever they are: a step that is said to interrupt one may restart others too.
    ControlPlane,
    Interrupts(Disruption),
}

impl Turn {
    fn of(step: &Step) -> Self {
        match step.interrupts {
            Disruption::None if step.joins() => Self::Joins,
            Disruption::None => Self::Free,
            disruption if disruption.is_of_control_plane() => Self::ControlPlane,
            disruption => Self::Interrupts(disruption),
        }
    }
}

struct State<'a> {
    plan: &'a Plan,
    joins: usize,
    progress: Vec<Progress>,
    /// Of each step, those that need it.
    dependants: Vec<Vec<usize>>,
    /// Of each step, those that only come after it.
    followers: Vec<Vec<usize>>,
    /// Of each step, how many it still waits for.
    waits_for: Vec<usize>,
    /// Steps that wait for no other one.
    ready: BTreeMap<Turn, BTreeSet<usize>>,
    running: BTreeMap<Turn, usize>,
    /// Nodes on which a step failed, or was left out because of one.
    behind: Arc<BTreeSet<NodeName>>,
    outcome: Outcome,
}

impl<'a> State<'a> {
    fn new(plan: &'a Plan, joins: NonZeroU8) -> Self {
        let count = plan.steps.len();
        let mut state = Self {
            plan,
            joins: usize::from(joins.get()),
            progress: vec![Progress::Waiting; count],
            dependants: vec![Vec::new(); count],
            followers: vec![Vec::new(); count],
            waits_for: vec![0; count],
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
            behind: Arc::default(),
            outcome: Outcome::default(),
        };
        let places: BTreeMap<&StepId, usize> =
            plan.steps.iter().enumerate().map(|(index, step)| (&step.id, index)).collect();
        for (index, step) in plan.steps.iter().enumerate() {
            for (others, waiting) in
                [(&step.needs, &mut state.dependants), (&step.after, &mut state.followers)]
            {
                for other in others.iter().filter_map(|other| places.get(other)) {
                    waiting[*other].push(index);
                    state.waits_for[index] += 1;
                }
            }
            if state.waits_for[index] == 0 {
                state.ready.entry(Turn::of(step)).or_default().insert(index);
            }
        }
        state
    }

    /// Starts every step that waits for no other one and whose turn it is, in the order of the plan.
    fn start(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        for (turn, ready) in &mut self.ready {
            let running = self.running.entry(*turn).or_default();
            let at_once = match turn {
                Turn::Free => usize::MAX,
                Turn::Joins => self.joins,
                Turn::ControlPlane | Turn::Interrupts(_) => 1,
            };
            while *running < at_once
                && let Some(index) = ready.pop_first()
            {
                *running += 1;
                self.progress[index] = Progress::Running;
                started.push(index);
            }
        }
        started.sort_unstable();
        started
    }

    fn finish(&mut self, index: usize, result: Performed, began: Instant) -> Vec<Event> {
        let step = &self.plan.steps[index];
        if let Some(running) = self.running.get_mut(&Turn::of(step)) {
            *running -= 1;
        }
        let (id, node) = (step.id.clone(), step.node.clone());
        let finished = |result| Event::StepFinished {
            step: id.clone(),
            node: node.clone(),
            result,
            milliseconds: milliseconds(began),
        };
        match result {
            Ok(changed) => {
                self.progress[index] = Progress::Done;
                self.outcome.changed += changed;
                for waiting in [take(&mut self.dependants[index]), take(&mut self.followers[index])].concat()
                {
                    self.wait_less(waiting);
                }
                let result = if changed == 0 { StepResult::Unchanged } else { StepResult::Changed(changed) };
                vec![finished(result)]
            }
            Err((cause, said)) => {
                let mut events = vec![finished(StepResult::Failed(cause.clone()))];
                if !said.is_empty() {
                    events.push(Event::LastWords {
                        step: id.clone(),
                        node: node.clone(),
                        lines: said.clone(),
                    });
                }
                self.outcome.failed.push(FailedStep { step: id, node, cause, said });
                self.stop(index);
                events.extend(self.stop_dependants(index));
                events
            }
        }
    }

    /// One of those that a step waits for has ended.
    fn wait_less(&mut self, index: usize) {
        self.waits_for[index] -= 1;
        if self.waits_for[index] == 0 && self.progress[index] == Progress::Waiting {
            self.ready.entry(Turn::of(&self.plan.steps[index])).or_default().insert(index);
        }
    }

    /// A step will not be done any more; what only comes after it does not mind.
    fn stop(&mut self, index: usize) {
        let step = &self.plan.steps[index];
        self.progress[index] = Progress::Stopped;
        if let Some(ready) = self.ready.get_mut(&Turn::of(step)) {
            ready.remove(&index);
        }
        if let Some(node) = &step.node {
            Arc::make_mut(&mut self.behind).insert(node.clone());
        }
        for follower in take(&mut self.followers[index]) {
            self.wait_less(follower);
        }
    }

    /// Everything that needs a stopped step, however far away, is skipped because of it.
    fn stop_dependants(&mut self, cause: usize) -> Vec<Event> {
        let steps = &self.plan.steps;
        let mut stops: BTreeSet<usize> = take(&mut self.dependants[cause]).into_iter().collect();
        if steps[cause].interrupts.is_of_control_plane() {
            // Another one away might be one too many.
            stops.extend((0..steps.len()).filter(|index| steps[*index].interrupts.is_of_control_plane()));
        }
        let mut events = Vec::new();
        // Steps stand after what they need, so this goes through them in the order of the plan.
        while let Some(index) = stops.pop_first() {
            if self.progress[index] != Progress::Waiting {
                continue;
            }
            self.stop(index);
            stops.extend(take(&mut self.dependants[index]));
            let step = &steps[index];
            self.outcome.skipped.push((step.id.clone(), step.node.clone()));
            events.push(Event::StepFinished {
                step: step.id.clone(),
                node: step.node.clone(),
                result: StepResult::Skipped(steps[cause].id.clone()),
                milliseconds: 0,
            });
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

    use kubezt_model::action::Action;
    use kubezt_model::plan::{Gate, Operation};

    use super::*;

    /// How many nodes may join at a time.
    const JOINS: NonZeroU8 = NonZeroU8::new(3).unwrap();

    #[derive(Default)]
    struct Recorder {
        order: Mutex<Vec<String>>,
        running: Mutex<BTreeSet<Disruption>>,
        joining: Mutex<usize>,
        most_joining: Mutex<usize>,
        fails: Option<&'static str>,
    }

    impl Fleet for Recorder {
        async fn last_words(&self, step: &Step) -> Vec<String> {
            vec![format!("{} says goodbye", step.id)]
        }

        async fn perform(&self, step: &Step, _: &BTreeSet<NodeName>, _: &Sink) -> Result<usize, String> {
            if step.interrupts != Disruption::None {
                let mut running = self.running.lock().unwrap();
                let of_control_plane = |disruption: &Disruption| disruption.is_of_control_plane();
                let alone = !(of_control_plane(&step.interrupts) && running.iter().any(of_control_plane));
                assert!(running.insert(step.interrupts) && alone, "two disruptions of a kind at once");
            }
            if step.joins() {
                let mut joining = self.joining.lock().unwrap();
                *joining += 1;
                let mut most = self.most_joining.lock().unwrap();
                *most = joining.max(*most);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.running.lock().unwrap().remove(&step.interrupts);
            *self.joining.lock().unwrap() -= usize::from(step.joins());
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
        let (outcome, fleet) = run_recorded(steps, fails).await;
        let order = fleet.order.lock().unwrap().clone();
        (outcome, order)
    }

    async fn run_recorded(steps: Vec<Step>, fails: Option<&'static str>) -> (Outcome, Arc<Recorder>) {
        let plan = Plan { cluster: "demo".parse().unwrap(), steps };
        let fleet = Arc::new(Recorder { fails, ..Recorder::default() });
        let outcome = run(&plan, Arc::clone(&fleet), JOINS, Arc::new(|_| {}), CancellationToken::new()).await;
        (outcome, fleet)
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
        assert_eq!(outcome.skipped, ["b", "c"].map(|step| (StepId::cluster(step), None)));
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
    async fn nodes_join_as_many_at_a_time_as_may_whether_or_not_one_fails() {
        let join = |index: usize| {
            let actions = vec![Action::StartUnit { name: "kubelet.service".to_owned() }];
            Step { operation: Operation::Node { actions }, ..step(&index.to_string(), &[], Disruption::None) }
        };
        for fails in [None, Some("cluster/1")] {
            let steps = (0..10).map(join).chain([step("other", &[], Disruption::None)]).collect();
            let (outcome, fleet) = run_recorded(steps, fails).await;
            assert_eq!(outcome.changed, 11 - outcome.failed.len());
            assert_eq!(*fleet.most_joining.lock().unwrap(), 3);
            assert_eq!(fleet.order.lock().unwrap()[3], "cluster/other", "what joins nothing does not wait");
        }
    }

    /// What waits for its turn when something fails that it needs, or that it must not follow, is not begun.
    #[tokio::test]
    async fn what_is_stopped_while_it_waits_for_its_turn_is_never_begun() {
        let steps = vec![
            step("a", &[], Disruption::EtcdMember),
            step("b", &[], Disruption::EtcdMember),
            step("c", &["b"], Disruption::None),
            after("d", "c"),
        ];
        let (outcome, order) = run_steps(steps, Some("cluster/a")).await;
        assert_eq!(order, ["cluster/a", "cluster/d"]);
        assert_eq!(outcome.skipped, [(StepId::cluster("b"), None), (StepId::cluster("c"), None)]);
    }

    #[tokio::test]
    async fn a_cancelled_run_starts_nothing() {
        let plan = Plan { cluster: "demo".parse().unwrap(), steps: vec![step("a", &[], Disruption::None)] };
        let cancel = CancellationToken::new();
        cancel.cancel();
        let outcome = run(&plan, Arc::new(Recorder::default()), JOINS, Arc::new(|_| {}), cancel).await;
        assert!(outcome.cancelled);
        assert_eq!(outcome.skipped.len(), 1);
    }
}
