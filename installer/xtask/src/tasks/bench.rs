//! `cargo xtask bench`: how long kubezt takes, next to what others take for the same on the same machine.
//!
//! On nodes that is kubeadm. Both sides start from new nodes with the same artifacts on them: programs in place, images in
//! containerd's store. Both are hardened, with the same values as far as kubeadm takes them (no host firewall, no balancer, no
//! certificates of a day there), and verified, kubeadm's by kube-bench, which asks less. What its side takes without that is a figure of
//! its own.
//!
//! The plain bench has one control-plane node and two workers; `--whole` adds what takes longer.
//!
//! | module | what it does |
//! |---|---|
//! | `artifacts` | what there is to put on nodes, by digest |
//! | `preload` | one folder of artifacts as nodes have them, copied to every node |
//! | `kubezt`, `kubeadm` | the two sides |
//! | `added`, `five_nodes` | a worker that is added; a control plane of three |
//! | `facts` | 200 hosts, next to Ansible |
//! | `balancer` | short connections through the balancer, next to HAProxy |
//! | `simulated` | fleets that no machine holds |
//! | `examples` | programs that measure with kubezt's own crates |
//! | `headroom` | a limit of this machine that three labs would meet |
//! | `measure` | wall time, memory and output of a program |
//! | `node` | commands and files on a node |

mod added;
mod artifacts;
mod balancer;
mod examples;
mod facts;
mod five_nodes;
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

use self::added::Added;
use self::balancer::Balancer;
use self::facts::Facts;
use self::five_nodes::FiveNodes;
use self::kubeadm::Kubeadm;
use self::kubezt::Kubezt;
use self::preload::Preloaded;
use self::simulated::Simulated;
use super::build;
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
    /// Also what takes longer: facts of 200 hosts, a worker that is added, three control-plane nodes and two workers
    #[arg(long, conflicts_with = "kubezt_only")]
    whole: bool,
    #[command(flatten)]
    only: Only,
}

/// One part alone.
#[derive(Debug, clap::Args)]
#[group(multiple = false, conflicts_with_all = ["kubezt_only", "whole"])]
struct Only {
    /// Only simulate the large fleets, with the times of the last bench where there was one, and write nothing
    #[arg(long)]
    simulated: bool,
    /// Only look at 200 hosts, next to Ansible, and write nothing
    #[arg(long)]
    facts: bool,
    /// Only measure the balancer, next to HAProxy, and write nothing
    #[arg(long)]
    balancer: bool,
    /// Only install three control-plane nodes and two workers, next to kubeadm, and write nothing
    #[arg(long)]
    five_nodes: bool,
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
    /// kubeadm init, two joins and the same Cilium and CoreDNS, hardened, and kube-bench on every node.
    kubeadm_1x2_seconds: f64,
    /// The above until nodes and workloads are ready: without kube-bench.
    kubeadm_1x2_unverified_seconds: f64,
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
    /// A worker that is added; a part of the whole bench.
    #[serde(flatten)]
    added: Option<Added>,
    /// Five nodes; likewise.
    #[serde(flatten)]
    five_nodes: Option<FiveNodes>,
    /// 200 hosts; likewise, and only where there is an Ansible.
    #[serde(flatten)]
    facts: Option<Facts>,
    /// The balancer, where there is an HAProxy.
    #[serde(flatten)]
    balancer: Option<Balancer>,
    /// Installs of large fleets.
    #[serde(flatten)]
    simulated: Simulated,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        build_for(arguments)?;
    }
    let folder = places::target().join("bench");
    let only = &arguments.only;
    if only.simulated {
        return show(&simulated::measure(&folder)?);
    }
    if only.facts {
        let folder = folder.join("facts");
        return facts::measure(&own_binary(&folder)?, &folder)?.map_or(Ok(()), |facts| show(&facts));
    }
    if only.balancer {
        let folder = folder.join("balancer");
        return balancer::measure(&own_binary(&folder)?, &folder)?.map_or(Ok(()), |balancer| show(&balancer));
    }
    if only.five_nodes {
        let folder = folder.join("five-nodes");
        let _headroom = headroom::Headroom::make()?;
        return show(&five_nodes::measure(&own_binary(&folder)?, folder)?);
    }

    let binary = own_binary(&folder)?;
    if arguments.kubezt_only {
        let _headroom = headroom::Headroom::make()?;
        Bench::new(LAB, folder, binary)?.kubezt_side(&OpenLab::open(LAB)?)?;
        return Ok(());
    }
    let figures = figures(&folder, &binary, arguments.whole)?;
    let target = places::target().join("bench.json");
    fs_err::write(&target, serde_json::to_string_pretty(&figures)? + "\n")?;
    show(&figures)?;
    report::line(&format!("written: {}", target.display()));
    Ok(())
}

