//! `cargo xtask demo`: from nothing to a hardened cluster.

use anyhow::Result;

use super::{LabArgument, build};
use crate::{command, lab, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Profile to install
    #[arg(long, default_value = "stig")]
    profile: String,
}

/// The demo's own lab.
const LAB: &str = "demo";

pub fn run(arguments: &Arguments) -> Result<()> {
    build::for_labs(&[LAB])?;
    report::timed("fresh lab demo", || LabArgument { lab: LAB.to_owned() }.open()?.fresh())?;
    let cluster = lab::folder(LAB).join("cluster.yaml");
    report::timed("install", || {
        let mut install =
            command::program(places::binary(), ["install", "--profile", &arguments.profile, "-f"]);
        install.arg(&cluster);
        lab::label(&mut install, LAB);
        command::show(&mut install)
    })?;
    report::line("the cluster stays up; remove it with: cargo xtask down");
    Ok(())
}
