//! The baseline profile.

use anyhow::{Result, ensure};
use kubezt_tests::kubezt::{findings, verdict};

use crate::World;

/// What the story before made of bare nodes passes the profile's own requirements.
pub fn baseline(world: &World) -> Result<()> {
    let report = world.lab.path("baseline.json");
    world
        .kubezt
        .succeed("install", &["--profile", "baseline", "--report", &format!("json={}", report.display())])?;
    let findings = findings(&report)?;
    ensure!(
        findings.iter().filter(|finding| verdict(finding) == "pass").count() >= 10,
        "hardly anything passes"
    );
    let run = world.kubezt.run("plan", &["--profile", "baseline", "--exit-code"])?;
    ensure!(run.code == 0, "not converged:\n{}", run.stdout);
    Ok(())
}
