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
    add_boxes(lab, lab_cache)?;
    let mut up = vagrant(lab, lab_cache)?;
    command::quiet(up.args(["up", "--provider=lxc", "--no-color"]))?;
    Ok(())
}

/// Adds the lab's boxes to the folder that the labs' Vagrant homes share.
fn add_boxes(lab: &Lab, lab_cache: &Path) -> Result<()> {
    let shared = places::lab_cache()?;
    let boxes = shared.join("boxes");
    let home = lab_cache.join("vagrant");
    fs_err::create_dir_all(&home)?;
    if !home.join("boxes").is_symlink() {
        symlink(&boxes, home.join("boxes"))?;
    }
    let _lock = lock(shared.join("box.lock"))?;
    fs_err::create_dir_all(&boxes)?;
    for name in lab.boxes() {
        if boxes.join(node_box::in_vagrant(&name)).join("0/lxc").exists() {
            continue;
        }
        let mut add = vagrant(lab, lab_cache)?;
        add.args(["box", "add", "--force", "--no-color", "--name", &format!("kubezt/{name}")]);
        command::quiet(add.arg(node_box::file(&name)?))?;
    }
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
