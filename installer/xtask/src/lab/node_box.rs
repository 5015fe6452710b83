//! The boxes: bare nodes that labs start from, one of each operating system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow};

use super::{lock, packages};
use crate::{command, places, report};

/// What a box is made of, in `vagrant/`; a change makes a new one.
const INPUTS: &[&str] = &["box.sh", "lxc/config", "lxc/metadata.json"];

/// Makes those of these boxes of which there is none of this recipe, side by side. Returns all their recipes in one.
///
/// # Errors
/// A box could not be made; the others are.
pub fn make(boxes: &BTreeSet<String>) -> Result<String> {
    packages::install(packages::NODES)?;
    let cache = places::lab_cache()?;
    let _lock = lock(cache.join("box.lock"))?;
    let key = node_key()?.with_extension("key.pub");
    thread::scope(|scope| {
        let making: Vec<_> = boxes.iter().map(|name| scope.spawn(|| make_one(name, &cache, &key))).collect();
        let made: Vec<Result<String>> = making
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
            .collect();
        made.into_iter().collect()
    })
}

fn make_one(name: &str, cache: &Path, public_key: &Path) -> Result<String> {
    let source = places::checkout().join("vagrant");
    let mut recipe = format!("{name}\n{}", fs_err::read_to_string(public_key)?);
    for input in INPUTS {
        recipe += &fs_err::read_to_string(source.join(input))?;
    }
    let folder = folder(name)?;
    if fs_err::read_to_string(folder.join("recipe")).is_ok_and(|made| made == recipe) {
        return Ok(recipe);
    }
    report::timed(&format!("box {name}"), || {
        let unfinished = folder.with_extension("unfinished");
        remove_folder(&unfinished)?;
        remove_folder(&folder)?;
        let mut script = command::program(source.join("box.sh"), [Path::new(name), &unfinished, public_key]);
        command::quiet(&mut script)?;
        fs_err::write(unfinished.join("recipe"), &recipe)?;
        fs_err::rename(&unfinished, &folder)?;
        remove_folder(&cache.join("boxes").join(in_vagrant(name)))
    })?;
    Ok(recipe)
}

/// A box, its file system and its recipe.
fn folder(name: &str) -> Result<PathBuf> {
    Ok(places::lab_cache()?.join(format!("box-{name}")))
}

/// The file system that a new node starts from.
///
/// # Errors
/// There is no cache folder.
pub fn rootfs(name: &str) -> Result<PathBuf> {
    Ok(folder(name)?.join("rootfs"))
}

/// The box file for Vagrant.
///
/// # Errors
/// There is no cache folder.
pub fn file(name: &str) -> Result<PathBuf> {
    Ok(folder(name)?.join("node.box"))
}

/// What Vagrant calls a box of ours in its own folder.
pub fn in_vagrant(name: &str) -> String {
    format!("kubezt-VAGRANTSLASH-{name}")
}

/// The key that opens the nodes, made once: ssh-keygen writes it with mode 0600.
fn node_key() -> Result<PathBuf> {
    let key = places::node_key()?;
    if !key.with_extension("key.pub").exists() || !key.exists() {
        for file in [&key, &key.with_extension("key.pub")] {
            if file.exists() {
                fs_err::remove_file(file)?;
            }
        }
        let mut keygen =
            command::program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "kubezt-lab", "-f"]);
        command::quiet(keygen.arg(&key))?;
    }
    Ok(key)
}

fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    Ok(())
}
