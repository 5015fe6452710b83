//! Whole installs on a fleet in memory: every fault at every step, and properties on random clusters.

mod cluster;
mod fleet;

use std::sync::Arc;

use fleet::{Fault, World};
use kubezt_engine::executor::{self, Outcome};
use kubezt_model::plan::Plan;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

fn plan(world: &World) -> Plan {
    let (facts, assessment) = world.look();
    kubezt_plan::plan(world.desired(), &facts, &assessment)
}

fn install(world: &Arc<World>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (facts, assessment) = world.look();
        let plan = kubezt_plan::plan(world.desired(), &facts, &assessment);
        let fleet = Arc::new(world.fleet(&facts));
        executor::run(&plan, fleet, Arc::new(|_| {}), CancellationToken::new()).await
    })
}

fn world(profile: &str, workers: usize) -> Arc<World> {
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    Arc::new(World::bare(cluster::desired(profile, workers), now))
}

#[test]
fn an_install_converges_and_a_second_one_does_nothing() {
    for profile in ["baseline", "stig"] {
        let world = world(profile, 2);
        let outcome = install(&world);
        assert!(outcome.is_complete(), "{profile}: {:?}", outcome.failed);
        assert!(plan(&world).is_empty(), "{profile}:\n{}", kubezt_plan::text::plan(&plan(&world), true));
        let restarts = world.restarts();
        assert_eq!(install(&world), Outcome::default());
        assert_eq!(world.restarts(), restarts);
    }
}

#[test]
fn a_run_killed_anywhere_is_resumed_to_the_same_end() {
    let unbroken = world("stig", 2);
    let steps = plan(&unbroken).steps.len();
    assert!(install(&unbroken).is_complete());
    assert!(steps > 20, "only {steps} steps");
    for at in 0..steps {
        for actions in [0, 1, 3] {
            let fault = Fault { steps: at, actions };
            let world = world("stig", 2);
            world.break_at(fault);
            let outcome = install(&world);
            assert!(!outcome.is_complete(), "{fault:?} broke nothing");
            let resumed = world_without_fault(&world);
            assert!(resumed.is_complete(), "{fault:?}: {:?}", resumed.failed);
            assert!(plan(&world).is_empty(), "{fault:?}:\n{}", kubezt_plan::text::plan(&plan(&world), false));
            assert_eq!(world.rendered(), unbroken.rendered(), "{fault:?}");
        }
    }
}

fn world_without_fault(world: &Arc<World>) -> Outcome {
    world.break_at(Fault { steps: usize::MAX, actions: 0 });
    install(world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// On random clusters: rendering is deterministic, and after the plan was done there is nothing to do.
    #[test]
    fn plan_after_apply_is_empty(spec in cluster::spec()) {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let desired = cluster::resolve(&spec);
        prop_assert_eq!(&desired, &cluster::resolve(&spec));
        let world = Arc::new(World::bare(desired, now));
        let outcome = install(&world);
        prop_assert!(outcome.is_complete(), "{:?}", outcome.failed);
        prop_assert!(plan(&world).is_empty());
    }
}
