//! What holds in every plan, whatever it is a plan of.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::NodeName;
use kubezt_model::action::{Action, Condition};
use kubezt_model::desired::{Desired, DesiredNode, OnChange};
use kubezt_model::plan::{Disruption, Operation, Plan, Step, StepId};
use kubezt_plan::{Selection, Ticket};

use crate::{assert_complete, bare, cluster, install, plan};

/// Where members of etcd have their data, which is set aside and never removed.
const ETCD_DATA: &str = "/var/lib/etcd";

/// Units whose restart stops pods, or their kubelet, for a moment.
const INTERRUPTING: [&str; 2] = ["containerd.service", "kubelet.service"];

/// Static pods without which a node's API server does not answer.
const SERVING: [&str; 2] = ["etcd", "kube-apiserver"];

/// What is wrong with a plan of this cluster; nothing where all of it holds:
///
/// - a step has a name of its own, and stands after every step that it waits for, so that none wait for each other;
/// - no file is written after the start of what reads it only then;
/// - what interrupts a member of the control plane waits until that is back, in the same step: the executor begins no second one
///   meanwhile; and until the API server beside a member of etcd with a vote is ready;
/// - what restarts kubelet, the container runtime or a pod says that it interrupts something;
/// - nothing is removed that kubezt does not write.
pub fn lint(desired: &Desired, plan: &Plan) -> Vec<String> {
    let mut faults = order(plan);
    let mut of_node: BTreeMap<&NodeName, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        step.node.iter().for_each(|node| of_node.entry(node).or_default().push(step));
    }
    for node in &desired.nodes {
        faults.extend(late_files(node, of_node.get(&node.node.name).into_iter().flatten().copied()));
    }
    for step in &plan.steps {
        faults.extend(unwatched(step));
        faults.extend(not_ready_after(plan, step));
        faults.extend(foreign(desired, step));
    }
    faults
}

/// Where a secret stands that people can read it: in the plan as text, as a ticket, in the words of an action.
pub fn told(plan: &Plan, secret: &str) -> Vec<&'static str> {
    let ticket = serde_json::to_string(&Ticket::of(plan, &Selection::default(), true)).unwrap();
    let words: String = plan.steps.iter().flat_map(actions).map(Action::describe).collect();
    let texts = [("text", kubezt_plan::text::plan(plan, true)), ("ticket", ticket), ("words", words)];
    texts.into_iter().filter(|(_, text)| text.contains(secret)).map(|(place, _)| place).collect()
}

