//! Whole installs on a fleet in memory: every fault at every step, and properties on random clusters.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod assembly;
mod clocks;
mod cluster;
mod end_state;
mod etcd;
mod fleet;
mod lint;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use end_state::{EndState, faults};
use fleet::{Ailment, Fault, World, lock};
use kubezt_engine::executor::{self, Outcome};
use kubezt_engine::failures::{self, Extent};
use kubezt_engine::nodes::NodeFailure;
use kubezt_model::action::Action;
use kubezt_model::desired::{Desired, DesiredNode, Sensitivity};
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::plan::{Disruption, Operation, Plan, StepId};
use kubezt_model::{Mode, NodeName, Owner, SecretText, yaml};
use kubezt_plan::{Selection, Ticket};
use node::Node;
use proptest::prelude::*;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

fn plan(world: &World) -> Plan {
    let (facts, assessment) = world.look();
    kubezt_plan::plan(world.desired(), &facts, &assessment)
}

/// One run: how it ended, and the steps in the order they began with the number of actions each did.
fn run(world: &Arc<World>) -> (Outcome, Vec<(StepId, usize)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (facts, assessment) = world.look();
    let plan = kubezt_plan::plan(world.desired(), &facts, &assessment);
    assert_eq!(lint::lint(world.desired(), &plan), [""; 0]);
    let fleet = world.fleet(&facts);
    let going = executor::run(&plan, Arc::clone(&fleet), Arc::new(|_| {}), CancellationToken::new());
    let outcome = runtime.block_on(going);
    (outcome, fleet.begun())
}

fn install(world: &Arc<World>) -> Outcome {
    run(world).0
}

fn bare(desired: Arc<Desired>) -> Arc<World> {
    World::bare(desired, "2026-06-01T00:00:00Z".parse().unwrap())
}

/// What has to hold after an install that was not disturbed.
fn assert_complete(world: &World, outcome: &Outcome, what: &str) {
    assert!(outcome.is_complete(), "{what}: {:?}", outcome.failed);
    let left = plan(world);
    assert!(left.is_empty(), "{what}: still to do:\n{}", kubezt_plan::text::plan(&left, true));
    assert_eq!(faults(world), [""; 0], "{what}");
}

#[test]
fn an_install_converges_and_a_second_one_does_nothing() {
    for profile in cluster::PROFILES {
        let world = bare(cluster::desired(profile, 2));
        let due = plan(&world);
        assert_eq!(lint::told(&due, assembly::PLANTED_KEY), [""; 0], "{profile}");
        let ticket = Ticket::of(&due, &Selection::default(), true);
        let ticket = Ticket::parse(&serde_json::to_string(&ticket).unwrap()).unwrap();
        assert_eq!(ticket.exceeded_by(&due, true), Vec::<String>::new(), "{profile}");
        assert_complete(&world, &install(&world), profile);
        let (end, restarts) = (EndState::of(&world), world.restarts());
        assert_eq!(restarts, 0, "{profile}: a first install starts units and restarts none");
        assert_eq!(install(&world), Outcome::default());
        assert_eq!(world.restarts(), restarts);
        end.assert_same(&EndState::of(&world), profile);
    }
}

/// One install takes a running cluster from any profile to the next one and back, and leaves the same as on
/// bare nodes.
#[test]
fn a_cluster_goes_from_profile_to_profile() {
    let mut world = bare(cluster::desired("baseline", 2));
    assert_complete(&world, &install(&world), "baseline at first");
    for profile in ["cis", "nsa", "stig-tiered", "stig", "baseline", "nsa", "baseline"] {
        world = world.fork(cluster::desired(profile, 2), None);
        assert!(!plan(&world).is_empty(), "{profile}: nothing is to be done");
        assert_complete(&world, &install(&world), profile);
        let fresh = bare(cluster::desired(profile, 2));
        assert_complete(&fresh, &install(&fresh), profile);
        EndState::of(&fresh)
            .without_lifetimes()
            .assert_same(&EndState::of(&world).without_lifetimes(), profile);
    }
}

