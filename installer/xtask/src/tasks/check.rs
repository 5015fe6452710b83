//! `cargo xtask check`: everything that needs no node.

use anyhow::Result;

use crate::{command, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// The tests on nodes are linted as well, though they do not run here.
const LINTS: &[&str] = &[
    "clippy",
    "--workspace",
    "--all-targets",
    "--features",
    "kubezt-tests/nodes",
    "--locked",
    "--",
    "-D",
    "warnings",
];

pub fn run(_: &Arguments) -> Result<()> {
    let checkout = places::checkout();
    for (name, arguments) in [
        ("formatting", &["fmt", "--all", "--check"][..]),
        ("lints", LINTS),
        ("tests without nodes", &["test", "--workspace", "--locked"]),
    ] {
        report::timed(name, || command::show(&mut command::cargo(&checkout, arguments)))?;
    }
    Ok(())
}
