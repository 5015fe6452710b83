//! A hardened cluster on real nodes, from bare machines to proof.
//!
//! The stories run one after the other, in the order of the list, on one lab: the later ones use the cluster that the
//! earlier ones made. A story that cannot start because the cluster is missing fails, it does not pass.

mod access;
mod approved;
mod baseline;
mod certificates;
mod converged;
mod doctor;
mod endpoint;
mod firewall;
mod install;
mod killed;
mod operators;
mod preflight;
mod refusals;
mod secrets;
mod tampering;
mod ways;

use std::process::ExitCode;

use kubezt_tests::World;
use kubezt_tests::stories::{self, Story};

/// The stories, in order.
const STORIES: &[(&str, Story)] = &[
    ("a_wrong_host_key_stops_everything", refusals::wrong_host_key),
    ("an_unreachable_node_is_named", refusals::unreachable_node),
    ("an_unknown_setting_points_at_its_line", refusals::unknown_setting),
    ("a_folder_without_a_cluster_says_what_to_do", refusals::no_cluster_file),
    ("preflight_tells_all_at_once", preflight::all_at_once),
    ("nodes_are_reached_over_a_chain_of_jump_hosts", ways::jump_chain),
    ("host_keys_are_judged_as_openssh_judges_them", ways::host_keys),
    ("root_is_reached_however_a_site_grants_it", ways::becoming_root),
    ("a_lost_connection_is_made_again_in_the_middle_of_a_step", ways::lost_connection),
    ("stig_from_bare_nodes_is_ready_and_verified", install::stig),
    ("nodes_with_debian_12_and_13_are_one_cluster", install::mixed_systems),
    ("the_api_shows_its_control_plane", install::control_plane_is_visible),
    ("every_finding_is_green_or_waived", install::only_declared_waivers),
    ("plan_after_install_is_empty", converged::plan_is_empty),
    ("a_second_install_changes_and_restarts_nothing", converged::second_install),
    ("a_change_in_the_api_shows_in_the_plan", converged::api_drift),
    ("an_approved_plan_is_what_is_done", approved::plan_is_what_is_done),
    ("two_operators_do_not_change_a_node_at_once", operators::two_at_once),
    ("a_doctor_tells_the_cause_first", doctor::explains),
    ("ports_of_the_cluster_are_closed_to_others", firewall::closed_to_others),
    ("a_firewall_that_cuts_the_operator_off_is_undone", firewall::undone),
    ("workers_reach_the_api_through_a_balancer_that_is_named", endpoint::external),
    ("nodes_are_reached_as_root_and_by_an_agent", access::root_and_agent),
    ("renewal_under_load_fails_no_request", certificates::renewal_under_load),
    ("leaves_are_renewed_by_the_node", certificates::renewed_by_the_node),
    ("planted_secrets_are_nowhere", secrets::nowhere),
    ("tamperings_turn_their_requirement_red_and_install_green", tampering::red_and_green),
    ("a_server_that_read_a_wrong_file_is_restarted", tampering::read_at_start),
    ("a_corrupted_blob_is_not_used", refusals::corrupted_blob),
    ("a_killed_install_is_resumed", killed::resumed),
    ("a_baseline_cluster_is_ready_and_verified", baseline::baseline),
];

fn main() -> ExitCode {
    stories::run(STORIES)
}