#[test]
fn several_control_plane_nodes_go_from_profile_to_profile() {
    let mut world = bare(cluster::highly_available("baseline", 1));
    assert_complete(&world, &install(&world), "baseline at first");
    for profile in ["stig", "nsa", "baseline"] {
        world = world.fork(cluster::highly_available(profile, 1), None);
        assert_complete(&world, &install(&world), profile);
    }
}

#[test]
fn a_switch_killed_anywhere_is_resumed_to_the_same_end() {
    let before = bare(cluster::desired("nsa", 1));
    assert_complete(&before, &install(&before), "before");
    killed_anywhere(&before, &cluster::desired("stig", 1), 8);
}

#[test]
fn several_control_plane_nodes_trust_each_other() {
    let world = bare(cluster::highly_available("stig", 1));
    assert_complete(&world, &install(&world), "three control-plane nodes");
    let (end, restarts) = (EndState::of(&world), world.restarts());
    assert_eq!(restarts, 0, "all of them start at once, and none starts again");
    assert_eq!(install(&world), Outcome::default());
    end.assert_same(&EndState::of(&world), "a second install");
}

#[test]
fn one_control_plane_node_becomes_three_and_one_again() {
    let one = bare(cluster::desired("stig", 1));
    assert_complete(&one, &install(&one), "one");
    let three = one.fork(cluster::highly_available("stig", 1), None);
    assert_complete(&three, &install(&three), "three");
    let again = three.fork(cluster::desired("stig", 1), None);
    assert_complete(&again, &install(&again), "one again");
    assert_eq!(lock(&again.etcd).members().len(), 1);
    // Those that were removed have data that nobody shares any more.
    let back = again.fork(cluster::highly_available("stig", 1), None);
    assert_complete(&back, &install(&back), "three again");
}

#[test]
fn a_change_of_members_killed_anywhere_is_resumed_to_the_same_end() {
    let one = bare(cluster::desired("stig", 1));
    assert_complete(&one, &install(&one), "one");
    let last = |count: usize| BTreeSet::from([count.saturating_sub(1)]);
    killed_after(&one, &cluster::highly_available("stig", 1), 20, last);
    let three = bare(cluster::highly_available("stig", 1));
    assert_complete(&three, &install(&three), "three");
    killed_after(&three, &cluster::desired("stig", 1), 4, last);
}

/// Its disk was replaced: it comes back as another member, and the other two never stop.
#[test]
fn a_member_without_its_data_joins_anew() {
    let world = bare(cluster::highly_available("stig", 1));
    assert_complete(&world, &install(&world), "before");
    let lost = world.desired().nodes.iter().find(|node| node.node.name.as_str() == "cp2").unwrap();
    lock(&world.nodes).get_mut(&lost.node.name).unwrap().files.remove(etcd::DATA);
    let ids =
        |world: &World| lock(&world.etcd).members().iter().map(|member| member.id).collect::<BTreeSet<_>>();
    let before = ids(&world);
    killed_anywhere(&world, world.desired(), 3);
    assert_complete(&world, &install(&world), "after");
    assert_eq!(ids(&world).intersection(&before).count(), 2);
}

#[test]
fn a_lost_quorum_is_named() {
    let three = bare(cluster::highly_available("stig", 1));
    let lost = |facts: &BTreeMap<NodeName, Facts>| kubezt_plan::members::lost_quorum(three.desired(), facts);
    assert_eq!(lost(&three.look().0), None, "there was no etcd yet");
    assert_complete(&three, &install(&three), "three");
    let (mut facts, _) = three.look();
    assert_eq!(lost(&facts), None);
    facts.values_mut().for_each(|facts| drop(facts.readings.remove(&Read::EtcdMembers)));
    assert_eq!(lost(&facts), None, "all run, so something else is wrong");
    let [second, third] = ["cp2", "cp3"].map(|name| name.parse::<NodeName>().unwrap());
    facts.remove(&third);
    assert_eq!(lost(&facts), None);
    let process = Read::Process { name: "etcd".to_owned() };
    facts.get_mut(&second).unwrap().readings.insert(process, Reading::Processes(Vec::new()));
    let said = lost(&facts).unwrap();
    assert!(said.contains("1 of its 3 members run (cp1) and 2 are needed"), "{said}");
    assert!(said.contains("1 more of cp2, cp3"), "{said}");
}

