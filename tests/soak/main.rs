//! What takes long: everything at many points, or lived through for a while.
//!
//! Stories as in `../cluster`, on the same lab; `cargo xtask soak` tells them.

mod faults;
mod killed;
mod profiles;
mod renewal;
mod state;

use std::process::ExitCode;

use kubezt_tests::World;
use kubezt_tests::stories::{self, Story};

/// The stories, in order.
const STORIES: &[(&str, Story)] = &[
    ("an_install_killed_at_twenty_points_ends_as_an_unbroken_one", killed::everywhere),
    ("a_full_disk_and_a_node_that_hangs_stop_no_other_node", faults::full_and_hung),
    ("a_node_that_restarts_in_the_middle_of_an_install_is_brought_up", faults::restarted),
    ("a_read_only_disk_and_lost_packets_are_told_or_overcome", faults::read_only_and_lossy),
    ("leaves_of_twenty_minutes_are_lived_through_twice", renewal::twice),
    ("one_install_takes_the_cluster_from_profile_to_profile", profiles::switching),
];

fn main() -> ExitCode {
    stories::run(STORIES)
}
