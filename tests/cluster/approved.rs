//! What was approved is what is done.

use anyhow::{Result, ensure};
use kubezt_tests::changes::{drift, has_drifted};

use crate::World;

/// A plan that was written to a file is done as it stands; where more is due by then, nothing is, and it says what. A part of what
/// is due can be asked for by node.
pub fn plan_is_what_is_done(world: &World) -> Result<()> {
    let (worker, other) = (world.lab.worker(), world.lab.control_plane());
    let ticket = world.lab.path("ticket.json");
    let install = ["--plan", &ticket.display().to_string(), "--no-verify"];
    drift(world, worker)?;
    let planned = world.kubezt.run("plan", &["--output", "json"])?;
    ensure!(planned.code == 0 && planned.stdout.contains("\"digest\""), "{}", planned.stdout);
    fs_err::write(&ticket, &planned.stdout)?;
    drift(world, other)?;
    let refused = world.kubezt.run("install", &install)?;
    let said = refused.stderr.contains(&format!("{}/configuration: was not planned", other.name));
    ensure!(refused.code == 1 && said, "exit code {}: {}", refused.code, refused.stderr);
    ensure!(has_drifted(world, worker)? && has_drifted(world, other)?, "something was done nonetheless");
    world.kubezt.succeed("install", &["--nodes", &other.name, "--no-verify"])?;
    ensure!(has_drifted(world, worker)? && !has_drifted(world, other)?, "another part was done");
    world.kubezt.succeed("install", &install)?;
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    fs_err::write(&ticket, planned.stdout.replace("kubezt.rules", "anything"))?;
    let refused = world.kubezt.run("install", &install)?;
    let said = refused.stderr.contains("it was changed after it was planned");
    ensure!(refused.code == 2 && said, "exit code {}: {}", refused.code, refused.stderr);
    Ok(())
}
