//! Runs that are killed, in each step and after any of its actions: the next one ends where an undisturbed one does.

use std::collections::BTreeSet;
use std::sync::Arc;

use kubezt_model::desired::Desired;

use crate::end_state::EndState;
use crate::fleet::{Fault, World, lock};
use crate::{assert_complete, bare, cluster, etcd, install, run};

/// Kills a run in each of its steps, after none, one, three, half and all but one of the step's actions.
pub fn killed_anywhere(start: &World, desired: &Arc<Desired>, least_steps: usize) {
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

#[test]
fn a_switch_killed_anywhere_is_resumed_to_the_same_end() {
    let before = bare(cluster::desired("nsa", 1));
    assert_complete(&before, &install(&before), "before");
    killed_anywhere(&before, &cluster::desired("stig", 1), 8);
}

#[test]
fn new_programs_killed_anywhere_are_resumed_to_the_same_end() {
    let before = bare(cluster::desired("stig", 2));
    assert_complete(&before, &install(&before), "before");
    killed_anywhere(&before, &cluster::rebuilt("stig", 2), 16);
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
