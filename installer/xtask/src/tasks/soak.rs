//! `cargo xtask soak`: stories on real nodes that take longer than `cargo xtask test` may.

use anyhow::{Result, bail};

use super::test;
use crate::lab;

/// The labs, and the stories told on each: what takes long, and what `cargo xtask test` tells of three control-plane nodes, of five.
const LABS: [(&str, &str); 2] = [("test", "soak"), ("five", "highly-available")];

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
    test::on_labs(&LABS, arguments.filter.as_deref(), arguments.keep)
}
