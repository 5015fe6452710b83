//! `cargo xtask fresh`

use anyhow::Result;

use super::LabArgument;
use crate::report;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArgument,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    report::timed(&format!("lab {} is fresh", arguments.lab.lab), || arguments.lab.open()?.fresh())
}
