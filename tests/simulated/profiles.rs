//! A cluster that changes its profile, or how long its leaves live.

use std::time::Duration;

use kubezt_model::action::Action;
use kubezt_model::desired::CertificateKind;
use kubezt_model::plan::{Disruption, Operation};

use crate::end_state::EndState;
use crate::{assert_complete, bare, cluster, install, plan};

/// How long each profile is kept: so long that leaves of a day are due, and those of a month are not.
const KEPT: Duration = Duration::from_secs(20 * 3600);

/// One install takes a running cluster from any profile to the next one and back, and leaves the same as on
/// bare nodes, how long leaves live included: longer ones are issued anew because they are, shorter ones in their time.
#[test]
fn a_cluster_goes_from_profile_to_profile() {
    let mut world = bare(cluster::desired("baseline", 2));
    assert_complete(&world, &install(&world), "baseline at first");
    for profile in ["cis", "nsa", "stig-tiered", "stig", "baseline", "nsa", "baseline"] {
        world = world.later(KEPT).fork(cluster::desired(profile, 2), None);
        assert!(!plan(&world).is_empty(), "{profile}: nothing is to be done");
        assert_complete(&world, &install(&world), profile);
        let fresh = bare(cluster::desired(profile, 2));
        assert_complete(&fresh, &install(&fresh), profile);
        EndState::of(&fresh).assert_same(&EndState::of(&world), profile);
    }
}

/// Everybody reads their leaves again: only who is told the new lifetime as an argument is restarted.
#[test]
fn a_shorter_lifetime_issues_every_leaf_anew_and_a_longer_one_none() {
    let long = bare(cluster::living("baseline", 1, "720h"));
    assert_complete(&long, &install(&long), "720h");
    let short = long.fork(cluster::living("baseline", 1, "24h"), None);
    let steps = plan(&short).steps;
    let issued = |operation: &Operation| match operation {
        Operation::Certificates { certificates, .. } => certificates.len(),
        _ => 0,
    };
    let is_leaf = |kind: &CertificateKind| matches!(kind, CertificateKind::Leaf(_));
    let wanted = short.desired().nodes.iter().flat_map(|node| &node.certificates);
    let leaves = wanted.filter(|certificate| is_leaf(&certificate.kind)).count();
    assert_eq!(steps.iter().map(|step| issued(&step.operation)).sum::<usize>(), leaves);
    let interrupts =
        steps.iter().map(|step| step.interrupts).filter(|interrupts| *interrupts != Disruption::None);
    assert_eq!(interrupts.collect::<Vec<_>>(), [Disruption::Controllers]);
    let actions = steps.iter().filter_map(|step| match &step.operation {
        Operation::Node { actions } => Some(actions),
        _ => None,
    });
    let restarts =
        |action: &&Action| matches!(action, Action::RestartUnit { .. } | Action::RestartStaticPod { .. });
    assert_eq!(actions.flatten().find(restarts), None);
    assert_complete(&short, &install(&short), "24h");
    let back = short.fork(cluster::living("baseline", 1, "720h"), None);
    assert_eq!(plan(&back).steps.iter().map(|step| issued(&step.operation)).sum::<usize>(), 0);
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
