//! Vagrant makes the nodes; its whole state is in the cache.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{leftovers, lock, node_box};
use crate::inventory::Lab;
use crate::{command, places};

/// Makes the nodes of a lab that has none.
///
/// # Errors
/// Vagrant failed; the error has the last lines it printed.
pub fn up(lab: &Lab, lab_cache: &Path) -> Result<()> {
    add_box(lab, lab_cache)?;
    let mut up = vagrant(lab, lab_cache)?;
    command::quiet(up.args(["up", "--provider=lxc", "--no-color"]))?;
    Ok(())
}

/// Adds the box to the folder that the labs' Vagrant homes share.
fn add_box(lab: &Lab, lab_cache: &Path) -> Result<()> {
    let shared = places::lab_cache()?;
    let boxes = shared.join("boxes");
    let home = lab_cache.join("vagrant");
    fs_err::create_dir_all(&home)?;
    if !home.join("boxes").is_symlink() {
        symlink(&boxes, home.join("boxes"))?;
    }
    let _lock = lock(shared.join("box.lock"))?;
    if boxes.join("kubezt-VAGRANTSLASH-node/0/lxc").exists() {
        return Ok(());
    }
    fs_err::create_dir_all(&boxes)?;
    let mut add = vagrant(lab, lab_cache)?;
    add.args(["box", "add", "--force", "--name", "kubezt/node", "--no-color"]).arg(node_box::file()?);
    command::quiet(&mut add)?;
    Ok(())
}

fn vagrant(lab: &Lab, lab_cache: &Path) -> Result<Command> {
    let mut vagrant = Command::new("vagrant");
    vagrant
        .env("VAGRANT_CWD", places::checkout().join("vagrant"))
        .env("VAGRANT_HOME", lab_cache.join("vagrant"))
        .env("VAGRANT_DOTFILE_PATH", lab_cache.join("machines"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .env("KUBEZT_LAB", &lab.name)
        .env("KUBEZT_NODE_KEY", places::node_key()?);
    leftovers::label(&mut vagrant, &lab.name);
    Ok(vagrant)
}