#[test]
fn what_would_lose_the_data_of_etcd_is_refused() {
    let refusal = |world: &World| kubezt_plan::members::refusal(world.desired(), &world.look().0);
    let one = bare(cluster::desired("stig", 1));
    assert_eq!(refusal(&one), None);
    assert_complete(&one, &install(&one), "one");
    assert_eq!(refusal(&one), None);
    let moved = one.fork(cluster::moved("stig", 1), None);
    assert!(refusal(&moved).unwrap().contains("cp1 is known to etcd at"));
    let three = bare(cluster::highly_available("stig", 1));
    assert_complete(&three, &install(&three), "three");
    let stop = |world: &World| {
        let mut nodes = lock(&world.nodes);
        nodes.values_mut().for_each(|node| node.stop("kubelet.service"));
    };
    let fewer = three.fork(cluster::desired("stig", 1), None);
    assert_eq!(refusal(&fewer), None);
    stop(&fewer);
    assert!(refusal(&fewer).unwrap().contains("etcd does not answer on any node"));
    stop(&three);
    assert_eq!(refusal(&three), None, "the same control plane is brought back");
    let demoted = one.fork(cluster::swapped("stig", 1), None);
    assert!(refusal(&demoted).unwrap().starts_with("cp1 is of the control plane"));
    let name = one.desired().nodes[0].node.name.clone();
    lock(&one.nodes).get_mut(&name).unwrap().files.remove(etcd::DATA);
    assert!(refusal(&one).unwrap().contains("cp1:/var/lib/etcd/member"));
}

#[test]
fn a_change_restarts_every_unit_once_and_no_unit_twice() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    let after = before.fork(cluster::changed("stig", 2), None);
    assert_complete(&after, &install(&after), "after");
    // Four units on each of three nodes.
    assert_eq!(after.restarts(), 12);
}

#[test]
fn new_programs_restart_the_units_that_run_them() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    let after = before.fork(cluster::rebuilt("stig", 2), None);
    assert_complete(&after, &install(&after), "after");
    // containerd, kubelet, the node service and the timer of renewal, on each of three nodes.
    assert_eq!(after.restarts(), 12);
}

#[test]
fn new_programs_killed_anywhere_are_resumed_to_the_same_end() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    killed_anywhere(&before, &cluster::rebuilt("stig", 2), 16);
}

#[test]
fn an_install_killed_anywhere_is_resumed_to_the_same_end() {
    killed_anywhere(&bare(cluster::desired("stig", 2)), &cluster::desired("stig", 2), 16);
}

#[test]
fn a_change_killed_anywhere_is_resumed_to_the_same_end() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    killed_anywhere(&before, &cluster::changed("stig", 2), 16);
}

/// Kills a run in each of its steps, after none, one, three, half and all but one of the step's actions.
fn killed_anywhere(start: &World, desired: &Arc<Desired>, least_steps: usize) {
    killed_after(start, desired, least_steps, |count| [0, 1, 3, count / 2, count.saturating_sub(1)].into());
}

/// Kills a run in each of its steps, after each of some numbers of the step's actions; the next run has to bring the world
/// where an undisturbed one brings it. A run of fewer than `least_steps` shows nothing.
fn killed_after(
    start: &World,
    desired: &Arc<Desired>,
    least_steps: usize,
    moments: impl Fn(usize) -> BTreeSet<usize>,
) {
    let unbroken = start.fork(Arc::clone(desired), None);
    let (outcome, begun) = run(&unbroken);
    assert_complete(&unbroken, &outcome, "undisturbed");
    let end = EndState::of(&unbroken);
    assert!(begun.len() >= least_steps, "only {} steps", begun.len());
    for (steps, (step, count)) in begun.iter().enumerate() {
        for actions in moments(*count) {
            let what = format!("killed in {step} after {actions} of {count} actions");
            let broken = start.fork(Arc::clone(desired), Some(Fault { steps, actions }));
            let outcome = install(&broken);
            assert!(outcome.failed.iter().any(|failed| failed.step == *step), "{what}: broke nothing");
            let resumed = broken.fork(Arc::clone(desired), None);
            assert_complete(&resumed, &install(&resumed), &what);
            end.assert_same(&EndState::of(&resumed), &what);
        }
    }
}

