//! Renewal while the cluster is used.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubezt_tests::load::{Load, Made};

use crate::World;

/// Every leaf is issued anew while requests, exec and logs are called: every new call succeeds, nothing restarts.
pub fn renewal_under_load(world: &World) -> Result<()> {
    let before = world.lab.process_starts()?;
    let old = SERVERS.iter().map(|server| served(world, server)).collect::<Result<Vec<_>>>()?;
    let load = Load::start(world, Duration::ZERO)?;
    let started = Instant::now();
    let run = world.kubezt.run("certs", &["renew"]);
    let ended = Instant::now();
    let taken_up = run.is_ok().then(|| taken_up(world, &old));
    // Whatever reads its files again only now and then does so while calls go on.
    thread::sleep(Duration::from_secs(5));
    for Made { call, begun } in load.end()? {
        let during = begun.iter().filter(|begun| (started..ended).contains(*begun)).count();
        let after = begun.iter().filter(|begun| **begun > ended).count();
        ensure!(
            during >= 1 && after >= 2,
            "`{call}` was made {during} times during the renewal and {after} after"
        );
    }
    let run = run?;
    ensure!(run.code == 0, "certs renew: {}\n{}", run.code, run.stderr);
    taken_up.unwrap_or(Ok(()))?;
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    Ok(())
}

/// Where servers listen on the control-plane node, and what they present certificates of.
const SERVERS: [(&str, u16); 3] = [("kube-apiserver", 6443), ("etcd", 2379), ("kubelet", 10250)];

/// How long servers may take to serve a renewed certificate.
const PATIENCE: Duration = Duration::from_secs(90);

/// Digest of the certificate a server presents now, asked as any client would.
fn served(world: &World, (name, port): &(&str, u16)) -> Result<String> {
    let node = world.lab.control_plane();
    let script = format!(
        "openssl s_client -connect {}:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        node.address
    );
    world.lab.shell(node, &script).with_context(|| format!("{name} presents no certificate"))
}

/// Waits until every server presents another certificate than before.
fn taken_up(world: &World, old: &[String]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut late = Vec::new();
        for (server, old) in SERVERS.iter().zip(old) {
            if served(world, server)? == *old {
                late.push(server.0);
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "after {} s the old certificate is served by {late:?}",
            PATIENCE.as_secs()
        );
        thread::sleep(Duration::from_millis(500));
    }
}
