//! Faults of the world: full and read-only disks, a node that hangs or restarts, packets that are lost.
//!
//! Every run says which node, which step and why, brings the other nodes to their end, and the next one goes on from there.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use kubezt_tests::changes::{drift, has_drifted, traces};
use kubezt_tests::{Kubezt, Node, Run};

use crate::World;

/// Where kubezt keeps its own files on nodes.
const PLACE: &str = "/var/lib/kubezt";
/// A folder of which one file is wanted.
const FOLDER: &str = "/etc/audit";
/// What is less than one program takes, then what is less than all of them take, then what is enough.
const SIZES: [&str; 3] = ["1m", "100m", "4g"];
/// How long any run of these may take.
const LIMIT: Duration = Duration::from_secs(300);

const INSTALL: [&str; 3] = ["--profile", "baseline", "--no-verify"];

/// Full and read-only disks are told with their paths before anything is changed. With them, and with a node that hangs in the middle
/// of its work, an install brings the others to their end.
pub fn full_and_hung(world: &World) -> Result<()> {
    world.lab.fresh()?;
    let [_, full, other] = nodes(world)?;
    world.lab.shell(full, &format!("mkdir -p {PLACE}; mount -t tmpfs -o size={} story {PLACE}", SIZES[0]))?;
    make_read_only(world, other, PLACE)?;
    let told = unusable(world, full, other);
    make_writable(world, other, PLACE)?;
    told?;
    resize(world, full, SIZES[1])?;
    refused(world, full)?;

    let mut run =
        impatient(world)?.begin("install", &[&INSTALL[..], &["--ignore", "disk=a story"]].concat())?;
    let hung = run.wait(&other.name, "Install components", LIMIT).and_then(|()| {
        // Something is under way.
        thread::sleep(Duration::from_millis(500));
        signal(world, other, "STOP")
    });
    let ended = hung.and_then(|()| run.end(LIMIT));
    signal(world, other, "CONT")?;
    let run = ended?;
    behind(&run, &[full, other])?;
    for (node, words) in [
        (full, ["cannot write /var/lib/kubezt/blobs/", "No space left on device"]),
        (other, ["the connection was lost and could not be made again", "did not finish the SSH handshake"]),
    ] {
        let block = block(&run, node)?;
        let step = format!("{}: {}/components failed\n  why ", node.name, node.name);
        let said = block.contains(&step) && words.iter().all(|words| block.contains(words));
        ensure!(said, "of {} it says:\n{block}", node.name);
    }
    ensure!(run.stderr.contains("connecting again"), "it does not say what it waits for:\n{}", run.stderr);
    nothing_is_half_written(world, full)?;
    world.kubeconfig()?;
    let ready = world.kubectl("get nodes --no-headers")?;
    let only = ready.lines().count() == 1 && ready.starts_with(&world.lab.control_plane().name);
    ensure!(only && ready.contains(" Ready "), "the control plane is not alone and Ready:\n{ready}");
    resize(world, full, SIZES[2])
}

/// The install after that brings both nodes up, although one of them loses its power meanwhile.
pub fn restarted(world: &World) -> Result<()> {
    let [.., node] = nodes(world)?;
    let mut run = world.kubezt.begin("install", &INSTALL)?;
    run.wait(&node.name, "Install components", LIMIT)?;
    world.lab.switch_off(node)?;
    world.lab.switch_on(node)?;
    done_or_told(&run.end(LIMIT)?, node)?;
    world.kubezt.succeed("install", &INSTALL)?;
    converged(world)
}

/// A folder of a member becomes read-only, and every fifth packet between this machine and another one is lost. With all well again, an
/// install ends compliant.
pub fn read_only_and_lossy(world: &World) -> Result<()> {
    let [_, read_only, lossy] = nodes(world)?;
    for node in [read_only, lossy] {
        drift(world, node)?;
    }
    // Some megabytes have to be sent.
    let runc = "/usr/local/bin/runc";
    world.lab.shell(lossy, &format!("rm -f {PLACE}/blobs/$(sha256sum <{runc} | cut -d\" \" -f1) {runc}"))?;
    make_read_only(world, read_only, FOLDER)?;
    let run = lose_packets(world, lossy).and_then(|()| world.kubezt.run("install", &INSTALL));
    world.lab.on_console(lossy, "nft delete table inet story")?;
    make_writable(world, read_only, FOLDER)?;
    let run = run?;
    let told = block(&run, read_only)?;
    let words = ["/configuration failed", "/etc/audit/rules.d", "Read-only file system"];
    ensure!(words.iter().all(|words| told.contains(words)), "of {} it says:\n{told}", read_only.name);
    if run.stderr.contains(&format!("\n{}: ", lossy.name)) {
        // Nothing else was to be done.
        let nothing = format!("nothing was done: {}, {}\n", read_only.name, lossy.name);
        if run.code != 1 || !run.stderr.contains(&nothing) {
            behind(&run, &[read_only, lossy])?;
        }
        told_of_connection(&run, lossy)?;
    } else {
        behind(&run, &[read_only])?;
        ensure!(!has_drifted(world, lossy)?, "not all of {} was done", lossy.name);
    }
    nothing_is_half_written(world, read_only)?;

    let run = world.kubezt.succeed("install", &INSTALL[..2])?;
    ensure!(run.stdout.trim_end().ends_with("compliant"), "it ends with:\n{}", run.stdout);
    converged(world)
}