/// The rest is as wanted, and only the node that fails is behind, wherever it fails or dies; the next run brings it up.
#[test]
fn a_worker_that_fails_or_dies_stops_no_other_one() {
    let start = bare(cluster::highly_available("stig", 2));
    let whole = start.fork(Arc::clone(start.desired()), None);
    let (outcome, begun) = run(&whole);
    assert_complete(&whole, &outcome, "undisturbed");
    let end = EndState::of(&whole);
    let of_worker = begun.iter().filter(|(step, _)| step.as_str().starts_with("w1/"));
    let of_worker: Vec<&(StepId, usize)> = of_worker.collect();
    assert!(of_worker.len() >= 8, "{of_worker:?}");
    let worker: NodeName = "w1".parse().unwrap();
    for (step, count) in of_worker {
        for dies in [false, true] {
            let what = format!("{step} {}", if dies { "kills its node" } else { "fails" });
            let ailing = start.ailing(Ailment { step: step.clone(), actions: count / 2, dies });
            let outcome = install(&ailing);
            assert_eq!(failures::extent(&outcome, &[]), Extent::Part, "{what}");
            assert!(outcome.failed.iter().any(|failed| failed.step == *step), "{what}: {:?}", outcome.failed);
            let blocks = failures::blocks(&outcome, &[]);
            assert_eq!(blocks.len(), 1, "{what}: {blocks:?}");
            assert_eq!(blocks[0].node.as_ref(), Some(&worker), "{what}");
            let text = blocks[0].text("kubezt install");
            for said in [
                format!("w1: {step} failed"),
                "why      killed".to_owned(),
                "go on    kubezt install".to_owned(),
            ] {
                assert!(text.contains(&said), "{what}: {text}");
            }
            let left = plan(&ailing);
            let others =
                left.steps.iter().filter(|step| step.node.as_ref().is_some_and(|node| *node != worker));
            assert_eq!(others.count(), 0, "{what}: {}", kubezt_plan::text::plan(&left, false));
            assert!(lock(&ailing.objects).contains_key("Node w2"), "{what}: the others got their labels");
            assert!(
                !lock(&ailing.objects).contains_key("Node w1"),
                "{what}: it has none, since it is behind"
            );
            let healthy = ailing.fork(Arc::clone(ailing.desired()), None);
            assert_complete(&healthy, &install(&healthy), &what);
            end.assert_same(&EndState::of(&healthy), &what);
        }
    }
}

