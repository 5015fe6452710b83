//! One lab: packages, boxes, bridge, nodes and files.
//!
//! | where | what |
//! |---|---|
//! | `<cache>/lab/node.key` | key that opens every node, 0600 |
//! | `<cache>/lab/box-<name>/` | box and file system that nodes start from |
//! | `<cache>/lab/<lab>/` | Vagrant's state, and where the lab's files are |
//! | `target/lab/<lab>/` | `cluster.yaml`, `known_hosts`, `passphrase` |

mod bridge;
mod containers;
mod files;
mod leftovers;
mod node_box;
pub mod packages;
mod vagrant;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
pub use containers::{rootfs, says_ssh};
pub use files::folder;
pub use leftovers::label;
pub use node_box::make as make_boxes;

use crate::inventory::{Inventory, Lab};
use crate::{places, report};

/// A lab that no other task can touch meanwhile.
pub struct OpenLab {
    lab: Lab,
    described: Lab,
    /// The lab's part of the cache.
    cache: PathBuf,
    _lock: File,
}

impl OpenLab {
    /// Opens a lab by name; waits for another task that has it open.
    ///
    /// # Errors
    /// There is no such lab, or the cache cannot be written.
    pub fn open(name: &str) -> Result<Self> {
        let inventory = Inventory::load(&places::checkout())?;
        let lab = inventory.lab(name)?.clone();
        let described = inventory.lab(crate::cluster::DESCRIBED)?.clone();
        let cache = places::lab_cache()?;
        let lock = lock(cache.join(format!("{name}.lock")))?;
        Ok(Self { cache: cache.join(name), lab, described, _lock: lock })
    }

    /// Makes whatever is missing.
    ///
    /// # Errors
    /// The machine cannot have nodes, or a part failed.
    pub fn up(&self) -> Result<()> {
        let recipe = self.prepare()?;
        if self.is_made_of(&recipe) {
            report::timed("nodes", || containers::start(&self.lab))?;
        } else {
            self.make_nodes(&recipe)?;
        }
        files::write(&self.lab, &self.described, &self.cache, files::Existing::Keep)
    }

    /// Gives the lab new bare nodes: the containers stay, their file systems are replaced.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn fresh(&self) -> Result<()> {
        let recipe = self.prepare()?;
        if self.is_made_of(&recipe) {
            leftovers::end_processes(&self.lab)?;
            report::timed("nodes", || containers::reset(&self.lab))?;
        } else {
            self.make_nodes(&recipe)?;
        }
        files::write(&self.lab, &self.described, &self.cache, files::Existing::Replace)
    }

    /// Removes everything that is the lab's, whoever made it.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn down(&self) -> Result<()> {
        containers::stop_all(&self.lab)?;
        // A Vagrant that outlived a killed run may have made another container since.
        leftovers::end_processes(&self.lab)?;
        containers::destroy_all(&self.lab)?;
        leftovers::remove_control_groups(&self.lab)?;
        bridge::remove(&self.lab)?;
        files::remove_all(&self.lab, &self.cache)
    }

    fn prepare(&self) -> Result<String> {
        packages::require_node_machine()?;
        packages::install(packages::NODES)?;
        let recipe = node_box::make(&self.lab.boxes())?;
        bridge::make(&self.lab)?;
        Ok(recipe)
    }

    /// Whether all nodes exist and were made of these boxes.
    fn is_made_of(&self, recipe: &str) -> bool {
        let made_of = fs_err::read_to_string(self.cache.join(MADE_OF)).unwrap_or_default();
        made_of == recipe && self.lab.nodes.iter().all(|node| containers::exists(&node.name))
    }

    fn make_nodes(&self, recipe: &str) -> Result<()> {
        self.down()?;
        bridge::make(&self.lab)?;
        report::timed("nodes made by Vagrant", || vagrant::up(&self.lab, &self.cache))?;
        containers::wait_until_reachable(&self.lab)?;
        fs_err::write(self.cache.join(MADE_OF), recipe)?;
        Ok(())
    }
}

/// Has the recipes of the boxes that a lab's nodes were made of; written when all of them are.
const MADE_OF: &str = "made-of";

/// Takes a lock that ends with this process, also when it is killed.
fn lock(path: PathBuf) -> Result<File> {
    if let Some(folder) = path.parent() {
        // Nobody else's: the node's file system has programs that run as root for whoever starts them.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| folder.display().to_string())?;
    }
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        report::line(&format!("waiting for the task that holds {}", path.display()));
        file.lock().with_context(|| path.display().to_string())?;
    }
    Ok(file)
}
