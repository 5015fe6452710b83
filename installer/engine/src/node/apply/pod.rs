//! Static pods, which kubelet starts and this program only ends.

use std::time::Duration;

use kubezt_model::action::Condition;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{Applied, wait};
use crate::node::{NodeError, NodeRoot, processes};

/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks the pod's process to end, kills it where it has not after `grace`, and waits until kubelet has started another one.
///
/// # Errors
/// [`NodeError`] where there is no manifest, the process cannot be told to end, or no other one comes in time.
pub async fn restart(
    root: &NodeRoot,
    name: String,
    manifest: String,
    grace: Duration,
    seconds: u32,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Applied, NodeError> {
    // Another program of the same name that somebody else runs is none of our business.
    let command = wait::command(root, &name, &manifest)?.unwrap_or_default();
    let before: Vec<u32> = processes::named(root, &name)?
        .into_iter()
        .filter(|process| process.arguments == command)
        .map(|process| process.pid)
        .collect();
    signal(&name, &before, Signal::TERM)?;
    let end = Instant::now() + grace;
    let left = || -> Result<Vec<u32>, NodeError> {
        let pids = processes::named(root, &name)?.into_iter().map(|process| process.pid);
        Ok(pids.filter(|pid| before.contains(pid)).collect())
    };
    while Instant::now() < end && !left()?.is_empty() {
        sleep(PAUSE).await;
    }
    signal(&name, &left()?, Signal::KILL)?;
    let current = Condition::StaticPodCurrent { name, manifest };
    wait::until_without(root, &current, before, None, seconds, progress).await?;
    Ok(Applied::changed(true))
}

fn signal(name: &str, pids: &[u32], signal: Signal) -> Result<(), NodeError> {
    for pid in pids {
        let Some(target) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        match kill_process(target, signal) {
            // It ended by itself.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                return Err(NodeError::Signal { name: name.to_owned(), pid: *pid, source: error.into() });
            }
        }
    }
    Ok(())
}
