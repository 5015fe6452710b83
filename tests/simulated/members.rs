//! Several control-plane nodes: they trust each other, come and go, and never lose what etcd holds.

use std::collections::BTreeMap;

use kubezt_engine::executor::Outcome;
use kubezt_model::NodeName;
use kubezt_model::action::Action;
use kubezt_model::node::{Facts, Read, Reading};
use kubezt_model::plan::{Operation, Plan, StepId};

use crate::end_state::EndState;
use crate::fleet::{World, lock};
use crate::{assert_complete, bare, cluster, etcd, install, lint, plan};

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
    // Their API servers were without etcd all the while.
    for node in ["cp2", "cp3"] {
        assert_eq!(restarted(&plan(&back), node), ["kube-apiserver"], "{node}");
    }
    assert_complete(&back, &install(&back), "three again");
}

/// Static pods that are restarted before the API server is waited for whose etcd joins.
fn restarted(plan: &Plan, node: &str) -> Vec<String> {
    let id = StepId::on(&node.parse().unwrap(), "api-server");
    let step = plan.steps.iter().find(|step| step.id == id).unwrap_or_else(|| panic!("there is no {id}"));
    let Operation::Node { actions } = &step.operation else { panic!("{id} is of a node") };
    assert!(actions.last().is_some_and(lint::waits_for_api_server), "{actions:?}");
    let pods = actions.iter().filter_map(|action| match action {
        Action::RestartStaticPod { name, .. } => Some(name.clone()),
        _ => None,
    });
    pods.collect()
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
