//! A running cluster goes from profile to profile.

use anyhow::{Result, ensure};
use kubezt_tests::kubezt::{findings, verdict};

use crate::World;

/// From the baseline through every profile and back, one install each: verified, nothing left to do, nothing left over, and a
/// Secret that was stored under the first one stays readable.
pub fn switching(world: &World) -> Result<()> {
    const SECRET: &str = "--namespace kube-system kubezt-test-switching";
    world.kubezt.succeed("install", &["--profile", "baseline", "--no-verify"])?;
    // Leaves of the story before live for twenty minutes and would become due between an install and the plan after it.
    world.kubezt.succeed("certs", &["renew"])?;
    world.kubeconfig()?;
    world.kubectl(&format!("delete secret {SECRET} --ignore-not-found"))?;
    world.kubectl(&format!("create secret generic {SECRET} --from-literal=word=kept"))?;
    for profile in ["cis", "nsa", "stig-tiered", "stig", "baseline"] {
        let report = world.lab.path(&format!("switch-{profile}.json"));
        let reports = format!("json={}", report.display());
        world.kubezt.succeed("install", &["--profile", profile, "--report", &reports])?;
        let passed = findings(&report)?.iter().filter(|finding| verdict(finding) == "pass").count();
        ensure!(passed >= 50, "{profile}: only {passed} findings pass");
        let run = world.kubezt.run("plan", &["--profile", profile, "--exit-code"])?;
        ensure!(run.code == 0, "{profile}: not converged:\n{}", run.stdout);
        let word = world.kubectl(&format!("get secret {SECRET} --output=jsonpath={{.data.word}}"))?;
        ensure!(word.trim() == "a2VwdA==", "{profile}: the Secret reads {word:?}");
    }
    let policies = world.kubectl("get validatingadmissionpolicies --output=name")?;
    ensure!(!policies.contains("kubezt-no-secret-environment"), "left over from another profile: {policies}");
    for node in &world.lab.nodes {
        // Asked for a unit that is not there, systemctl fails; so it is asked for all, and what it says must come.
        let left = "nft list tables; units=$(systemctl list-unit-files --no-legend); echo \"$units\" | sed -n /kubezt-firewall/p";
        let left = world.lab.shell(node, left)?;
        ensure!(!left.contains("kubezt"), "{}: left over from another profile: {left}", node.name);
    }
    world.kubectl(&format!("delete secret {SECRET}"))?;
    Ok(())
}
