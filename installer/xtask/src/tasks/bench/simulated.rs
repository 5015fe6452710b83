//! Fleets that no machine holds: kubezt's planner and executor with nodes that only take their time.
//!
//! The program is an example of the tests (`tests/simulated/bench.rs`), which know how to make a cluster of any size; the tasks know
//! nothing of kubezt's crates. Each step takes what the journal of this bench says that it took longest on any node, blobs go through
//! lines of 1 Gbit/s, and no more is done at a time than the cluster file's `concurrency` allows by default.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::examples;
use crate::{command, report};

/// Name of the program.
pub const EXAMPLE: &str = "simulated-bench";

/// Installs of bare nodes, of which three are the control plane and which have none of the artifacts: virtual seconds from the first
/// connection to the end of the last step, and the processor time that resolving, rendering, planning and executing really took.
///
/// Each node receives kubezt itself (17 MB, 0.14 s of the uplink) from the operator and about a gigabyte from other nodes, so the
/// figures grow with the number of nodes by the former, with its logarithm by the latter, and should by nothing else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Simulated {
    /// Ten nodes.
    sim_install_seconds_10: f64,
    /// Fifty.
    sim_install_seconds_50: f64,
    /// As many as a large site has.
    sim_install_seconds_150: f64,
    /// More than anybody should have in one cluster without thinking about it.
    sim_install_seconds_1000: f64,
}

/// Runs it with the journals in a folder; without any, or without the folder, it takes the times it was written with.
///
/// # Errors
/// It is not there or fails, which it does for a step of which no time is known.
pub fn measure(folder: &Path) -> Result<Simulated> {
    let journals = if folder.is_dir() { super::journals_in(folder)? } else { Vec::new() };
    report::timed("simulated fleets", || {
        let mut example = command::program(examples::program(EXAMPLE), journals);
        let printed = command::quiet(example.stderr(Stdio::inherit()))?;
        serde_json::from_str(&printed).with_context(|| format!("{EXAMPLE} printed `{printed}`"))
    })
}
