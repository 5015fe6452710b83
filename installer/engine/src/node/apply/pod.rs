//! Static pods, which kubelet starts and this program only ends.

use kubezt_model::action::Condition;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::{Applied, wait};
use crate::node::{NodeError, NodeRoot, processes};

/// Asks the pod's process to end, which it does in its own time, and waits until kubelet has started another one.
///
/// # Errors
/// [`NodeError`] where there is no manifest, the process cannot be told to end, or no other one comes in time.
pub async fn restart(
    root: &NodeRoot,
    name: String,
    manifest: String,
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
    for pid in &before {
        let Some(target) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        match kill_process(target, Signal::TERM) {
            // It ended by itself.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(NodeError::Signal { name, pid: *pid, source: error.into() }),
        }
    }
    let current = Condition::StaticPodCurrent { name, manifest };
    wait::until_without(root, &current, before, seconds, progress).await?;
    Ok(Applied::changed(true))
}
