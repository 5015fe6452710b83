//! `cargo xtask test`: everything, the real cluster included.

use anyhow::{Result, bail};

use super::{LabArgument, build, check};
use crate::{command, lab, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Fail where no nodes can be made, instead of skipping what needs them
    #[arg(long)]
    require_nodes: bool,
    /// Leave the nodes up afterwards
    #[arg(long)]
    keep: bool,
    /// Only those node tests whose name contains this
    filter: Option<String>,
}

/// The tests' own lab.
const LAB: &str = "test";

pub fn run(arguments: &Arguments) -> Result<()> {
    check::run(&check::Arguments {})?;
    if let Some(obstacle) = lab::packages::obstacle()? {
        report::line(&format!("tests on nodes: skipped, {obstacle}"));
        if arguments.require_nodes {
            bail!("tests on nodes were required");
        }
        return Ok(());
    }
    build::everything(true)?;
    let lab = LabArgument { lab: LAB.to_owned() };
    let tested = report::timed("fresh lab test", || lab.open()?.fresh())
        .and_then(|()| report::timed("tests on nodes", || node_tests(arguments.filter.as_deref())));
    let removed =
        if arguments.keep { Ok(()) } else { report::timed("lab test is down", || lab.open()?.down()) };
    tested.and(removed)
}

/// The lab is not open meanwhile: tests may ask for fresh nodes themselves.
fn node_tests(filter: Option<&str>) -> Result<()> {
    let arguments =
        ["test", "--locked", "--package", "kubezt-tests", "--features", "nodes", "--test", "cluster", "--"];
    let mut tests = command::cargo(&places::checkout(), arguments);
    tests.args(["--test-threads=1", "--nocapture"]).args(filter);
    tests.env("KUBEZT_BINARY", places::binary()).env("KUBEZT_LAB", lab::folder(LAB));
    lab::label(&mut tests, LAB);
    command::show(&mut tests)
}
