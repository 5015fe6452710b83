//! From bare nodes to a verified cluster.

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::kubezt::{findings, verdict};

use crate::World;

/// `kubezt install` on bare nodes ends Ready and verified.
pub fn stig(world: &World) -> Result<()> {
    let report = world.lab.path("install.json");
    let run = world
        .kubezt
        .succeed("install", &["--profile", "stig", "--report", &format!("json={}", report.display())])?;
    ensure!(!findings(&report)?.is_empty(), "no findings: {}", run.stdout);
    world.kubeconfig()?;
    let nodes = world.kubectl("get nodes --no-headers")?;
    let ready = nodes.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count();
    ensure!(ready == world.lab.nodes.len(), "not all Ready:\n{nodes}");
    Ok(())
}

/// Nodes with several operating systems are one cluster.
pub fn mixed_systems(world: &World) -> Result<()> {
    let nodes = world.kubectl("get nodes --no-headers --output=wide")?;
    for system in ["Debian GNU/Linux 12", "Debian GNU/Linux 13"] {
        ensure!(nodes.lines().any(|line| line.contains(system)), "none runs {system}:\n{nodes}");
    }
    Ok(())
}

/// No policy refuses a mirror pod: the API shows the static pods.
pub fn control_plane_is_visible(world: &World) -> Result<()> {
    let pods = world.kubectl("-n kube-system get pods --no-headers")?;
    let node = &world.lab.control_plane().name;
    for component in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        let name = format!("{component}-{node}");
        let line = pods
            .lines()
            .find(|line| line.starts_with(&name))
            .with_context(|| format!("{name} is not shown:\n{pods}"))?;
        ensure!(line.contains("Running"), "{line}");
    }
    Ok(())
}

/// Everything passes but what the lab's cluster file waives, and what only a person can judge.
pub fn only_declared_waivers(world: &World) -> Result<()> {
    let findings = findings(&world.lab.path("install.json"))?;
    let mut accepted = Vec::new();
    let mut passed = 0;
    for finding in &findings {
        match verdict(finding) {
            "pass" => passed += 1,
            "accepted" => accepted.push(finding["requirement"].as_str().unwrap_or_default()),
            "manual" | "not-applicable" => {}
            other => anyhow::bail!("{other}: {finding}"),
        }
    }
    ensure!(passed >= 50, "only {passed} findings pass");
    accepted.dedup();
    ensure!(accepted == ["node-sshd"], "accepted: {accepted:?}");
    Ok(())
}
