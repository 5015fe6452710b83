//! Secrets are in no log, journal, plan, report, process list or world-readable file.

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::World;

/// The passphrase as planted by the lab, and the encryption key as the control plane holds it.
pub fn nowhere(world: &World) -> Result<()> {
    let passphrase = fs::read_to_string(world.lab.path("passphrase"))?.trim().to_owned();
    let key = world.lab.shell(
        world.lab.control_plane(),
        "sed -n 's/.*secret: *\"\\{0,1\\}\\([A-Za-z0-9+\\/=]*\\)\"\\{0,1\\}.*/\\1/p' /etc/kubernetes/encryption/config.yaml | head -1",
    )?;
    let key = key.trim().to_owned();
    ensure!(passphrase.len() >= 14 && key.len() >= 40, "nothing to look for");

    let plan = world.kubezt.run("plan", &["-o", "json"])?;
    let render = world.lab.path("rendered");
    world.kubezt.succeed("render", &["-o", &render.display().to_string()])?;
    for secret in [&passphrase, &key] {
        ensure!(!plan.stdout.contains(secret.as_str()) && !plan.stderr.contains(secret.as_str()), "in the plan");
        let found = search_here(world, secret)?;
        ensure!(found.is_empty(), "on the operator's machine: {found}");
        let found = search_nodes(world, secret)?;
        ensure!(found.is_empty(), "on a node: {found}");
    }
    // The same search finds a copy that was put there on purpose, or it proves nothing.
    world.lab.shell(world.lab.worker(), &format!("printf %s {key} >/var/log/planted; chmod 644 /var/log/planted"))?;
    let found = search_nodes(world, &key)?;
    world.lab.shell(world.lab.worker(), "rm /var/log/planted")?;
    ensure!(found.contains("/var/log/planted"), "the search does not find a planted copy");
    let planted = world.lab.path(".kubezt/journal/planted.jsonl");
    fs::write(&planted, &key)?;
    let found = search_here(world, &key)?;
    fs::remove_file(&planted)?;
    ensure!(found.contains("planted.jsonl"), "the search does not find a planted journal line");
    Ok(())
}

/// Files of the lab's folder, but the passphrase's own, that hold the text.
fn search_here(world: &World, secret: &str) -> Result<String> {
    let output = std::process::Command::new("grep")
        .args(["-rlF", "--exclude=passphrase", "-e", secret])
        .arg(&world.lab.folder)
        .output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// World-readable files, logs and command lines on the nodes that hold the text. It goes over standard input of the
/// remote shell, so that the search does not find itself.
fn search_nodes(world: &World, secret: &str) -> Result<String> {
    let mut all = String::new();
    for node in &world.lab.nodes {
        let script = format!(
            "umask 077; printf %s '{secret}' >/root/needle; \
             find /etc /var/log /var/lib/kubelet /var/lib/kubezt /run /tmp /opt -xdev -type f -perm -o+r -size -20M \
               -exec grep -lFf /root/needle {{}} + 2>/dev/null || true; \
             grep -rlFf /root/needle /var/log 2>/dev/null | grep -v /var/log/kubernetes/audit || true; \
             journalctl --no-pager -q 2>/dev/null | grep -v ' sh -ec ' | grep -v 'COMMAND=' | grep -cFf /root/needle | grep -v '^0$' || true; \
             for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file 2>/dev/null | grep -v needle | grep -qFf /root/needle && echo $file; done || true; \
             rm -f /root/needle"
        );
        all.push_str(&world.lab.shell(node, &script)?);
    }
    Ok(all)
}
