//! `cargo xtask down`

use anyhow::Result;

use super::LabArgument;
use crate::report;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArgument,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    report::timed(&format!("lab {} is down", arguments.lab.lab), || arguments.lab.open()?.down())
}
