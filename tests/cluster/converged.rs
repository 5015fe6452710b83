//! A cluster that is as wanted is left alone.

use anyhow::{Result, ensure};

use crate::World;

/// Nothing to do, and the exit code says so.
pub fn plan_is_empty(world: &World) -> Result<()> {
    let run = world.kubezt.run("plan", &["--exit-code"])?;
    ensure!(run.code == 0, "exit code {}:\n{}", run.code, run.stdout);
    Ok(())
}

/// The same install again: the same processes run, the same files stand.
pub fn second_install(world: &World) -> Result<()> {
    let before = world.lab.process_starts()?;
    ensure!(before.contains("kube-apiserver"), "the search for processes finds nothing:\n{before}");
    let run = world.kubezt.succeed("install", &[])?;
    ensure!(run.stderr.contains("Nothing to do"), "{}", run.stderr);
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    Ok(())
}

/// Objects changed through the API are planned, and mended by install; of definitions only the metadata is looked at first.
pub fn api_drift(world: &World) -> Result<()> {
    world.kubectl("-n kube-system scale deployment coredns --replicas=1")?;
    let patch = r#"{"spec":{"names":{"shortNames":["drifted"]}}}"#;
    world.kubectl(&format!("patch crd ciliumnodes.cilium.io --type merge --patch '{patch}'"))?;
    world.kubectl("label crd ciliumidentities.cilium.io --overwrite io.cilium.k8s.crd.schema.version=0")?;
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 5, "{}: {}", run.code, run.stdout);
    for changed in ["coredns", "ciliumnodes.cilium.io", "ciliumidentities.cilium.io"] {
        ensure!(run.stdout.contains(changed), "{changed} is not planned: {}", run.stdout);
    }
    ensure!(!run.stdout.contains("ciliumendpoints.cilium.io"), "{}", run.stdout);
    world.kubezt.succeed("install", &["--no-verify"])?;
    let run = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    ensure!(run.code == 0, "after it was mended: {}: {}", run.code, run.stdout);
    let replicas = world.kubectl("-n kube-system get deployment coredns -o jsonpath={.spec.replicas}")?;
    ensure!(replicas.trim() == "2", "replicas {replicas}");
    Ok(())
}
