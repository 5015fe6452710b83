//! What kubezt is given of a lab: `target/lab/<lab>/{cluster.yaml,known_hosts,passphrase}`.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::containers;
use crate::inventory::Lab;
use crate::{cluster, places, report};

/// What happens to the files of the nodes' last life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The nodes are the same: operator state and passphrase stay.
    Keep,
    /// The nodes are new: nothing of the old cluster stays.
    Replace,
}

/// The folder of a lab's files.
pub fn folder(lab: &str) -> PathBuf {
    places::target().join("lab").join(lab)
}

/// Writes the files. The cache remembers where, so that `down` from another checkout removes them too.
///
/// # Errors
/// A file cannot be written, a node has no host key, or `vagrant/cluster.yaml` is not of the inventory's nodes.
pub fn write(lab: &Lab, described: &Lab, lab_cache: &Path, existing: Existing) -> Result<()> {
    let folder = folder(&lab.name);
    if existing == Existing::Replace {
        remove_recorded(lab_cache)?;
        remove(&folder)?;
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| folder.display().to_string())?;
    record(lab_cache, &folder)?;

    fs_err::write(folder.join(cluster::KNOWN_HOSTS), known_hosts(lab)?)?;
    let passphrase = folder.join(cluster::PASSPHRASE);
    if !passphrase.exists() {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&passphrase)
            .with_context(|| passphrase.display().to_string())?;
        writeln!(file, "{}", random_passphrase()?)?;
    }

    let source = places::checkout().join("vagrant/cluster.yaml");
    let text = cluster::derive(&fs_err::read_to_string(&source)?, described, lab, &places::node_key()?)
        .with_context(|| source.display().to_string())?;
    fs_err::write(folder.join("cluster.yaml"), text)?;
    report::line(&format!("files: {}", folder.display()));
    Ok(())
}

/// Removes the lab's files, of whichever checkout, and its part of the cache.
///
/// # Errors
/// A folder cannot be removed.
pub fn remove_all(lab: &Lab, lab_cache: &Path) -> Result<()> {
    remove_recorded(lab_cache)?;
    remove(&folder(&lab.name))?;
    remove(lab_cache)
}

/// The nodes' host keys, read from their file systems and not from the network, which is what they are to be checked against.
fn known_hosts(lab: &Lab) -> Result<String> {
    let mut text = String::new();
    for node in &lab.nodes {
        let path = containers::rootfs(&node.name).join("etc/ssh/ssh_host_ed25519_key.pub");
        let key = fs_err::read_to_string(path)?;
        let mut words = key.split_whitespace();
        let (kind, key) =
            words.next().zip(words.next()).with_context(|| format!("{}: no host key", node.name))?;
        text += &format!("{},{} {kind} {key}\n", node.name, node.address);
    }
    Ok(text)
}

/// 192 random bits in hexadecimal.
fn random_passphrase() -> Result<String> {
    let mut bytes = [0; 24];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Names the folders with the lab's files, one a line.
const FILES_ARE_IN: &str = "files-are-in";

fn record(lab_cache: &Path, folder: &Path) -> Result<()> {
    let path = lab_cache.join(FILES_ARE_IN);
    let mut text = fs_err::read_to_string(&path).unwrap_or_default();
    let line = folder.display().to_string();
    if !text.lines().any(|known| known == line) {
        text += &line;
        text.push('\n');
        fs_err::create_dir_all(lab_cache)?;
        fs_err::write(path, text)?;
    }
    Ok(())
}

fn remove_recorded(lab_cache: &Path) -> Result<()> {
    let recorded = fs_err::read_to_string(lab_cache.join(FILES_ARE_IN)).unwrap_or_default();
    recorded
        .lines()
        .map(Path::new)
        .filter(|folder| folder.ends_with(lab_files_suffix(lab_cache)))
        .try_for_each(remove)
}

/// Only `lab/<lab>` folders are ever removed by record, whatever the record says.
fn lab_files_suffix(lab_cache: &Path) -> PathBuf {
    Path::new("lab").join(lab_cache.file_name().unwrap_or_default())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    Ok(())
}
