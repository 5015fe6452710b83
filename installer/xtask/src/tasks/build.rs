//! `cargo xtask build`: the static binary, the components and the box, side by side.

use std::thread;

use anyhow::{Result, anyhow};

use crate::{command, lab, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the box out; it needs root
    #[arg(long)]
    without_box: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    everything(!arguments.without_box)
}

/// Builds all parts; each part's wall time is printed.
///
/// # Errors
/// The first error, after all parts have ended.
pub fn everything(with_box: bool) -> Result<()> {
    // apt takes one caller at a time, so all packages come first.
    lab::packages::install(&lab::packages::build())?;
    if with_box {
        lab::packages::install(lab::packages::NODES)?;
    }
    report::timed("build", || {
        thread::scope(|scope| {
            let box_made = scope.spawn(|| if with_box { lab::make_box().map(drop) } else { Ok(()) });
            let compiled = scope.spawn(|| report::timed("binary", binary));
            let obtained = scope.spawn(|| report::timed("components", components));
            let join = |part: thread::ScopedJoinHandle<'_, Result<()>>| {
                part.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            };
            let outcomes = [join(compiled), join(obtained), join(box_made)];
            outcomes.into_iter().collect()
        })
    })
}

/// The static release binary.
fn binary() -> Result<()> {
    let checkout = places::checkout();
    let mut add = command::program("rustup", ["target", "add", places::TARGET]);
    command::quiet(add.current_dir(&checkout))?;
    let arguments = ["build", "--locked", "--release", "--target", places::TARGET, "--package", "kubezt"];
    command::show(&mut command::cargo(&checkout, arguments))
}

/// The components of a cluster, from their sources, into the cache. An example of the artifacts crate does it, because the
/// binary is still being built meanwhile.
fn components() -> Result<()> {
    let arguments = ["run", "--locked", "--quiet", "--package", "kubezt-artifacts", "--example", "build"];
    command::show(&mut command::cargo(&places::checkout(), arguments))
}
