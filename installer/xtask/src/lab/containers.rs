//! The nodes as LXC containers.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::node_box;
use crate::command::{program, quiet};
use crate::inventory::Lab;
use crate::report;

/// How long a node may take from its start until sshd answers.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// How long a container may resist its removal.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

/// Where LXC keeps its containers.
fn containers_folder() -> PathBuf {
    quiet(&mut program("lxc-config", ["lxc.lxcpath"]))
        .map_or_else(|_| PathBuf::from("/var/lib/lxc"), |path| PathBuf::from(path.trim()))
}

/// The root file system of a container.
pub fn rootfs(name: &str) -> PathBuf {
    containers_folder().join(name).join("rootfs")
}

/// Whether a container is there as a whole.
pub fn exists(name: &str) -> bool {
    let folder = containers_folder().join(name);
    folder.join("config").exists() && folder.join("rootfs").exists() && !folder.join("partial").exists()
}

/// Starts those nodes that are not running, and waits for all.
///
/// # Errors
/// A node does not start, or does not answer.
pub fn start(lab: &Lab) -> Result<()> {
    on_each(&lab.nodes, |node| if is_running(&node.name) { Ok(()) } else { boot(&node.name) })?;
    wait_until_reachable(lab)
}

/// Replaces every node's file system by its box's, and boots it.
///
/// # Errors
/// A container cannot be stopped, copied or started, or a node does not answer.
pub fn reset(lab: &Lab) -> Result<()> {
    report::timed("  stop", || stop_all(lab))?;
    report::timed("  copy", || {
        on_each(&lab.nodes, |node| {
            let rootfs = rootfs(&node.name);
            let old = rootfs.with_extension("old");
            remove(&old)?;
            if rootfs.exists() {
                fs_err::rename(&rootfs, &old)?;
            }
            quiet(
                program("cp", ["--archive", "--reflink=auto"])
                    .args([&node_box::rootfs(&node.box_name)?, &rootfs]),
            )?;
            Ok(())
        })
    })?;
    report::timed("  boot", || {
        on_each(&lab.nodes, |node| boot(&node.name))?;
        wait_until_reachable(lab)
    })?;
    // Last, because a cluster's images are gigabytes and nobody waits for them to be gone.
    report::timed("  remove the old", || {
        on_each(&lab.nodes, |node| remove(&rootfs(&node.name).with_extension("old")))
    })
}

/// Stops every container of the lab's.
///
/// # Errors
/// A container does not stop.
pub fn stop_all(lab: &Lab) -> Result<()> {
    on_each(&labelled(lab)?, |name| {
        if is_running(name) {
            quiet(&mut program("lxc-stop", ["--kill", "--name", name])).map(drop)
        } else {
            Ok(())
        }
    })
}

/// Stops and removes every container of the lab's, also those only half made.
///
/// # Errors
/// A container cannot be removed.
pub fn destroy_all(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    loop {
        stop_all(lab)?;
        let names = labelled(lab)?;
        if names.is_empty() {
            return Ok(());
        }
        let removed = on_each(&names, |name| {
            report::line(&format!("removing {name}"));
            remove(&containers_folder().join(name))
        });
        // Whoever was still unpacking a container may write to it once more while it dies.
        if removed.is_err() && Instant::now() > deadline {
            return removed;
        }
    }
}

/// Waits until sshd of every node has said its first line.
///
/// # Errors
/// A node has not answered within three minutes.
pub fn wait_until_reachable(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + BOOT_LIMIT;
    on_each(&lab.nodes, |node| {
        while !says_ssh(SocketAddr::from((node.address, 22))) {
            if Instant::now() > deadline {
                bail!(
                    "{} ({}) does not answer on port 22; look with: lxc-attach -n {0} -- journalctl -b",
                    node.name,
                    node.address
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    })
}

/// Names of the lab's containers: those with its prefix that are on its bridge, or carry the box's mark, or are too young for either.
fn labelled(lab: &Lab) -> Result<Vec<String>> {
    let folder = containers_folder();
    let Ok(entries) = fs_err::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&lab.prefix()) {
            continue;
        }
        let config = fs_err::read_to_string(folder.join(&name).join("config")).unwrap_or_default();
        let is_named = lab.nodes.iter().any(|node| node.name == name);
        if config.contains(&lab.bridge)
            || config.contains("KUBEZT_LAB_NODE")
            || (is_named && is_half_made(&folder.join(&name)))
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_half_made(container: &Path) -> bool {
    container.join("partial").exists()
        || !container.join("config").exists()
        || container.join("vagrant_lock").exists()
}

fn is_running(name: &str) -> bool {
    quiet(&mut program("lxc-info", ["--name", name, "--state", "--no-humanize"]))
        .is_ok_and(|state| state.trim() != "STOPPED")
}

fn boot(name: &str) -> Result<()> {
    quiet(&mut program("lxc-start", ["--daemon", "--name", name])).map(drop)
}

/// Whether an SSH server says its first line there.
pub fn says_ssh(address: SocketAddr) -> bool {
    let patience = Duration::from_millis(500);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, patience) else { return false };
    let mut banner = [0; 4];
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"SSH-"
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Does the same to all at once. Returns the first error, after all have ended.
fn on_each<T: Sync>(items: &[T], action: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = items.iter().map(|item| scope.spawn(|| action(item))).collect();
        let outcomes: Vec<_> = running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked")))
            .collect();
        outcomes
            .into_iter()
            .try_for_each(|outcome| outcome.and_then(|outcome| outcome).context("on the nodes"))
    })
}
