//! The balancer that every node has, next to HAProxy in front of the same servers.
//!
//! The program is `tests/balancer/main.rs`. HAProxy is Debian's, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::examples;
use crate::lab::packages;
use crate::{command, report};

/// Name of the program.
pub const EXAMPLE: &str = "balancer-bench";

/// Short connections through either, in turn, and then the silence of one server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Balancer {
    /// kubezt's p99 in units of HAProxy's: the median of the pairs of rounds.
    balancer_p99_vs_haproxy: f64,
    /// p99 from the begin of a connection to the end of the answer to its only request, in milliseconds: the median of kubezt's rounds.
    balancer_p99_ms: f64,
    /// The same of HAProxy's.
    haproxy_p99_ms: f64,
    /// New connections through kubezt that got no answer, after it had noticed that a server was silent.
    balancer_lost_connections: u64,
    /// The same through HAProxy.
    haproxy_lost_connections: u64,
}

/// Runs it, with files and logs in a folder. `None` where HAProxy cannot be had, which is said.
///
/// # Errors
/// The program fails, as where a connection is lost while all servers answer.
pub fn measure(binary: &Path, folder: &Path) -> Result<Option<Balancer>> {
    let haproxy = match packages::unpack("haproxy") {
        Ok(package) => package,
        Err(why) => {
            report::line(&format!("the balancer next to HAProxy is left out: {why:#}"));
            return Ok(None);
        }
    };
    fs_err::create_dir_all(folder)?;
    report::timed("balancer and HAProxy", || {
        let arguments = [binary, &haproxy.join("usr/sbin/haproxy"), folder];
        let mut example = command::program(examples::program(EXAMPLE), arguments);
        example.env("LD_LIBRARY_PATH", libraries(&haproxy)).stderr(Stdio::inherit());
        let printed = command::quiet(&mut example)?;
        let measured =
            serde_json::from_str(&printed).with_context(|| format!("{EXAMPLE} printed `{printed}`"))?;
        Ok(Some(measured))
    })
}

/// Where a package for this machine has its libraries.
fn libraries(package: &Path) -> PathBuf {
    package.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}
