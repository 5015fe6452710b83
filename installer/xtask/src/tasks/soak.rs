//! `cargo xtask soak`: stories on real nodes that take longer than `cargo xtask test` may.

use anyhow::{Result, bail};

use super::{build, test};
use crate::lab;

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
    build::everything(true)?;
    test::on_nodes("test", "soak", arguments.filter.as_deref(), arguments.keep)
}
