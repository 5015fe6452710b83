//! `cargo xtask soak`: stories on real nodes that take longer than `cargo xtask test` may.

use anyhow::{Result, bail};

use super::{build, test};
use crate::lab;

/// The tests' own lab.
const LAB: &str = "test";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave the nodes up afterwards
    #[arg(long)]
    keep: bool,
    /// Only those stories whose name contains this
    filter: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(obstacle) = lab::packages::obstacle()? {
        bail!("nodes cannot be made here: {obstacle}");
    }
    build::for_labs(&[LAB])?;
    test::on_nodes(LAB, "soak", arguments.filter.as_deref(), arguments.keep)
}
