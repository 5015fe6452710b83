//! Tasks of this repository: `cargo xtask <task>`.
//!
//! | module | what it does |
//! |---|---|
//! | `inventory` | reads `vagrant/inventory.yaml`: which labs, which nodes |
//! | `cluster` | derives a lab's `cluster.yaml` from `vagrant/cluster.yaml` |
//! | `lab` | packages, boxes, bridge, nodes and files of one lab |
//! | `tasks` | one file for each task |
//! | `places`, `command`, `report` | where things are, running programs, what is printed |
//!
//! Outside the checkout's `target` folder, tasks write to `$XDG_CACHE_HOME/kubezt` (`~/.cache/kubezt`), and, while a lab is up, LXC keeps
//! its containers in its own folder (`/var/lib/lxc`).

mod cluster;
mod command;
mod inventory;
mod lab;
mod places;
mod report;
mod tasks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the kubezt repository", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring a lab up: whatever is missing of packages, boxes, bridge and nodes
    Up(tasks::up::Arguments),
    /// Give a lab new bare nodes
    Fresh(tasks::fresh::Arguments),
    /// Remove a lab, and whatever a killed run left of it
    Down(tasks::down::Arguments),
    /// Build what a cluster is made of: the static binary, the components, the boxes
    Build(tasks::build::Arguments),
    /// Formatting, lints and every test that needs no node
    Check(tasks::check::Arguments),
    /// Everything: `check`, then the tests on real nodes
    Test(tasks::test::Arguments),
    /// Stories on real nodes that take longer than an hour: kills all over, short-lived leaves, from profile to profile
    Soak(tasks::soak::Arguments),
    /// Build, three bare nodes, `kubezt install --profile stig`
    Demo(tasks::demo::Arguments),
    /// Measure kubezt next to kubeadm on the same nodes, into target/bench.json
    Bench(tasks::bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Up(arguments) => tasks::up::run(&arguments),
        Task::Fresh(arguments) => tasks::fresh::run(&arguments),
        Task::Down(arguments) => tasks::down::run(&arguments),
        Task::Build(arguments) => tasks::build::run(&arguments),
        Task::Check(arguments) => tasks::check::run(&arguments),
        Task::Test(arguments) => tasks::test::run(&arguments),
        Task::Soak(arguments) => tasks::soak::run(&arguments),
        Task::Demo(arguments) => tasks::demo::run(&arguments),
        Task::Bench(arguments) => tasks::bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
