//! Certificates that live for minutes, and nobody who renews them but the nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::load::{Load, Made};
use kubezt_tests::{Kubezt, Node};

use crate::World;

/// What leaves live here, as the setting says it.
const LIFETIME: &str = "20m";
/// Two such lives, and what is left of the first ones when the story begins.
const DURATION: Duration = Duration::from_secs(45 * 60);
/// Between two calls of one kind.
const PAUSE: Duration = Duration::from_secs(2);

/// Leaves of twenty minutes are lived through twice: nobody but the nodes renews them, every new request, log and command succeeds,
/// nothing restarts, every leaf was replaced twice at least, and there is nothing left to do.
pub fn twice(world: &World) -> Result<()> {
    world.lab.fresh()?;
    let kubezt = short_lived(world)?;
    kubezt.succeed("install", &[])?;
    let before = world.lab.process_starts()?;
    let mut seen = Seen::default();
    let load = Load::start(world, PAUSE)?;
    let end = Instant::now() + DURATION;
    while Instant::now() < end && !load.has_failed() {
        seen.look(world)?;
        thread::sleep(Duration::from_secs(60));
    }
    for Made { call, begun } in load.end()? {
        ensure!(begun.len() > 100, "`{call}` was made {} times only", begun.len());
    }
    seen.were_all_replaced(2)?;
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    kubezt.succeed("verify", &[])?;
    nothing_is_left_to_do(&kubezt)
}

/// A leaf that is due shows in a plan until its node has renewed it, which is a matter of minutes.
fn nothing_is_left_to_do(kubezt: &Kubezt) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5 * 60);
    loop {
        let plan = kubezt.run("plan", &["--exit-code"])?;
        if plan.code == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "something is left to do:\n{}", plan.stdout);
        thread::sleep(Duration::from_secs(30));
    }
}

/// kubezt on the lab's cluster file, with one more setting.
fn short_lived(world: &World) -> Result<Kubezt> {
    let text = fs_err::read_to_string(world.lab.cluster_file())?;
    let (before, after) = text.split_once("  settings:\n").context("the cluster file has no settings")?;
    let file: PathBuf = world.lab.path("short-lived.yaml");
    fs_err::write(&file, format!("{before}  settings:\n    pki.leafLifetime: {LIFETIME}\n{after}"))?;
    Ok(world.kubezt.on(file))
}

/// Leaves on the nodes that kubezt issued, and how many different ones were seen in each place.
#[derive(Default)]
struct Seen(BTreeMap<(String, String), Vec<String>>);

/// Each certificate file's name and the serial number of its first certificate, but for authorities.
const SERIALS: &str = "find /etc/kubernetes /etc/etcd/pki /etc/kubezt /var/lib/kubelet/pki -xdev -type f -name '*.crt' | sort | \
    while read -r file; do openssl x509 -in \"$file\" -noout -text | grep -q CA:TRUE || \
    echo \"$file $(openssl x509 -in \"$file\" -noout -serial)\"; done";

impl Seen {
    fn look(&mut self, world: &World) -> Result<()> {
        for node in &world.lab.nodes {
            self.look_at(world, node)?;
        }
        Ok(())
    }

    fn look_at(&mut self, world: &World, node: &Node) -> Result<()> {
        for line in world.lab.shell(node, SERIALS)?.lines() {
            let (file, serial) = line.split_once(' ').context("a line without a serial number")?;
            let serials = self.0.entry((node.name.clone(), file.to_owned())).or_default();
            if serials.last().is_none_or(|last| last != serial) {
                serials.push(serial.to_owned());
            }
        }
        Ok(())
    }

    fn were_all_replaced(&self, times: usize) -> Result<()> {
        ensure!(self.0.len() >= 8, "only {} leaves were seen", self.0.len());
        let few: Vec<String> = self
            .0
            .iter()
            .filter(|(_, serials)| serials.len() <= times)
            .map(|((node, file), serials)| format!("{node} {file}: {} times", serials.len() - 1))
            .collect();
        ensure!(few.is_empty(), "replaced less than {times} times:\n{}", few.join("\n"));
        Ok(())
    }
}
