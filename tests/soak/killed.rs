//! kubezt killed all over an install.

use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result, ensure};

use crate::World;
use crate::state::State;

/// How many points of the run it is killed at, each on bare nodes.
const POINTS: usize = 20;

/// An unbroken install says how much there is to say and what is on the nodes in the end. Then, at each of twenty points spread over
/// what it said, on bare nodes: kubezt is killed, and the next install ends with the same files, and with certificates that say the
/// same, and leaves nothing to do.
pub fn everywhere(world: &World) -> Result<()> {
    world.lab.fresh()?;
    let unbroken = world.kubezt.succeed("install", &[])?;
    let lines = unbroken.stderr.lines().count();
    ensure!(lines > 3 * POINTS, "an unbroken install says {lines} lines only:\n{}", unbroken.stderr);
    let wanted = State::read(world)?;
    for point in 1..=POINTS {
        let line = point * lines / (POINTS + 1);
        ends_the_same(world, line, &wanted)
            .with_context(|| format!("killed after line {line} of {lines}"))?;
    }
    world.kubezt.succeed("verify", &[])?;
    Ok(())
}

fn ends_the_same(world: &World, line: usize, wanted: &State) -> Result<()> {
    world.lab.fresh()?;
    let last = kill_after(world, line)?;
    world
        .kubezt
        .succeed("install", &["--no-verify"])
        .with_context(|| format!("the last that was said before: {last}"))?;
    let differences = wanted.differences(&State::read(world)?);
    ensure!(differences.is_empty(), "after `{last}`, other than unbroken:\n{}", differences.join("\n"));
    let plan = world.kubezt.run("plan", &["--exit-code"])?;
    ensure!(plan.code == 0, "after `{last}`, not converged:\n{}", plan.stdout);
    Ok(())
}

/// Answers with the last line that was said.
fn kill_after(world: &World, line: usize) -> Result<String> {
    let mut child = world.kubezt.start("install", &["--no-verify"])?;
    let stderr = child.stderr.take().context("no stderr")?;
    let mut said = BufReader::new(stderr).lines();
    let last = said.nth(line).context("the run ended before")??;
    child.kill()?;
    child.wait()?;
    Ok(last)
}
