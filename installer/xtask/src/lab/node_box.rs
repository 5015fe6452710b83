//! The box: the bare node that all labs start from.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{lock, packages};
use crate::{command, places, report};

/// What the box is made of, in `vagrant/`; a change makes a new box.
const INPUTS: &[&str] = &["box.sh", "lxc/config", "lxc/metadata.json"];

/// Makes the box where there is none of this recipe. Returns the recipe.
///
/// # Errors
/// The box could not be made.
pub fn make() -> Result<String> {
    packages::install(packages::NODES)?;
    let cache = places::lab_cache()?;
    let _lock = lock(cache.join("box.lock"))?;
    let key = node_key()?;

    let source = places::checkout().join("vagrant");
    let mut recipe = fs_err::read_to_string(key.with_extension("key.pub"))?;
    for input in INPUTS {
        recipe += &fs_err::read_to_string(source.join(input))?;
    }
    let folder = cache.join("box");
    if fs_err::read_to_string(folder.join("recipe")).is_ok_and(|made| made == recipe) {
        return Ok(recipe);
    }
    report::timed("box", || {
        let unfinished = cache.join("box.unfinished");
        remove_folder(&unfinished)?;
        remove_folder(&folder)?;
        let mut script =
            command::program(source.join("box.sh"), [&unfinished, &key.with_extension("key.pub")]);
        command::quiet(&mut script)?;
        fs_err::write(unfinished.join("recipe"), &recipe)?;
        fs_err::rename(&unfinished, &folder)?;
        remove_folder(&cache.join("boxes"))
    })?;
    Ok(recipe)
}

/// The file system that a new node starts from.
///
/// # Errors
/// There is no cache folder.
pub fn rootfs() -> Result<PathBuf> {
    Ok(places::lab_cache()?.join("box/rootfs"))
}

/// The box file for Vagrant.
///
/// # Errors
/// There is no cache folder.
pub fn file() -> Result<PathBuf> {
    Ok(places::lab_cache()?.join("box/node.box"))
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
