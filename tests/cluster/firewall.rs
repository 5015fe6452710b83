//! The host firewall, and changes that undo themselves.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::kubezt::{findings, verdict};
use kubezt_tests::{Node, tamper};

use crate::World;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The table as the node's kernel holds it.
const LISTING: &str = "nft list table inet kubezt";

/// Every node has its table. From this machine, which is no node, the cluster's own ports cannot be reached, and nodes reach each
/// other's. A table that was cleared turns one requirement red, install loads it again, and a node that restarts has it at once.
pub fn closed_to_others(world: &World) -> Result<()> {
    let (lab, kubezt) = (&world.lab, &world.kubezt);
    let report = lab.path("firewall.json");
    let verified = kubezt.run("verify", &["--report", &format!("json={}", report.display())])?;
    let tried: Vec<_> = findings(&report)?
        .into_iter()
        .filter(|finding| finding["requirement"] == "node-firewall" && finding["method"] == "probe")
        .collect();
    let held = tried.iter().filter(|finding| verdict(finding) == "pass").count();
    ensure!(held == lab.nodes.len(), "{held} probes passed: {tried:?}\n{}", verified.stdout);

    let (first, worker) = (lab.control_plane(), lab.worker());
    ensure!(reaches(first, 6443)?, "this machine does not reach the API");
    for (node, port) in [(first, 2379), (first, 2380), (first, 10250), (worker, 10250)] {
        ensure!(!reaches(node, port)?, "this machine reaches port {port} of {}", node.name);
    }
    for (from, to, port) in [(worker, first, 2379), (worker, first, 10250), (first, worker, 10250)] {
        let script = format!("timeout 5 bash -c \"</dev/tcp/{}/{port}\"", to.address);
        lab.shell(from, &script).with_context(|| format!("{} to port {port} of {}", from.name, to.name))?;
    }

    lab.shell(worker, "nft flush table inet kubezt")?;
    let (red, said) = tamper::red(kubezt, lab)?;
    let expected = ["node-firewall@", "node-firewall/probe@"].map(|id| format!("{id}{}", worker.name));
    ensure!(red == BTreeSet::from(expected), "{red:?}:\n{said}");
    kubezt.succeed("install", &["--no-verify"])?;
    let (red, said) = tamper::red(kubezt, lab)?;
    ensure!(red.is_empty(), "install did not mend {red:?}:\n{said}");
    let plan = kubezt.run("plan", &["--exit-code"])?;
    ensure!(plan.code == 0, "not converged:\n{}", plan.stdout);

    let before = lab.shell(worker, LISTING)?;
    lab.switch_off(worker)?;
    lab.switch_on(worker)?;
    ensure!(lab.shell(worker, LISTING)? == before, "the node came back without its firewall");
    ensure!(!reaches(worker, 10250)?, "kubelet's port is open after a restart");
    Ok(())
}

/// An nft that loads what it is told and then, once, closes SSH to new connections: what a firewall that fits nobody's network does.
const CUTS: &str = "cat >/usr/local/sbin/nft <<PROGRAM\n\
    #!/bin/sh\n\
    /usr/sbin/nft \"\\$@\" || exit\n\
    if [ \"\\$1\" = -f ] && [ ! -e /run/story-cut ]; then\n\
      touch /run/story-cut\n\
      /usr/sbin/nft insert rule inet kubezt input tcp dport 22 ct state new drop\n\
    fi\n\
    PROGRAM\n\
    chmod 755 /usr/local/sbin/nft; rm -f /run/story-cut";

/// A firewall that would cut the operator off is gone within a minute, whether kubezt lives to see it or not, and the one before it
/// is back. The next install loads what is wanted.
pub fn undone(world: &World) -> Result<()> {
    let (lab, kubezt, worker) = (&world.lab, &world.kubezt, world.lab.worker());
    // Another table than the wanted one, so that there is something to change and something to come back.
    let other = "nft insert rule inet kubezt input tcp dport 4240 accept";
    lab.shell(worker, other)?;
    let before = lab.shell(worker, LISTING)?;

    lab.shell(worker, CUTS)?;
    let began = Instant::now();
    let run = kubezt.run("install", &["--no-verify"])?;
    let took = began.elapsed();
    let said = run.stderr.contains("not confirmed over a new connection")
        && run.stderr.contains("the node has undone it");
    ensure!(run.code != 0 && said, "exit code {}:\n{}", run.code, run.stderr);
    ensure!(took < Duration::from_secs(150), "the install took {} s to fail", took.as_secs());
    ensure!(lab.shell(worker, LISTING)? == before, "the table is not the one that was there before");

    lab.shell(worker, "rm -f /run/story-cut")?;
    let mut child = kubezt.start("install", &["--no-verify"])?;
    let closed = wait_for(worker, false, Duration::from_secs(60));
    child.kill()?;
    child.wait()?;
    closed.context("SSH was never closed")?;
    let began = Instant::now();
    wait_for(worker, true, Duration::from_secs(75)).context("nobody undid it")?;
    let took = began.elapsed();
    ensure!(took > Duration::from_secs(20), "undone after {} s: not by the timer", took.as_secs());
    ensure!(lab.shell(worker, LISTING)? == before, "the table is not the one that was there before");
    let left = lab.shell(worker, "ls /run | grep kubezt-undo || true")?;
    ensure!(left.is_empty(), "left over: {left}");

    lab.shell(worker, "rm -f /usr/local/sbin/nft /run/story-cut")?;
    kubezt.succeed("install", &["--no-verify"])?;
    let plan = kubezt.run("plan", &["--exit-code"])?;
    ensure!(plan.code == 0, "not converged:\n{}", plan.stdout);
    ensure!(lab.shell(worker, LISTING)? != before, "the wanted table is not loaded");
    Ok(())
}

/// Whether a new connection from this machine to a port of a node is made.
fn reaches(node: &Node, port: u16) -> Result<bool> {
    let address = SocketAddr::new(node.address.parse()?, port);
    Ok(TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

/// Waits until SSH is open to new connections, or closed.
fn wait_for(node: &Node, open: bool, limit: Duration) -> Result<()> {
    let began = Instant::now();
    while reaches(node, 22)? != open {
        ensure!(began.elapsed() < limit, "not within {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
