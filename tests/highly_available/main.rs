//! Several control-plane nodes: they start at once, trust each other, and go on without some of them.
//!
//! Stories as in `../cluster`, on labs of their own: `cargo xtask test` tells them of three control-plane nodes, `cargo xtask soak` of
//! five.

mod install;
mod losses;
mod members;

use std::process::ExitCode;

use kubezt_tests::stories::{self, Story};

/// The stories, in order.
const STORIES: &[(&str, Story)] = &[
    ("several_control_plane_nodes_from_bare_nodes_are_ready_and_verified", install::stig),
    ("components_are_handed_on_although_one_node_cannot", install::relayed),
    ("every_member_of_etcd_knows_the_others", install::members),
    ("a_token_is_good_at_every_api_server", install::tokens),
    ("a_control_plane_node_does_not_become_a_worker", install::demoted),
    ("the_plan_of_several_control_plane_nodes_is_empty", install::plan_is_empty),
    ("a_member_without_its_data_joins_anew", members::lost_data),
    ("several_control_plane_nodes_become_one", members::several_to_one),
    ("one_control_plane_node_becomes_several", members::one_to_several),
    ("the_api_goes_on_without_any_minority_of_the_control_plane", losses::minorities),
    ("a_lost_quorum_is_named_and_one_member_brings_it_back", losses::majority),
];

fn main() -> ExitCode {
    stories::run(STORIES)
}
