//! Waiting until something holds.

use std::time::Duration;

use kubezt_model::action::Condition;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::Applied;
use crate::node::{NodeError, NodeRoot, files, processes};

/// Between two looks; short, because every wait is on the way of an install.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(2);
/// Between two reports.
const REPORT: Duration = Duration::from_secs(3);

/// Waits until the condition holds; nothing changes by waiting.
///
/// # Errors
/// [`NodeError::Waited`] with what was seen last.
pub async fn until(
    root: &NodeRoot,
    condition: &Condition,
    seconds: u32,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Applied, NodeError> {
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let mut report = Instant::now() + REPORT;
    loop {
        let last = match look(root, condition).await? {
            Ok(()) => return Ok(Applied::changed(false)),
            Err(last) => last,
        };
        if Instant::now() >= end {
            return Err(NodeError::Waited { what: condition.describe(), seconds, last });
        }
        if Instant::now() >= report {
            progress(format!("waiting for {}: {last}", condition.describe()));
            report = Instant::now() + REPORT;
        }
        sleep(PAUSE).await;
    }
}

/// One look: it holds, or what is so instead.
async fn look(root: &NodeRoot, condition: &Condition) -> Result<Result<(), String>, NodeError> {
    match condition {
        Condition::TcpOpen { address } => Ok(match timeout(LOOK, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }),
        Condition::SocketOpen { path } => {
            let path = root.path(path)?;
            Ok(match timeout(LOOK, UnixStream::connect(&path)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            })
        }
        Condition::StaticPodCurrent { name, manifest } => static_pod(root, name, manifest),
    }
}

/// Whether a process runs with exactly the arguments the manifest names.
///
/// An old process may still be ending beside it, so one that fits is enough.
fn static_pod(root: &NodeRoot, name: &str, manifest: &str) -> Result<Result<(), String>, NodeError> {
    let path = root.path(manifest)?;
    let Some(text) = files::text(&path)? else { return Ok(Err(format!("{manifest} is not there"))) };
    let wanted = command_of(&text, name).map_err(|why| NodeError::Configuration { path, why })?;
    let running = processes::named(root, name)?;
    Ok(match running.as_slice() {
        [] => Err("it does not run".to_owned()),
        running if running.iter().any(|process| process.arguments == wanted) => Ok(()),
        running => Err(format!("it runs with other arguments (process {})", running[0].pid)),
    })
}

/// Command and arguments of the container of this name, or of the first one.
fn command_of(manifest: &str, name: &str) -> Result<Vec<String>, String> {
    let pod: serde_json::Value = kubezt_model::yaml::read("manifest", manifest)
        .map_err(|_| "it is not one YAML document".to_owned())?;
    let containers = pod.pointer("/spec/containers").and_then(serde_json::Value::as_array);
    let container = containers
        .and_then(|list| list.iter().find(|container| container["name"] == name).or_else(|| list.first()))
        .ok_or_else(|| "it has no container".to_owned())?;
    let words: Vec<String> = ["command", "args"]
        .iter()
        .filter_map(|field| container[*field].as_array())
        .flatten()
        .filter_map(|word| word.as_str().map(ToOwned::to_owned))
        .collect();
    if words.is_empty() { Err("its container names no command".to_owned()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_command_and_arguments_of_the_container() {
        let manifest = "kind: Pod\nspec:\n  containers:\n  - name: other\n    command: [x]\n  - name: etcd\n    \
                        command: [etcd, --a=1]\n    args: [--b]\n";
        assert_eq!(command_of(manifest, "etcd").unwrap(), ["etcd", "--a=1", "--b"]);
        assert_eq!(command_of(manifest, "absent").unwrap(), ["x"]);
        assert!(command_of("kind: Pod\n", "etcd").is_err());
        assert!(command_of("{", "etcd").is_err());
    }
}
