//! Nodes that fail, die or are not reached: what stops, what goes on, and what is said of it.

use std::sync::Arc;

use kubezt_engine::failures::{self, Extent};
use kubezt_engine::nodes::NodeFailure;
use kubezt_model::NodeName;
use kubezt_model::plan::StepId;

use crate::end_state::EndState;
use crate::fleet::{Ailment, World, lock};
use crate::node::Node;
use crate::{assert_complete, bare, cluster, install, plan, run};

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
    let change = |what: &dyn Fn(&mut Node), names: &[&str]| {
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
