//! `cargo xtask build`: the static binary, the components and the boxes, side by side.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Result, anyhow};

use crate::inventory::Inventory;
use crate::{command, lab, places, report};

/// The example of the artifacts crate that obtains components.
const BUILDER: &str = "build";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the boxes out; they need root
    #[arg(long)]
    without_box: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let boxes = match arguments.without_box {
        true => BTreeSet::new(),
        false => Inventory::load(&places::checkout())?.boxes(),
    };
    parts(&boxes)
}

/// Builds all that labs need; their nodes are made of boxes of their own choice.
///
/// # Errors
/// There is no such lab; and as [`parts`].
pub fn for_labs(labs: &[&str]) -> Result<()> {
    let inventory = Inventory::load(&places::checkout())?;
    let boxes: Result<Vec<_>> = labs.iter().map(|lab| Ok(inventory.lab(lab)?.boxes())).collect();
    parts(&boxes?.into_iter().flatten().collect())
}

/// Builds all parts, and these boxes; each part's wall time is printed.
///
/// # Errors
/// The first error, after all parts have ended.
fn parts(boxes: &BTreeSet<String>) -> Result<()> {
    // apt takes one caller at a time, so all packages come first.
    lab::packages::install(&lab::packages::build())?;
    if !boxes.is_empty() {
        lab::packages::install(lab::packages::NODES)?;
    }
    report::timed("build", || {
        thread::scope(|scope| {
            let boxes_made =
                scope.spawn(|| if boxes.is_empty() { Ok(()) } else { lab::make_boxes(boxes).map(drop) });
            // What obtains the components is a part of the binary's own crates, so it is built on the way there; compiling
            // components takes longest and begins at once.
            let compiled = report::timed("component builder", component_builder).map(|()| {
                (
                    scope.spawn(|| report::timed("binary", binary)),
                    scope.spawn(|| report::timed("components", components)),
                )
            });
            let join = |part: thread::ScopedJoinHandle<'_, Result<()>>| {
                part.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            };
            let compiled = compiled.and_then(|(binary, components)| join(binary).and(join(components)));
            compiled.and(join(boxes_made))
        })
    })
}

/// The static release binary.
fn binary() -> Result<()> {
    compile(&["--bin", "kubezt"])
}

/// Builds components as the binary does, which is still being built meanwhile.
fn component_builder() -> Result<()> {
    let mut add = command::program("rustup", ["target", "add", places::TARGET]);
    command::quiet(add.current_dir(places::checkout()))?;
    compile(&["--example", BUILDER])
}

/// Always the same two packages: with another choice some dependencies would have other features, and be compiled again.
fn compile(target: &[&str]) -> Result<()> {
    let arguments = ["build", "--locked", "--release", "--target", places::TARGET];
    let mut build = command::cargo(&places::checkout(), arguments);
    command::show(build.args(["--package", "kubezt", "--package", "kubezt-artifacts"]).args(target))
}

/// The components of a cluster, from their sources, into the cache.
fn components() -> Result<()> {
    let builder = places::binary().with_file_name("examples").join(BUILDER);
    command::show(command::program::<&str>(builder, []).current_dir(places::checkout()))
}
