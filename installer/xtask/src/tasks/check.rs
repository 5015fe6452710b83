//! `cargo xtask check`: everything that needs no node.

use anyhow::Result;

use crate::{command, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {}

pub fn run(_: &Arguments) -> Result<()> {
    let checkout = places::checkout();
    for (name, arguments) in [
        ("formatting", &["fmt", "--all", "--check"][..]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ("tests without nodes", &["test", "--workspace", "--locked"]),
    ] {
        report::timed(name, || command::show(&mut command::cargo(&checkout, arguments)))?;
    }
    Ok(())
}
