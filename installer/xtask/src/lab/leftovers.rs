//! What a killed run can leave behind, and how it is found again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::command::{program, succeeds};
use crate::inventory::Lab;
use crate::report;

/// Environment variable that marks every process which a task starts for a lab.
const LABEL: &str = "KUBEZT_LAB_RUN";

/// Marks a command as the lab's.
pub fn label(command: &mut Command, lab: &str) {
    command.env(LABEL, lab);
}

/// Ends every process of the lab's, but for the one that called this task: those that carry its label, their descendants (sudo drops the
/// label), and LXC's own programs at work on one of its containers.
///
/// # Errors
/// A process does not end.
pub fn end_processes(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = processes_of(lab);
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes of the lab {} do not end: {found:?}", lab.name);
        }
        for process in &found {
            report::line(&format!("ending process {process} of an earlier run"));
            succeeds(&mut program("kill", ["-KILL", &process.to_string()]));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn processes_of(lab: &Lab) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let ours = ancestors(std::process::id());
    let marked: Vec<u32> = all
        .iter()
        .copied()
        .filter(|process| !ours.contains(process))
        .filter(|process| carries_label(*process, lab) || handles_container(*process, lab))
        .collect();
    // This task's own children are below it, and it is below itself.
    all.into_iter()
        .filter(|process| {
            let above = ancestors(*process);
            !above.contains(&std::process::id())
                && !ours.contains(process)
                && above.iter().any(|ancestor| marked.contains(ancestor))
        })
        .collect()
}

fn carries_label(process: u32, lab: &Lab) -> bool {
    let mark = format!("{LABEL}={}", lab.name);
    // Empty for a process that has just ended and for zombies.
    let environment = fs_err::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

/// Whether this is `lxc-create`, `lxc-start` or the like for a container of the lab's, also below sudo.
fn handles_container(process: u32, lab: &Lab) -> bool {
    let line = fs_err::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let is_lxc =
        words.iter().take(4).any(|word| word.rsplit('/').next().is_some_and(|name| name.starts_with("lxc-")));
    is_lxc && words.iter().any(|word| lab.nodes.iter().any(|node| *word == node.name))
}

/// A process and all above it.
fn ancestors(process: u32) -> Vec<u32> {
    let mut chain = vec![process];
    while let Some(parent) = chain.last().and_then(|child| parent(*child)).filter(|parent| *parent > 0) {
        chain.push(parent);
    }
    chain
}

fn parent(process: u32) -> Option<u32> {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Removes the control groups that killed containers leave where the kubelet had made some of its own.
///
/// # Errors
/// None so far; groups that are gone meanwhile are no error.
pub fn remove_control_groups(lab: &Lab) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    for group in folders(root).into_iter().chain([root.to_path_buf()]) {
        for folder in folders(&group) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_ours = ["lxc.payload.", "lxc.monitor."]
                .iter()
                .filter_map(|kind| name.strip_prefix(kind))
                .any(|container| container.starts_with(&lab.prefix()));
            if is_ours {
                remove_group(&folder);
            }
        }
    }
    Ok(())
}

fn remove_group(group: &Path) {
    for child in folders(group) {
        remove_group(&child);
    }
    // rmdir: the files of a control group are not to be removed one by one. Busy groups are not ours to end.
    let _ = std::fs::remove_dir(group);
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
