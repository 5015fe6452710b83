//! Bad input and a hostile network: a clear error, its exit code, and nothing half-done.

use anyhow::{Result, ensure};
use fs_err as fs;
use kubezt_tests::changes::traces;

use crate::World;

fn with_cluster_file(
    world: &World,
    name: &str,
    change: impl FnOnce(String) -> String,
) -> Result<kubezt_tests::Kubezt> {
    let folder = world.lab.path(name);
    fs::create_dir_all(&folder)?;
    for file in ["known_hosts", "passphrase"] {
        fs::copy(world.lab.path(file), folder.join(file))?;
    }
    let file = folder.join("cluster.yaml");
    fs::write(&file, change(fs::read_to_string(world.lab.cluster_file())?))?;
    Ok(world.kubezt.on(file))
}

/// Another key under the node's name: both fingerprints are shown, nothing is sent.
pub fn wrong_host_key(world: &World) -> Result<()> {
    let kubezt = with_cluster_file(world, "wrong-host-key", |text| text)?;
    let known = fs::read_to_string(world.lab.path("known_hosts"))?;
    // Swapping the nodes' keys makes every one of them wrong and keeps them well formed.
    let mut keys: Vec<Vec<&str>> = known.lines().map(|line| line.split(' ').collect()).collect();
    let last = keys.last().and_then(|key| key.get(2).copied()).unwrap_or_default().to_owned();
    let swapped: Vec<String> = {
        let mut previous = last.as_str();
        keys.iter_mut()
            .map(|key| {
                std::mem::swap(&mut key[2], &mut previous);
                key.join(" ")
            })
            .collect()
    };
    fs::write(world.lab.path("wrong-host-key/known_hosts"), swapped.join("\n") + "\n")?;
    let before = traces(world)?;
    let run = kubezt.run("install", &["--no-verify"])?;
    ensure!(
        run.code == 3,
        "exit code {}, a wrong host key is a fault of the environment: {}",
        run.code,
        run.stderr
    );
    for node in &world.lab.nodes {
        let said = run.stderr.lines().any(|line| line.contains(&node.name) && line.contains(&node.address));
        ensure!(said, "{} is not named: {}", node.name, run.stderr);
    }
    let fingerprints = run.stderr.matches("SHA256:").count();
    ensure!(fingerprints >= 2 * world.lab.nodes.len(), "not both fingerprints of each node: {}", run.stderr);
    ensure!(before == traces(world)?, "something was written to a node whose key was wrong");
    Ok(())
}

/// One address nobody answers at: it is named, the others are planned.
pub fn unreachable_node(world: &World) -> Result<()> {
    let address = world.lab.worker().address.clone();
    let nobody = address.rsplit_once('.').map(|(net, _)| format!("{net}.250")).unwrap_or_default();
    let kubezt = with_cluster_file(world, "unreachable", |text| {
        text.replace(&address, &nobody).replace("  ssh:\n", "  ssh:\n    connectTimeoutSeconds: 3\n")
    })?;
    let run = kubezt.run("plan", &["--summary"])?;
    ensure!(run.code == 4, "exit code {}: {}", run.code, run.stderr);
    let said = format!("{}: connecting failed", world.lab.worker().name);
    ensure!(run.stderr.contains(&said), "the node is not named: {}", run.stderr);
    ensure!(
        run.stdout.contains(&world.lab.control_plane().name),
        "the others are not planned: {}",
        run.stdout
    );
    Ok(())
}

/// A setting nobody knows: file, line, and the nearest valid name.
pub fn unknown_setting(world: &World) -> Result<()> {
    let kubezt = with_cluster_file(world, "unknown-setting", |text| {
        text.replace("containerd.systemdCgroup", "containerd.systemdCgruop")
    })?;
    let run = kubezt.run("plan", &[])?;
    ensure!(run.code == 2, "exit code {}: {}", run.code, run.stderr);
    ensure!(run.stderr.contains("cluster.yaml:"), "no file and line: {}", run.stderr);
    ensure!(run.stderr.contains("systemdCgroup"), "no nearest name: {}", run.stderr);
    let run = world.kubezt.run("plan", &["--profile", "stigg"])?;
    ensure!(run.code == 2 && run.stderr.contains("`stig`"), "{}: {}", run.code, run.stderr);
    Ok(())
}

/// No cluster file: what to do.
pub fn no_cluster_file(world: &World) -> Result<()> {
    let run =
        world.kubezt.on(world.lab.path("nowhere/cluster.yaml")).run("install", &["--profile", "stig"])?;
    ensure!(run.code == 2, "exit code {}", run.code);
    ensure!(run.stderr.contains("hint:"), "no hint: {}", run.stderr);
    Ok(())
}

/// A blob changed on the node's disk after its transfer is not installed.
pub fn corrupted_blob(world: &World) -> Result<()> {
    let node = world.lab.worker();
    let digest = world.lab.shell(node, "sha256sum /usr/local/bin/runc | cut -d' ' -f1")?;
    let blob = format!("/var/lib/kubezt/blobs/{}", digest.trim());
    let script = format!(
        "test -f {blob} || cp /usr/local/bin/runc {blob}; printf x | dd of={blob} bs=1 seek=100 conv=notrunc 2>/dev/null; \
         rm /usr/local/bin/runc"
    );
    world.lab.shell(node, &script)?;
    let run = world.kubezt.run("install", &["--no-verify"])?;
    let installed =
        world.lab.shell(node, "sha256sum /usr/local/bin/runc 2>/dev/null | cut -d' ' -f1 || true")?;
    ensure!(
        installed.trim().is_empty() || installed == digest,
        "a corrupted runc was installed (exit code {})",
        run.code
    );
    // Either this run noticed and fetched it anew, or it failed clearly and the next one does.
    if run.code != 0 {
        ensure!(run.stderr.contains("digest"), "the failure does not say why: {}", run.stderr);
        ensure!(run.stderr.contains(&node.name), "the failure does not say where: {}", run.stderr);
        world.kubezt.succeed("install", &["--no-verify"])?;
    }
    let installed = world.lab.shell(node, "sha256sum /usr/local/bin/runc | cut -d' ' -f1")?;
    ensure!(installed == digest, "runc was not mended");
    Ok(())
}
