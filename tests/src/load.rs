//! Calls that are made all the time while something happens to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::World;

/// Requests of each kind, a caller each: to the API, and through it to kubelets for logs and a command in a container.
pub struct Load {
    callers: Vec<JoinHandle<Result<Made>>>,
    stop: Arc<AtomicBool>,
}

/// What one caller made, all of which succeeded.
pub struct Made {
    /// The call, as kubectl's arguments.
    pub call: String,
    /// When each began.
    pub begun: Vec<Instant>,
}

impl Load {
    /// Begins, with `pause` between two calls of one kind.
    ///
    /// # Errors
    /// The cluster does not say which pods there are.
    pub fn start(world: &World, pause: Duration) -> Result<Self> {
        world.kubeconfig()?;
        let pod_of = |label: &str| {
            world.kubectl(&format!(
                "-n kube-system get pods -l k8s-app={label} --field-selector=status.phase=Running \
                 -o jsonpath={{.items[0].metadata.name}}"
            ))
        };
        let (server, agent) = (pod_of("kube-dns")?, pod_of("cilium")?);
        let calls = [
            "get --raw /readyz".to_owned(),
            "get nodes -o name".to_owned(),
            format!("-n kube-system logs {} --tail=1", server.trim()),
            format!("-n kube-system exec {} -c cilium-agent -- /bin/true", agent.trim()),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let callers = calls
            .into_iter()
            .map(|call| {
                let (world, stop) = (world.clone(), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut begun = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        begun.push(Instant::now());
                        world.kubectl(&call).with_context(|| format!("call {}", begun.len()))?;
                        thread::sleep(pause);
                    }
                    Ok(Made { call, begun })
                })
            })
            .collect();
        Ok(Self { callers, stop })
    }

    /// Whether a call has failed already.
    pub fn has_failed(&self) -> bool {
        self.callers.iter().any(JoinHandle::is_finished)
    }

    /// Ends.
    ///
    /// # Errors
    /// A call failed.
    pub fn end(self) -> Result<Vec<Made>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.callers.into_iter().map(JoinHandle::join).collect();
        ended
            .into_iter()
            .map(|made| match made {
                Ok(made) => made,
                Err(_) => bail!("a caller panicked"),
            })
            .collect()
    }
}
