//! `cargo xtask bench`: how long kubezt takes, next to kubeadm on the same nodes.
//!
//! Both sides start from new nodes with the same artifacts on them: programs in place, images in containerd's store. Nothing else is
//! prepared for kubezt, whose figure includes the verification at the end. kubeadm's nodes get more: containerd is configured and
//! runs before the clock starts. It stops when nodes and workloads are ready, whether or not a pod reaches a pod. Nothing is
//! hardened or verified there.
//!
//! | module | what it does |
//! |---|---|
//! | `artifacts` | what there is to put on nodes, by digest |
//! | `preload` | one folder of artifacts as nodes have them, copied to every node |
//! | `kubezt`, `kubeadm` | the two sides |
//! | `simulated` | fleets that no machine holds |
//! | `headroom` | a limit of this machine that three labs would meet |
//! | `measure` | wall time, memory and output of a program |
//! | `node` | commands and files on a node |

mod artifacts;
mod headroom;
mod kubeadm;
mod kubezt;
mod measure;
mod node;
mod preload;
mod simulated;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use self::preload::Preloaded;
use self::simulated::Simulated;
use super::{LabArgument, build};
use crate::inventory::{Inventory, Lab};
use crate::lab::{self, OpenLab};
use crate::{command, places, report};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Take the binary and the components that are there
    #[arg(long)]
    no_build: bool,
    /// Measure kubezt alone, write nothing, and leave its cluster up to be looked at
    #[arg(long)]
    kubezt_only: bool,
    /// Only simulate the large fleets, with the times of the last bench where there was one, and write nothing
    #[arg(long, conflicts_with = "kubezt_only")]
    simulated: bool,
}

/// The bench's own lab.
const LAB: &str = "bench";

/// What `target/bench.json` holds. Times are wall time, but for the simulated ones.
#[derive(Debug, Serialize)]
struct Figures {
    /// `kubezt install` of one control plane and two workers, verification included.
    install_1x2_seconds: f64,
    /// The above in units of `kubeadm_1x2_seconds`.
    install_1x2_vs_kubeadm: f64,
    /// kubeadm init, two joins and the same Cilium and CoreDNS, until nodes and workloads are ready.
    kubeadm_1x2_seconds: f64,
    /// `kubezt install --no-verify` where there is nothing to do.
    second_install_seconds: f64,
    /// `kubezt verify` alone.
    verify_seconds: f64,
    /// What the install sent to the node that it sent most to, kubezt itself included, artifacts not.
    bytes_sent_per_node: u64,
    /// Questions that the install waited for, at the node that it asked most.
    round_trips_per_node: u64,
    /// Largest resident memory of the installing process, in MiB.
    peak_mb: f64,
    /// Installs of large fleets.
    #[serde(flatten)]
    simulated: Simulated,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = places::target().join("bench");
    if !arguments.no_build && !arguments.simulated {
        build::for_labs(&[LAB])?;
    }
    if !arguments.no_build && !arguments.kubezt_only {
        simulated::build()?;
    }
    if arguments.simulated {
        return show(&simulated::measure(&folder)?);
    }
    remove(&folder)?;
    fs_err::create_dir_all(&folder)?;
    // A binary of our own: a build meanwhile must not change what is measured.
    let binary = folder.join("kubezt");
    fs_err::copy(places::binary(), &binary)?;

    // Until the lab is down again.
    let _headroom = headroom::Headroom::make()?;
    let open = LabArgument { lab: LAB.to_owned() }.open()?;
    let bench = Bench::new(folder, binary)?;
    if arguments.kubezt_only {
        bench.kubezt_side(&open)?;
        return Ok(());
    }
    let measured = bench.measure(&open);
    let removed = report::timed("lab bench is down", || open.down());
    let figures = measured?;
    removed?;

    let target = places::target().join("bench.json");
    fs_err::write(&target, serde_json::to_string_pretty(&figures)? + "\n")?;
    show(&figures)?;
    report::line(&format!("written: {}", target.display()));
    Ok(())
}

/// One run.
struct Bench {
    lab: Lab,
    /// Logs and rendered files of this run.
    folder: PathBuf,
    /// The kubezt that is measured.
    binary: PathBuf,
}

impl Bench {
    fn new(folder: PathBuf, binary: PathBuf) -> Result<Self> {
        let lab = Inventory::load(&places::checkout())?.lab(LAB)?.clone();
        Ok(Self { lab, folder, binary })
    }

    fn kubezt_side(&self, open: &OpenLab) -> Result<(kubezt::Kubezt, Preloaded)> {
        report::timed("fresh nodes for kubezt", || open.fresh())?;
        // After the nodes, since making them anew empties the lab's part of the cache.
        let preloaded = report::timed("artifacts as nodes have them", || {
            Preloaded::make(self, artifacts::of_cluster(self)?)
        })?;
        report::timed("artifacts to the nodes", || preloaded.copy_to_nodes(self))?;
        Ok((kubezt::measure(self)?, preloaded))
    }

    fn measure(&self, open: &OpenLab) -> Result<Figures> {
        let yardstick = artifacts::of_component(self, "kubeadm")?;
        let (kubezt, preloaded) = self.kubezt_side(open)?;
        let components = &preloaded.artifacts;

        report::timed("fresh nodes for kubeadm", || open.fresh())?;
        report::timed("artifacts to the nodes", || preloaded.copy_to_nodes(self))?;
        let kubeadm_seconds = kubeadm::measure(self, components, &yardstick)?;

        Ok(Figures {
            install_1x2_seconds: rounded(kubezt.install.seconds),
            install_1x2_vs_kubeadm: rounded(kubezt.install.seconds / kubeadm_seconds),
            kubeadm_1x2_seconds: rounded(kubeadm_seconds),
            second_install_seconds: rounded(kubezt.second_install.seconds),
            verify_seconds: rounded(kubezt.verify.seconds),
            bytes_sent_per_node: kubezt.cost.bytes_sent,
            round_trips_per_node: kubezt.cost.round_trips,
            peak_mb: rounded(kubezt.install.peak_kib as f64 / 1024.0),
            simulated: simulated::measure(&self.folder)?,
        })
    }

    /// The measured kubezt with its arguments, on the lab's cluster file.
    fn kubezt(&self, arguments: &[&str]) -> std::process::Command {
        let mut kubezt = command::program(&self.binary, arguments);
        kubezt.current_dir(lab::folder(LAB));
        lab::label(&mut kubezt, LAB);
        kubezt
    }
}

/// Prints the figures one below the other.
fn show(figures: &impl Serialize) -> Result<()> {
    let value = serde_json::to_value(figures)?;
    let figures = value.as_object().context("figures are an object")?;
    for (name, figure) in figures {
        report::line(&format!("  {name:<26}{:>14}", figure.to_string()));
    }
    Ok(())
}

/// Journals of runs in a folder.
fn journals_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths: std::io::Result<Vec<_>> = fs_err::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jsonl");
    Ok(paths?.into_iter().filter(is_journal).collect())
}

/// To milliseconds: the rest is noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs_err::remove_dir_all(folder)?;
    }
    Ok(())
}