/// A disk too small for kubezt's own program, and one that is read-only.
fn unusable(world: &World, full: &Node, read_only: &Node) -> Result<()> {
    let run = world.kubezt.run("preflight", &[])?;
    ensure!(run.code == 3, "exit code {}: {}", run.code, run.stderr);
    for (node, why) in [(full, "No space left on device"), (read_only, "Read-only file system")] {
        let told = run.stdout.lines().any(|line| {
            line.contains(&node.name) && line.contains("/var/lib/kubezt/bin") && line.contains(why)
        });
        ensure!(told, "{why} of {} is not told with its path:\n{}", node.name, run.stdout);
    }
    nothing_is_half_written(world, full)
}

/// One that is too small for all that comes is refused.
fn refused(world: &World, full: &Node) -> Result<()> {
    let before = traces(world)?;
    let run = world.kubezt.run("install", &INSTALL)?;
    let told =
        |line: &str| line.contains(&full.name) && line.contains(PLACE) && line.contains("are free for");
    ensure!(run.code == 3 && run.stdout.lines().any(told), "exit code {}:\n{}", run.code, run.stdout);
    // The program that looked has come to the node.
    let programs = |traces: String| traces.lines().filter(|line| !line.contains(PLACE)).collect::<String>();
    ensure!(programs(before) == programs(traces(world)?), "an install that was refused changed something");
    Ok(())
}

/// Control plane, first and second worker.
fn nodes(world: &World) -> Result<[&Node; 3]> {
    let [first, second, third, ..] = &world.lab.nodes[..] else { bail!("three nodes are wanted") };
    Ok([first, second, third])
}

/// kubezt with less patience for connections, so that a node that hangs is given up sooner.
fn impatient(world: &World) -> Result<Kubezt> {
    let text = fs::read_to_string(world.lab.cluster_file())?;
    let path = world.lab.path("impatient.yaml");
    fs::write(&path, text.replace("  ssh:\n", "  ssh:\n    connectTimeoutSeconds: 3\n"))?;
    Ok(world.kubezt.on(path))
}

fn make_read_only(world: &World, node: &Node, folder: &str) -> Result<()> {
    let script =
        format!("mkdir -p {folder}; mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}");
    world.lab.shell(node, &script).map(drop)
}

fn make_writable(world: &World, node: &Node, folder: &str) -> Result<()> {
    world.lab.on_console(node, &format!("umount {folder}"))
}

fn resize(world: &World, node: &Node, size: &str) -> Result<()> {
    world.lab.shell(node, &format!("mount -o remount,size={size} {PLACE}")).map(drop)
}

/// Stops all of a node's SSH server, or lets it go on.
fn signal(world: &World, node: &Node, signal: &str) -> Result<()> {
    world.lab.on_console(node, &format!("pkill -{signal} sshd"))
}

/// A node loses every fifth packet of SSH that comes, and every fifth that goes.
fn lose_packets(world: &World, node: &Node) -> Result<()> {
    let drop = "numgen random mod 100 lt 20 drop";
    let hooks = [("input", "dport"), ("output", "sport")].map(|(hook, port)| {
        format!(
            "nft \"add chain inet story {hook} {{ type filter hook {hook} priority 0; }}\"; \
             nft add rule inet story {hook} tcp {port} 22 {drop}"
        )
    });
    world.lab.on_console(node, &format!("nft add table inet story; {}", hooks.join("; ")))
}

/// A part is done, and these nodes and nothing else are behind.
fn behind(run: &Run, nodes: &[&Node]) -> Result<()> {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let said = run.stderr.contains(&format!("not all is done: {}\n", names.join(", ")));
    ensure!(run.code == 4 && said, "exit code {}:\n{}", run.code, run.stderr);
    for node in nodes {
        let block = block(run, node)?;
        ensure!(block.contains("\n  go on    kubezt install "), "no way to go on:\n{block}");
    }
    Ok(())
}

/// A connection that went bad was made again, or the node is behind because of it.
fn done_or_told(run: &Run, node: &Node) -> Result<()> {
    if run.code == 0 {
        return Ok(());
    }
    ensure!(run.code == 4, "exit code {}:\n{}", run.code, run.stderr);
    told_of_connection(run, node)
}

/// A node is behind because of its connection.
fn told_of_connection(run: &Run, node: &Node) -> Result<()> {
    let block = block(run, node)?;
    let told = ["connection", "connecting", "did not"].iter().any(|words| block.contains(words));
    ensure!(told, "of {} it says:\n{block}", node.name);
    Ok(())
}

/// What is said of a node in the end.
fn block<'a>(run: &'a Run, node: &Node) -> Result<&'a str> {
    let begin = format!("{}: ", node.name);
    let block = run.stderr.split("\n\n").find(|block| block.starts_with(&begin));
    block.with_context(|| format!("no block of {}, exit code {}:\n{}", node.name, run.code, run.stderr))
}

/// Blobs are what their names say, and no temporary file is left.
fn nothing_is_half_written(world: &World, node: &Node) -> Result<()> {
    let script = format!(
        "for blob in $(ls {PLACE}/blobs 2>/dev/null); do \
           test $(sha256sum <{PLACE}/blobs/$blob | cut -d\" \" -f1) = $blob || echo $blob; \
         done; \
         find /etc /usr/local {PLACE} -name \".kubezt-*\" -o -name \".upload-*\""
    );
    let left = world.lab.shell(node, &script)?;
    ensure!(left.is_empty(), "half-written on {}:\n{left}", node.name);
    Ok(())
}

fn converged(world: &World) -> Result<()> {
    let run = world.kubezt.run("plan", &["--profile", "baseline", "--exit-code"])?;
    ensure!(run.code == 0, "not converged:\n{}", run.stdout);
    Ok(())
}
