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

/// The tests' own labs, and the stories told on each.
const LABS: [(&str, &str); 2] = [("test", "cluster"), ("ha", "highly-available")];

pub fn run(arguments: &Arguments) -> Result<()> {
    check::run(&check::Arguments {})?;
    if let Some(obstacle) = lab::packages::obstacle()? {
        report::line(&format!("tests on nodes: skipped, {obstacle}"));
        if arguments.require_nodes {
            bail!("tests on nodes were required");
        }
        return Ok(());
    }
    let filter = arguments.filter.as_deref();
    if filter.is_none() {
        report::timed("a real registry", real_registry)?;
    }
    on_labs(&LABS, filter, arguments.keep)
}

/// Builds what labs need, and tells on each the stories that belong there, or those among them whose name contains the filter.
pub fn on_labs(labs: &[(&str, &str)], filter: Option<&str>, keep: bool) -> Result<()> {
    let names: Vec<_> = labs.iter().map(|(lab, _)| *lab).collect();
    build::for_labs(&names)?;
    let has_some = |stories: &str| filter.is_none_or(|filter| has_story(stories, filter));
    let told: Vec<_> = labs.iter().filter(|(_, stories)| has_some(stories)).collect();
    if let (true, Some(filter)) = (told.is_empty(), filter) {
        bail!("no story has `{filter}` in its name");
    }
    told.into_iter().try_for_each(|(lab, stories)| on_nodes(lab, stories, filter, keep))
}

/// Components out of a registry that others wrote.
fn real_registry() -> Result<()> {
    let folder = lab::packages::unpack("docker-registry")?;
    // All packages, as they were compiled for the other tests.
    let arguments = ["test", "--workspace", "--lib", "--locked", "--", "--ignored", "real_registry"];
    let mut test = command::cargo(&places::checkout(), arguments);
    command::show(test.env("KUBEZT_DOCKER_REGISTRY", folder.join("usr/bin/docker-registry")))
}

/// Tells stories on a fresh lab, which is gone afterwards.
fn on_nodes(name: &str, stories: &str, filter: Option<&str>, keep: bool) -> Result<()> {
    let lab = LabArgument { lab: name.to_owned() };
    let tested = report::timed(&format!("fresh lab {name}"), || lab.open()?.fresh())
        // The lab is not open meanwhile: tests may ask for fresh nodes themselves.
        .and_then(|()| {
            report::timed(&format!("stories on lab {name}"), || {
                let mut tests = story_test(stories);
                tests.args(["--test-threads=1", "--nocapture"]).args(filter);
                tests.env("KUBEZT_BINARY", places::binary()).env("KUBEZT_LAB", lab::folder(name));
                lab::label(&mut tests, name);
                command::show(&mut tests)
            })
        });
    let removed =
        if keep { Ok(()) } else { report::timed(&format!("lab {name} is down"), || lab.open()?.down()) };
    tested.and(removed)
}

/// Whether a story's name contains this. Where that cannot be told, telling them shows why.
fn has_story(stories: &str, filter: &str) -> bool {
    let listed = story_test(stories).args(["--list", filter]).output();
    listed.is_ok_and(|listed| {
        !listed.status.success() || String::from_utf8_lossy(&listed.stdout).contains(": test")
    })
}

fn story_test(stories: &str) -> std::process::Command {
    let arguments =
        ["test", "--locked", "--package", "kubezt-tests", "--features", "nodes", "--test", stories, "--"];
    command::cargo(&places::checkout(), arguments)
}
