//! Whole installs on a fleet in memory: every fault at every step, and properties on random clusters.
//!
//! | module | subject |
//! |---|---|
//! | [`profiles`] | a cluster that changes its profile, or how long its leaves live |
//! | [`members`] | several control-plane nodes, and what etcd holds |
//! | [`kills`] | runs that are killed |
//! | [`failing`] | nodes that fail, die or are not reached |
//! | [`restarts`] | what is restarted, and what is not |
//! | [`firewall`] | changes that could cut the operator off |
//! | [`properties`] | what holds on random clusters |

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod assembly;
mod clocks;
mod cluster;
mod components;
mod end_state;
mod etcd;
mod failing;
mod firewall;
mod fleet;
mod fleets;
mod kills;
mod lint;
mod members;
mod node;
mod profiles;
mod properties;
mod restarts;

use std::sync::Arc;

use end_state::{EndState, faults};
use fleet::{SimulatedFleet, World};
use kubezt_engine::executor::{self, Outcome};
use kubezt_model::cluster::ConcurrencySpec;
use kubezt_model::desired::Desired;
use kubezt_model::plan::{Plan, StepId};
use kubezt_plan::{Selection, Ticket};
use tokio_util::sync::CancellationToken;

fn plan(world: &World) -> Plan {
    let (facts, assessment) = world.look();
    kubezt_plan::plan(world.desired(), &facts, &assessment)
}

/// One run: how it ended, and the steps in the order they began with the number of actions each did.
fn run(world: &Arc<World>) -> (Outcome, Vec<(StepId, usize)>) {
    let (outcome, fleet) = perform(world);
    (outcome, fleet.begun())
}

/// One run: how it ended, and what performed it.
fn perform(world: &Arc<World>) -> (Outcome, Arc<SimulatedFleet>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (facts, assessment) = world.look();
    let plan = kubezt_plan::plan(world.desired(), &facts, &assessment);
    assert_eq!(lint::lint(world.desired(), &plan), [""; 0]);
    let fleet = world.fleet(&facts);
    let joins = ConcurrencySpec::default().joins;
    let going = executor::run(&plan, Arc::clone(&fleet), joins, Arc::new(|_| {}), CancellationToken::new());
    let outcome = runtime.block_on(going);
    (outcome, fleet)
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