fn order(plan: &Plan) -> Vec<String> {
    let mut positions: BTreeMap<&StepId, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        if positions.insert(&step.id, index).is_some() {
            faults.push(format!("two steps are named {}", step.id));
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        for other in step.needs.iter().chain(&step.after) {
            match positions.get(other) {
                None => faults.push(format!("{} waits for {other}, which does not exist", step.id)),
                Some(position) if *position >= index => {
                    faults.push(format!("{} waits for {other}, which comes later", step.id));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn actions(step: &Step) -> &[Action] {
    match &step.operation {
        Operation::Node { actions } => actions,
        _ => &[],
    }
}

/// Files and trust bundles of a node that are written, in its steps, after the start of what reads them only then.
fn late_files<'a>(node: &DesiredNode, steps: impl Iterator<Item = &'a Step>) -> Vec<String> {
    let read_by: BTreeMap<&str, &OnChange> =
        (node.files.iter().map(|file| (file.path.as_str(), &file.on_change)))
            .chain(node.bundles.iter().map(|bundle| (bundle.path.as_str(), &bundle.on_change)))
            .collect();
    let mut started: BTreeSet<OnChange> = BTreeSet::new();
    let mut faults = Vec::new();
    for step in steps {
        let mut written = |path: &str, started: &BTreeSet<OnChange>| {
            if read_by.get(path).is_some_and(|reader| started.contains(*reader)) {
                faults.push(format!("{} writes {path} after the start of what reads it", step.id));
            }
        };
        if let Operation::Certificates { bundles, .. } = &step.operation {
            bundles.iter().for_each(|bundle| written(&bundle.path, &started));
        }
        for action in actions(step) {
            match action {
                Action::PutFile { path, .. } => written(path, &started),
                Action::StartUnit { name } | Action::RestartUnit { name } => {
                    started.insert(OnChange::Restart(name.clone()));
                }
                Action::RestartStaticPod { name, .. } => {
                    started.insert(OnChange::ReadAtStart(name.clone()));
                }
                _ => {}
            }
        }
    }
    faults
}

/// Members of the control plane that are interrupted and not waited for, and restarts that interrupt nothing.
fn unwatched(step: &Step) -> Option<String> {
    let (mut waits, mut restarts) = (false, false);
    for action in actions(step) {
        match action {
            Action::Wait {
                condition: Condition::StaticPodCurrent { .. } | Condition::EtcdCurrent, ..
            } => waits = true,
            // It waits itself.
            Action::RestartStaticPod { .. } => (waits, restarts) = (true, true),
            // Other units serve nobody while they start, or are asked again: the balancer, the firewall, timers.
            Action::RestartUnit { name } => restarts |= INTERRUPTING.contains(&name.as_str()),
            _ => {}
        }
    }
    if step.interrupts.is_of_control_plane() && !waits {
        Some(format!("{} interrupts {:?} and does not wait for it", step.id, step.interrupts))
    } else if restarts && step.interrupts == Disruption::None {
        Some(format!("{} restarts something and is said to interrupt nothing", step.id))
    } else {
        None
    }
}

/// An API server that is away for a moment, or whose etcd is, and whose readiness is not waited for. That of a member without a vote
/// starts later, in a step that waits for it.
fn not_ready_after(plan: &Plan, step: &Step) -> Option<String> {
    let away = actions(step).iter().any(|action| match action {
        Action::RestartStaticPod { name, .. }
        | Action::Wait { condition: Condition::StaticPodCurrent { name, .. }, .. } => {
            SERVING.contains(&name.as_str())
        }
        _ => false,
    });
    let waits = actions(step).iter().any(waits_for_api_server);
    let later = step.node.as_ref().map(|node| StepId::on(node, "api-server"));
    let waits_later = || {
        let later = plan.steps.iter().filter(|other| Some(&other.id) == later.as_ref());
        later.flat_map(actions).any(waits_for_api_server)
    };
    (away && !waits && !waits_later())
        .then(|| format!("{} does not wait for the API server to be ready", step.id))
}

/// Whether this waits until an API server is ready.
pub fn waits_for_api_server(action: &Action) -> bool {
    matches!(action, Action::Wait { condition: Condition::ApiServerReady { .. }, .. })
}

/// What is removed and is not kubezt's.
fn foreign(desired: &Desired, step: &Step) -> Vec<String> {
    let own = |node: &NodeName, path: &str| {
        let node = desired.nodes.iter().find(|wanted| wanted.node.name == *node);
        path.starts_with(ETCD_DATA)
            || node.is_some_and(|node| {
                node.absent.iter().any(|absent| absent == path)
                    || node.files.iter().any(|file| file.path == path)
            })
    };
    let of_node = actions(step).iter().filter_map(|action| match action {
        Action::RemoveFile { path } | Action::SetAside { path } => Some(path),
        _ => None,
    });
    let of_node = of_node.filter(|path| step.node.as_ref().is_none_or(|node| !own(node, path))).cloned();
    let known = |object: &serde_json::Value| {
        object["kind"] == "Node" || desired.manifests.iter().any(|set| set.absent.contains(object))
    };
    let of_api: Vec<String> = match &step.operation {
        Operation::Apply { manifests } => {
            manifests.absent.iter().filter(|object| !known(object)).map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    };
    of_node.chain(of_api).map(|what| format!("{} removes {what}, which is not kubezt's", step.id)).collect()
}

/// Every run of the other modules is of a plan that the linter finds nothing in; here are plans that it has to find something in.
#[test]
fn the_linter_finds_what_it_looks_for() {
    let before = bare(cluster::highly_available("stig", 1));
    let first = plan(&before);
    assert_complete(&before, &install(&before), "before");
    let after = before.fork(cluster::highly_available("nsa", 1), None);
    let change = plan(&after);
    let found = |desired: &Desired, plan: &Plan, edit: &dyn Fn(&mut Plan)| {
        let mut edited = plan.clone();
        edit(&mut edited);
        lint(desired, &edited).join("\n")
    };
    let actions = |step: &mut Step, edit: &dyn Fn(&mut Vec<Action>)| {
        if let Operation::Node { actions } = &mut step.operation {
            edit(actions);
        }
    };
    let each = |plan: &mut Plan, edit: &dyn Fn(&mut Vec<Action>)| {
        plan.steps.iter_mut().for_each(|step| actions(step, edit))
    };
    let waits = |action: &Action| !matches!(action, Action::Wait { .. } | Action::RestartStaticPod { .. });
    let alien = || Action::RemoveFile { path: "/etc/passwd".to_owned() };
    let of_first = |edit: &dyn Fn(&mut Plan)| found(before.desired(), &first, edit);
    let of_change = |edit: &dyn Fn(&mut Plan)| found(after.desired(), &change, edit);
    assert_eq!((of_first(&|_| {}), of_change(&|_| {})), (String::new(), String::new()));
    for (part, said) in [
        ("comes later", of_first(&|plan| plan.steps.reverse())),
        ("does not exist", of_first(&|plan| drop(plan.steps.remove(0)))),
        ("two steps are named", of_first(&|plan| plan.steps.push(plan.steps[0].clone()))),
        ("after the start of what reads it", of_first(&|plan| each(plan, &|actions| actions.reverse()))),
        ("does not wait for it", of_change(&|plan| each(plan, &|actions| actions.retain(waits)))),
        (
            "does not wait for the API server",
            of_change(&|plan| each(plan, &|actions| actions.retain(|action| !waits_for_api_server(action)))),
        ),
        ("which is not kubezt's", of_change(&|plan| each(plan, &|actions| actions.push(alien())))),
        (
            "is said to interrupt nothing",
            of_change(&|plan| {
                plan.steps.iter_mut().for_each(|step| step.interrupts = Disruption::None);
            }),
        ),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(told(&first, "kubelet.service").len(), 3, "what is no secret is told everywhere");
}
