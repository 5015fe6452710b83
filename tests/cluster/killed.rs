//! An install killed at three points, each time run again, ends where an unbroken one ends.

use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result, ensure};

use crate::World;

/// What a killed run was last seen doing: a line that begins one of these steps.
const POINTS: [(&str, &str); 3] =
    [("upload", "Install components"), ("bootstrap", "Start kubelet"), ("addons", "Apply cilium")];

/// Kills at each point, on bare nodes that become a baseline cluster, one after the other; then a run to the end, which must be the
/// usual end.
pub fn resumed(world: &World) -> Result<()> {
    world.lab.fresh()?;
    for (name, line) in POINTS {
        kill_at(world, line).with_context(|| format!("killing at {name}"))?;
    }
    world.kubezt.succeed("install", &["--profile", "baseline", "--no-verify"])?;
    let run = world.kubezt.run("plan", &["--profile", "baseline", "--exit-code"])?;
    ensure!(run.code == 0, "not converged after the kills:\n{}", run.stdout);
    Ok(())
}

fn kill_at(world: &World, line: &str) -> Result<()> {
    let mut child = world.kubezt.start("install", &["--profile", "baseline", "--no-verify"])?;
    let stderr = child.stderr.take().context("no stderr")?;
    let mut seen = false;
    for said in BufReader::new(stderr).lines() {
        if said?.contains(line) {
            seen = true;
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    ensure!(seen, "the run ended before it said `{line}`");
    Ok(())
}
