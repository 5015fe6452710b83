//! Why the cluster is not well.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::World;

/// A cluster that is well has no findings. A kubelet that was stopped is the cause that is told first, on its node, and is found also
/// while nobody has noticed at the API yet.
pub fn explains(world: &World) -> Result<()> {
    let well = findings(world)?;
    ensure!(well.is_empty(), "a cluster that is well: {well:?}");
    let worker = world.lab.worker();
    world.lab.shell(worker, "systemctl stop kubelet")?;
    let ill = findings(world);
    world.lab.shell(worker, "systemctl start kubelet")?;
    let ill = ill?;
    let found = ill
        .first()
        .is_some_and(|first| first["id"] == "kubelet" && first["nodes"][0] == worker.name.as_str());
    ensure!(found, "not the stopped kubelet first: {ill:?}");
    Ok(())
}

/// What the doctor finds; the disk is the machine's below all nodes, and may well be full.
fn findings(world: &World) -> Result<Vec<Value>> {
    let run = world.kubezt.run("doctor", &["--output", "json"])?;
    let told: Value = serde_json::from_str(&run.stdout)?;
    let findings = told["findings"].as_array().cloned().unwrap_or_default();
    ensure!(run.code == i32::from(!findings.is_empty()), "exit code {}:\n{}", run.code, run.stderr);
    Ok(findings.into_iter().filter(|finding| finding["id"] != "disk").collect())
}
