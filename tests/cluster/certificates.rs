//! Renewal while the cluster is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail, ensure};

use crate::World;
use crate::install::{KUBECONFIG, kubeconfig};

/// Every leaf is issued anew while requests, exec and logs are called: every new call succeeds, nothing restarts.
pub fn renewal_under_load(world: &World) -> Result<()> {
    kubeconfig(world)?;
    let coredns = world.lab.kubectl(
        KUBECONFIG,
        "-n kube-system get pods -l k8s-app=kube-dns --field-selector=status.phase=Running -o jsonpath={.items[0].metadata.name}",
    )?;
    let agent = world.lab.kubectl(
        KUBECONFIG,
        "-n kube-system get pods -l k8s-app=cilium --field-selector=status.phase=Running -o jsonpath={.items[0].metadata.name}",
    )?;
    let calls = [
        "get --raw /readyz".to_owned(),
        "get nodes -o name".to_owned(),
        format!("-n kube-system logs {} --tail=1", coredns.trim()),
        format!("-n kube-system exec {} -c cilium-agent -- /bin/true", agent.trim()),
    ];
    let before = world.lab.process_starts()?;
    let serial = serial(world)?;
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let (world, stop, count) = (world.clone(), Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || -> Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    world.lab.kubectl(KUBECONFIG, &call)?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    let run = world.kubezt.run("certs", &["renew"]);
    // Clients read renewed files again for some seconds after the run.
    thread::sleep(std::time::Duration::from_secs(5));
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        match caller.join() {
            Ok(result) => result?,
            Err(_) => bail!("a caller panicked"),
        }
    }
    let run = run?;
    ensure!(run.code == 0, "certs renew: {}\n{}", run.code, run.stderr);
    ensure!(count.load(Ordering::Relaxed) >= 8, "only {} calls were made", count.load(Ordering::Relaxed));
    ensure!(serial != self::serial(world)?, "the API server's certificate is the old one");
    let after = world.lab.process_starts()?;
    ensure!(before == after, "processes differ:\n{before}\n{after}");
    Ok(())
}

/// Digest of the certificate the API server has on disk.
fn serial(world: &World) -> Result<String> {
    world.lab.shell(world.lab.control_plane(), "sha256sum /etc/kubernetes/pki/apiserver.crt")
}
