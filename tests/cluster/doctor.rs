//! Why the cluster is not well.

use anyhow::{Result, ensure};

use crate::World;

/// A cluster that is well has no findings. A kubelet that was stopped is the cause that is told first, on its node, and is found also
/// while nobody has noticed at the API yet.
pub fn explains(world: &World) -> Result<()> {
    let well = world.kubezt.run("doctor", &[])?;
    ensure!(well.code == 0, "exit code {}:\n{}\n{}", well.code, well.stdout, well.stderr);
    let worker = world.lab.worker();
    world.lab.shell(worker, "systemctl stop kubelet")?;
    let ill = world.kubezt.run("doctor", &["--output", "json"]);
    world.lab.shell(worker, "systemctl start kubelet")?;
    let ill = ill?;
    let told: serde_json::Value = serde_json::from_str(&ill.stdout)?;
    let first = &told["findings"][0];
    let found = first["id"] == "kubelet" && first["nodes"][0] == worker.name.as_str();
    ensure!(ill.code == 1 && found, "exit code {}:\n{}\n{}", ill.code, ill.stdout, ill.stderr);
    Ok(())
}