/// Builds what the chosen parts need.
fn build_for(arguments: &Arguments) -> Result<()> {
    let only = &arguments.only;
    let labs: &[&str] = match () {
        () if only.facts || only.balancer => &[],
        () if only.five_nodes => &[five_nodes::LAB],
        () if arguments.whole => &[LAB, five_nodes::LAB],
        () => &[LAB],
    };
    if !only.simulated {
        build::for_labs(labs)?;
    }
    match () {
        () if only.simulated => examples::build(&[simulated::EXAMPLE]),
        () if only.balancer => examples::build(&[balancer::EXAMPLE]),
        () if only.facts || only.five_nodes || arguments.kubezt_only => Ok(()),
        () => examples::build(&[simulated::EXAMPLE, balancer::EXAMPLE]),
    }
}

/// Empties a folder and puts the binary there: a build meanwhile must not change what is measured.
fn own_binary(folder: &Path) -> Result<PathBuf> {
    remove(folder)?;
    fs_err::create_dir_all(folder)?;
    let binary = folder.join("kubezt");
    fs_err::copy(places::binary(), &binary)?;
    Ok(binary)
}

/// Measures everything; what needs no nodes comes first, since it fails soonest.
fn figures(folder: &Path, binary: &Path, whole: bool) -> Result<Figures> {
    let balancer = balancer::measure(binary, &folder.join("balancer"))?;
    let facts = if whole { facts::measure(binary, &folder.join("facts"))? } else { None };

    // Until the labs are down again.
    let _headroom = headroom::Headroom::make()?;
    let bench = Bench::new(LAB, folder.to_path_buf(), binary.to_path_buf())?;
    let open = OpenLab::open(LAB)?;
    let measured = bench.compare(&open).and_then(|compared| {
        let seconds = compared.kubezt.install.seconds;
        let added = || added::measure(&bench, &open, &compared.preloaded, seconds);
        let added = if whole { Some(added()?) } else { None };
        Ok((compared, added))
    });
    let removed = report::timed("lab bench is down", || open.down());
    let ((compared, added), ()) = (measured?, removed?);
    let five = || five_nodes::measure(binary, folder.join("five-nodes"));
    let five_nodes = if whole { Some(five()?) } else { None };

    let Compared { kubezt, kubeadm, .. } = compared;
    Ok(Figures {
        install_1x2_seconds: rounded(kubezt.install.seconds),
        install_1x2_vs_kubeadm: rounded(kubezt.install.seconds / kubeadm.verified),
        kubeadm_1x2_seconds: rounded(kubeadm.verified),
        kubeadm_1x2_unverified_seconds: rounded(kubeadm.ready),
        second_install_seconds: rounded(kubezt.second_install),
        verify_seconds: rounded(kubezt.verify.seconds),
        bytes_sent_per_node: kubezt.cost.bytes_sent,
        round_trips_per_node: kubezt.cost.round_trips,
        peak_mb: rounded(kubezt.install.peak_kib as f64 / 1024.0),
        added,
        five_nodes,
        facts,
        balancer,
        simulated: simulated::measure(folder)?,
    })
}

/// One lab in one run.
struct Bench {
    lab: Lab,
    /// Logs and rendered files of this run.
    folder: PathBuf,
    /// The kubezt that is measured.
    binary: PathBuf,
}

/// Both sides on the nodes of one lab.
struct Compared {
    kubezt: Kubezt,
    kubeadm: Kubeadm,
    preloaded: Preloaded,
}

impl Bench {
    fn new(lab: &str, folder: PathBuf, binary: PathBuf) -> Result<Self> {
        let lab = Inventory::load(&places::checkout())?.lab(lab)?.clone();
        Ok(Self { lab, folder, binary })
    }

    fn kubezt_side(&self, open: &OpenLab) -> Result<(Kubezt, Preloaded)> {
        report::timed("fresh nodes for kubezt", || open.fresh())?;
        // After the nodes, since making them anew empties the lab's part of the cache.
        let preloaded = report::timed("artifacts as nodes have them", || {
            Preloaded::make(self, artifacts::of_cluster(self)?)
        })?;
        report::timed("artifacts to the nodes", || preloaded.copy_to_nodes(self))?;
        Ok((kubezt::measure(self)?, preloaded))
    }

    /// kubezt and then kubeadm, each on new nodes.
    fn compare(&self, open: &OpenLab) -> Result<Compared> {
        let yardstick = kubeadm::yardstick(self)?;
        let (kubezt, preloaded) = self.kubezt_side(open)?;
        report::timed("fresh nodes for kubeadm", || open.fresh())?;
        report::timed("artifacts to the nodes", || preloaded.copy_to_nodes(self))?;
        let kubeadm = kubeadm::measure(self, &preloaded.artifacts, &yardstick)?;
        Ok(Compared { kubezt, kubeadm, preloaded })
    }

    /// What kubezt is given of the lab.
    fn files(&self) -> PathBuf {
        lab::folder(&self.lab.name)
    }

    fn journal_folder(&self) -> PathBuf {
        self.files().join(".kubezt/journal")
    }

    fn journals(&self) -> Result<Vec<PathBuf>> {
        journals_in(&self.journal_folder())
    }

    /// The measured kubezt with its arguments, on the lab's cluster file.
    fn kubezt(&self, arguments: &[&str]) -> std::process::Command {
        let mut kubezt = command::program(&self.binary, arguments);
        kubezt.current_dir(self.files());
        lab::label(&mut kubezt, &self.lab.name);
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
