//! Two operators, and what is left of one whose machine is gone.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use kubezt_tests::changes::{drift, has_drifted};
use kubezt_tests::lab::Node;
use kubezt_tests::{Kubezt, Running};
use rustix::process::{Pid, Signal, kill_process};

use crate::World;

/// The first operator's machine stops in the middle of a run. The second, who has a copy of the first one's folder, is told who is at
/// work and since when; takes the nodes over; and the first, who comes back, does nothing more and learns by whom. Both runs are in the
/// journals on the control plane.
pub fn two_at_once(world: &World) -> Result<()> {
    let worker = world.lab.worker();
    drift(world, worker)?;
    let (first, second) = (operator(world, "first")?, operator(world, "second")?);
    let run = first.begin("install", &["--no-verify"])?;
    holds(world, "first@")?;
    signal(&run, Signal::STOP)?;
    // It may have been quick enough to mend the first drift: the second operator has something to do all the same.
    drift(world, worker)?;
    let judged = refused_then_taken_over(&second);
    // Whatever came of it, the first one ends.
    signal(&run, Signal::CONT)?;
    let ended = run.end(Duration::from_secs(120));
    judged?;
    let ended = ended?;
    ensure!(ended.code != 0, "the first run went on:\n{}", ended.stderr);
    let told = ended.stderr.contains("second@") && ended.stderr.contains("took this node over");
    ensure!(told, "the first operator does not learn by whom:\n{}", ended.stderr);
    ensure!(!has_drifted(world, worker)?, "the second run did not do what was due");
    let kept = second.succeed("journal", &["--node", &world.lab.control_plane().name])?;
    let newest = kept.stdout.lines().next().unwrap_or_default();
    ensure!(newest.contains("second@") && newest.contains(" 0 steps failed"), "kept there:\n{}", kept.stdout);
    Ok(())
}

fn refused_then_taken_over(second: &Kubezt) -> Result<()> {
    let refused = second.run("install", &["--no-verify"])?;
    let said = refused.stderr.contains("another operator is at work on this node: first@")
        && refused.stderr.contains(", since ")
        && refused.stderr.contains("--take-over");
    ensure!(refused.code == 3 && said, "exit code {}:\n{}", refused.code, refused.stderr);
    second.succeed("install", &["--no-verify", "--take-over"])?;
    Ok(())
}

/// An operator of this name with a copy of the lab's folder.
fn operator(world: &World, name: &str) -> Result<Kubezt> {
    let folder = world.lab.path(name);
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir_all(folder.join(".kubezt"))?;
    for file in ["cluster.yaml", "known_hosts", "passphrase", ".kubezt/root.crt", ".kubezt/secrets.sealed"] {
        fs_err::copy(world.lab.path(file), folder.join(file))?;
    }
    Ok(world.kubezt.on(folder.join("cluster.yaml")).with("USER", name.as_ref()))
}

/// Waits until an operator holds the lock of every node, all asked at once: a run that finds little to do takes seconds.
fn holds(world: &World, operator: &str) -> Result<()> {
    thread::scope(|scope| {
        let waits = world.lab.nodes.iter().map(|node| scope.spawn(move || is_held(world, node, operator)));
        let mut waits = waits.collect::<Vec<_>>().into_iter();
        waits.try_for_each(|wait| wait.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

fn is_held(world: &World, node: &Node, operator: &str) -> Result<()> {
    let script = format!(
        "timeout 60 sh -c \"until grep -q {operator} /run/kubezt.lock 2>/dev/null; do sleep 0.05; done\""
    );
    world
        .lab
        .shell(node, &script)
        .map(drop)
        .with_context(|| format!("{} is not held by {operator}", node.name))
}

fn signal(run: &Running, signal: Signal) -> Result<()> {
    let process = i32::try_from(run.id()).ok().and_then(Pid::from_raw).context("no process")?;
    Ok(kill_process(process, signal)?)
}
