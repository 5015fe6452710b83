//! Commands and files on a node, from the machine that holds it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::program;
use crate::lab;

/// A login root's search path.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command on a node of a lab, as root.
pub fn command(lab: &str, node: &str, words: &[&str]) -> Command {
    let mut attach = program("lxc-attach", ["--name", node, "--clear-env", "--set-var", PATH]);
    attach.args(["--set-var", "HOME=/root", "--"]).args(words);
    lab::label(&mut attach, lab);
    attach
}

/// Where a path of the node is on this machine.
pub fn path(node: &str, path: &str) -> PathBuf {
    lab::rootfs(node).join(path.trim_start_matches('/'))
}

/// Writes a file with this mode, and the folders above it.
///
/// # Errors
/// It cannot be written.
pub fn write(node: &str, file: &str, mode: u32, text: &str) -> Result<()> {
    let path = path(node, file);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut open = std::fs::OpenOptions::new();
    let open = open.write(true).create(true).truncate(true).mode(mode);
    let mut file = open.open(&path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

/// Puts a program in place.
///
/// # Errors
/// It cannot be copied.
pub fn install(node: &str, content: &Path, target: &str) -> Result<()> {
    let target = path(node, target);
    let mut install = program("install", ["-D", "--mode=0755", "--owner=root", "--group=root"]);
    crate::command::quiet(install.args([content, &target])).map(drop)
}