/// Every run above and below is of a plan that the linter finds nothing in; here are plans that it has to find something in.
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
        lint::lint(desired, &edited).join("\n")
    };
    let actions = |step: &mut kubezt_model::plan::Step, edit: &dyn Fn(&mut Vec<Action>)| {
        if let kubezt_model::plan::Operation::Node { actions } = &mut step.operation {
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
        ("which is not kubezt's", of_change(&|plan| each(plan, &|actions| actions.push(alien())))),
        (
            "is said to interrupt nothing",
            of_change(&|plan| {
                plan.steps.iter_mut().for_each(|step| step.interrupts = kubezt_model::plan::Disruption::None);
            }),
        ),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(lint::told(&first, "kubelet.service").len(), 3, "what is no secret is told everywhere");
}

#[test]
fn a_unit_that_does_not_start_is_heard() {
    let start = bare(cluster::desired("stig", 1));
    let step: StepId = StepId::on(&"w1".parse().unwrap(), "kubelet");
    let outcome = install(&start.ailing(Ailment { step, actions: 3, dies: false }));
    let text = failures::blocks(&outcome, &[])[0].text("kubezt install");
    assert!(text.contains("  said     kubelet.service: kubelet.service fails\n"), "{text}");
}

/// One that nobody reaches from the beginning is left out, and caught up with later.
#[test]
fn a_worker_that_is_not_reached_is_left_out() {
    let start = bare(cluster::desired("stig", 2));
    let lacking = start.without(&["w1"]);
    let outcome = install(&lacking);
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    assert!(
        lock(&lacking.objects).contains_key("Node w2") && !lock(&lacking.objects).contains_key("Node w1")
    );
    let why = "w1: no route to host".to_owned();
    let unreached = [NodeFailure { node: "w1".parse().unwrap(), why, privilege: false }];
    assert_eq!(failures::extent(&outcome, &unreached), Extent::Part);
    let blocks = failures::blocks(&outcome, &unreached);
    assert!(
        blocks.len() == 1 && blocks[0].text("kubezt install").contains("w1: no route to host"),
        "{blocks:?}"
    );
    let healthy = lacking.fork(Arc::clone(start.desired()), None);
    assert_complete(&healthy, &install(&healthy), "reached again");
}

/// The first members of etcd found it together, and nobody founds a second one beside one that is not seen.
#[test]
fn nothing_begins_without_a_node_of_the_control_plane() {
    let unseen = |world: &World| kubezt_plan::members::unseen_founders(world.desired(), &world.look().0);
    let one = bare(cluster::desired("stig", 1));
    assert_eq!(unseen(&one.without(&["w1"])), []);
    let three = bare(cluster::highly_available("stig", 1));
    let cp2: NodeName = "cp2".parse().unwrap();
    assert_eq!(unseen(&three.without(&["cp2"])), [cp2]);
    assert_complete(&three, &install(&three), "three");
    assert_eq!(unseen(&three.without(&["cp2"])), []);
    assert_complete(&one, &install(&one), "one");
    let more = one.fork(cluster::highly_available("stig", 1), None);
    let cp1: NodeName = "cp1".parse().unwrap();
    assert_eq!(unseen(&more.without(&["cp1"])), [cp1], "it has an etcd, and it is not seen");
}

/// Workers wait for what the control plane has to issue, and for nothing else of it.
#[test]
fn a_control_plane_node_that_fails_stops_what_depends_on_it() {
    let start = bare(cluster::highly_available("stig", 1));
    let cp3: NodeName = "cp3".parse().unwrap();
    let outcome =
        install(&start.ailing(Ailment { step: StepId::on(&cp3, "images"), actions: 0, dies: true }));
    let skipped: Vec<&str> = outcome.skipped.iter().map(|(step, _)| step.as_str()).collect();
    assert!(skipped.contains(&"cluster/api-ready"), "an API that is only about to be needs all: {skipped:?}");
    assert!(!skipped.iter().any(|step| step.starts_with("w1/")), "{skipped:?}");
}

/// What is wrong comes first, and what follows from it after it.
#[test]
fn the_doctor_names_the_cause() {
    let explain = |world: &World| {
        let found = kubezt_plan::doctor::explain(world.desired(), &world.examine());
        let told = found.iter().map(|one| (one.id, one.because.map(|because| found[because].id)));
        told.collect::<Vec<_>>()
    };
    let world = bare(cluster::highly_available("stig", 1));
    assert_complete(&world, &install(&world), "before");
    assert_eq!(explain(&world), []);
    let change = |what: &dyn Fn(&mut node::Node), names: &[&str]| {
        let changed = world.fork(Arc::clone(world.desired()), None);
        for name in names {
            what(lock(&changed.nodes).get_mut(&name.parse::<NodeName>().unwrap()).unwrap());
        }
        changed
    };
    let one = change(&|node| node.crash("etcd"), &["cp2"]);
    assert_eq!(explain(&one), [("etcd-member", None)]);
    let two = change(&|node| node.crash("etcd"), &["cp2", "cp3"]);
    assert_eq!(explain(&two), [("etcd-quorum", None), ("api-lost", Some("etcd-quorum"))]);
    let stopped = change(&|node| node.stop("kubelet.service"), &["w1"]);
    assert_eq!(explain(&stopped), [("kubelet", None), ("not-ready", Some("kubelet"))]);
    assert_eq!(explain(&world.without(&["w1"])), [("unreachable", None), ("not-ready", Some("unreachable"))]);
    let nothing = bare(cluster::desired("stig", 1));
    let found = explain(&nothing);
    assert!(found.iter().take(2).all(|(id, _)| ["runtime", "kubelet"].contains(id)), "{found:?}");
}

/// The checks above can fail: a file that changes behind a running unit is noticed until the unit is restarted.
#[test]
fn a_unit_that_runs_with_older_files_is_noticed() {
    let world = bare(cluster::desired("stig", 1));
    assert_complete(&world, &install(&world), "before");
    let desired = Arc::clone(world.desired());
    let (node, wanted) = (&desired.nodes[1].node.name, &desired.nodes[1]);
    let act = |action: Action| {
        lock(&world.nodes).get_mut(node).unwrap().apply(wanted, &action, world.now).unwrap();
    };
    for (path, needs_reload) in [
        ("/var/lib/kubelet/config.yaml", false),
        ("/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", true),
    ] {
        let file = wanted.files.iter().find(|file| file.path == path).unwrap();
        act(Action::PutFile {
            path: path.to_owned(),
            mode: Mode::new(0o600),
            owner: Owner::root(),
            body: SecretText::new(format!("{}\n# changed\n", file.body.expose())),
            sensitivity: Sensitivity::Public,
        });
        let stale = vec![format!("{node}: kubelet.service runs with older files")];
        assert_eq!(faults(&world), stale, "{path}");
        let restart = || act(Action::RestartUnit { name: "kubelet.service".to_owned() });
        if needs_reload {
            restart();
            assert_eq!(faults(&world), stale, "{path}: systemd was not told to read it again");
            act(Action::LoadUnits { enable: Vec::new() });
        }
        restart();
        assert_eq!(faults(&world), [""; 0], "{path}");
    }
    assert_complete(&world, &install(&world), "after");
}

/// What could cut the operator off comes before what makes it last, and before everything that talks to other nodes.
#[test]
fn what_could_cut_the_operator_off_is_tried_before_it_is_written() {
    let world = bare(cluster::desired("stig", 1));
    let steps = plan(&world).steps;
    for node in &world.desired().cluster.nodes {
        let actions = |what: &str| {
            let step = steps.iter().find(|step| step.id == StepId::on(&node.name, what)).unwrap();
            let Operation::Node { actions } = &step.operation else { panic!("{step:?}") };
            actions.iter().map(Action::describe).collect::<Vec<_>>()
        };
        for (what, tried, lasts) in [
            ("host", "set net.ipv4.", "write /etc/sysctl.d/"),
            ("host", "set net.ipv4.", "load /etc/sysctl.d/"),
            ("firewall", "load the host firewall, undone after 60 s", "write /etc/kubezt/nftables.nft"),
            ("firewall", "load the host firewall, undone after 60 s", "load unit files"),
        ] {
            let actions = actions(what);
            let place = |word: &str| actions.iter().position(|action| action.starts_with(word));
            assert!(place(tried).unwrap() < place(lasts).unwrap(), "{lasts} too early: {actions:#?}");
        }
        let services = steps.iter().find(|step| step.id == StepId::on(&node.name, "services")).unwrap();
        assert!(services.needs.contains(&StepId::on(&node.name, "firewall")), "{:?}", services.needs);
    }
}

/// A firewall that is not the wanted one is replaced, on one node at a time; one that nobody confirmed counts for nothing, nor do
/// parameters.
#[test]
fn a_firewall_that_was_changed_or_not_confirmed_is_loaded_again() {
    let start = bare(cluster::desired("stig", 1));
    assert_complete(&start, &install(&start), "before");
    let name = start.desired().nodes[1].node.name.clone();
    let flushed = "table inet kubezt {\n\tchain input {\n\t}\n}\n".to_owned();
    type Tampering = fn(&mut Node, String);
    let cases: [(&str, Tampering, &[&str]); 3] = [
        ("flushed", |node, flushed| node.firewall = Some(flushed), &["firewall"]),
        ("gone", |node, _| node.firewall = None, &["firewall"]),
        (
            "not confirmed",
            |node, _| node.waiting = Some("load the host firewall".to_owned()),
            &["host", "firewall"],
        ),
    ];
    for (what, tamper, expected) in cases {
        let world = start.fork(Arc::clone(start.desired()), None);
        tamper(lock(&world.nodes).get_mut(&name).unwrap(), flushed.clone());
        // The gates that follow see whether pods still talk.
        let steps: Vec<_> = plan(&world).steps.into_iter().filter(|step| step.node.is_some()).collect();
        let ids: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
        let expected: Vec<StepId> = expected.iter().map(|step| StepId::on(&name, step)).collect();
        assert_eq!(ids, expected, "{what}");
        assert_eq!(steps.last().unwrap().interrupts, Disruption::DataPath, "{what}");
        assert_complete(&world, &install(&world), what);
    }
}

/// Somebody changed a file that a pod reads only when it starts, the pod was started again by whatever cause, and the
/// file is right again, by hand or by an install that is killed: the pod is restarted, wherever the install dies.
#[test]
fn a_pod_that_started_with_a_wrong_file_is_restarted() {
    const POLICY: &str = "/etc/kubernetes/audit/policy.yaml";
    let world = bare(cluster::desired("stig", 1));
    assert_complete(&world, &install(&world), "before");
    let desired = Arc::clone(world.desired());
    let wanted = &desired.nodes[0];
    let (manifest, _) = wanted.static_pods().find(|(_, pod)| *pod == "kube-apiserver").unwrap();
    let right = wanted.files.iter().find(|file| file.path == POLICY).unwrap();
    let act = |action: Action| {
        let name = &wanted.node.name;
        lock(&world.nodes).get_mut(name).unwrap().apply(wanted, &action, world.now).unwrap();
    };
    let put = |text: &str| Action::PutFile {
        path: POLICY.to_owned(),
        mode: right.mode,
        owner: right.owner.clone(),
        body: SecretText::new(text.to_owned()),
        sensitivity: right.sensitivity,
    };
    let restart = || Action::RestartStaticPod {
        name: "kube-apiserver".to_owned(),
        manifest: manifest.path.clone(),
        timeout_seconds: 1,
    };
    act(put("rules: []\n"));
    act(restart());
    assert_eq!(faults(&world), [""; 0], "it runs with the wrong file, which is there");
    killed_anywhere(&world, &desired, 2);
    act(put(right.body.expose()));
    assert_eq!(faults(&world).len(), 1, "it runs with a file that is gone");
    killed_anywhere(&world, &desired, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// On random clusters: rendering is deterministic, and after the plan was done there is nothing to do, at first and
    /// after a change.
    #[test]
    fn a_plan_after_its_apply_is_empty(spec in cluster::spec(), settings in cluster::settings()) {
        let desired = cluster::resolve(&spec).unwrap();
        prop_assert_eq!(&desired, &cluster::resolve(&spec).unwrap());
        let world = bare(desired);
        prop_assert_eq!(lint::told(&plan(&world), assembly::PLANTED_KEY), [""; 0]);
        assert_complete(&world, &install(&world), "at first");
        let changed = cluster::resolve(&spec.with(settings)).unwrap();
        let world = world.fork(changed, None);
        assert_complete(&world, &install(&world), "after a change");
    }

    /// Whatever a label or an argument says, it arrives as it was written.
    #[test]
    fn labels_and_arguments_arrive_as_written(spec in cluster::spec()) {
        let desired = cluster::resolve(&spec).unwrap();
        if let Some(nasty) = spec.nasty_argument() {
            let pod = document(&desired.nodes[0], "/etc/kubernetes/manifests/kube-scheduler.yaml");
            let command = pod["spec"]["containers"][0]["command"].as_array().unwrap();
            let wanted = Value::from(format!("--nasty={nasty}"));
            prop_assert!(command.contains(&wanted), "{} in {:?}", wanted, command);
        }
        for (labels, object) in spec.labels().zip(&desired.manifests.last().unwrap().objects) {
            for (key, value) in labels {
                prop_assert_eq!(object["metadata"]["labels"].get(key), Some(&Value::from(value.as_str())));
            }
        }
    }

    /// Whatever a taint says, kubelet registers its node with it.
    #[test]
    fn taints_arrive_as_written(spec in cluster::spec()) {
        let desired = cluster::resolve(&spec).unwrap();
        for (taints, node) in spec.taints().zip(&desired.nodes) {
            let kubelet = document(node, "/var/lib/kubelet/config.yaml");
            let registered = kubelet["registerWithTaints"].as_array().cloned().unwrap_or_default();
            for taint in taints {
                prop_assert!(registered.contains(&taint), "{} in {:?}", taint, registered);
            }
        }
    }
}

/// A rendered file, read as YAML.
fn document(node: &DesiredNode, path: &str) -> Value {
    let file = node.files.iter().find(|file| file.path == path).unwrap();
    yaml::read(path, file.body.expose()).unwrap()
}
