//! Waiting until something holds.

use std::time::Duration;

use kubezt_model::action::Condition;
use kubezt_model::health::ApiServerAnswer;
use kubezt_model::node::ProcessReading;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::Applied;
use crate::node::{NodeError, NodeRoot, files, processes, serve};

/// Between two looks; short, because every wait is on the way of an install.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(2);
/// Between two reports.
const REPORT: Duration = Duration::from_secs(3);

/// How long a process that ran before and has the right arguments is taken for the old one. kubelet notices a manifest
/// at once, or when it looks at all of them every 20 s; after that nothing is coming, because the change did not concern
/// the pod.
const REPLACEMENT: Duration = Duration::from_secs(25);

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
    let before = processes_before(root, condition)?;
    until_without(root, condition, before, Some(REPLACEMENT), seconds, progress).await
}

/// As [`until`], where the processes `before` are those a static pod is to be rid of; after `forgotten` they may be what is
/// waited for.
///
/// # Errors
/// As [`until`].
pub(super) async fn until_without(
    root: &NodeRoot,
    condition: &Condition,
    mut before: Vec<u32>,
    forgotten: Option<Duration>,
    seconds: u32,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<Applied, NodeError> {
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let mut report = Instant::now() + REPORT;
    let start = Instant::now();
    loop {
        if forgotten.is_some_and(|after| start.elapsed() >= after) {
            before.clear();
        }
        let last = match look(root, condition, &before).await? {
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
async fn look(
    root: &NodeRoot,
    condition: &Condition,
    before: &[u32],
) -> Result<Result<(), String>, NodeError> {
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
        Condition::EtcdCurrent => super::etcd::look(root).await,
        Condition::ApiServerReady { address } => Ok(match serve::ask_server(root, *address).await? {
            Some(ApiServerAnswer::Ready | ApiServerAnswer::Refused(_)) => Ok(()),
            Some(answer) => Err(format!("it {answer}")),
            None => Err("the node's balancer has not been told how to ask".to_owned()),
        }),
        Condition::StaticPodCurrent { name, manifest } => static_pod(root, name, manifest, before),
    }
}

/// Processes of a static pod when the waiting begins. Its manifest was written a moment ago, so these are the old ones.
fn processes_before(root: &NodeRoot, condition: &Condition) -> Result<Vec<u32>, NodeError> {
    let Condition::StaticPodCurrent { name, .. } = condition else { return Ok(Vec::new()) };
    Ok(processes::named(root, name)?.iter().map(|process| process.pid).collect())
}

/// Whether a process that is not one of those `before` runs with exactly the arguments the manifest names.
fn static_pod(
    root: &NodeRoot,
    name: &str,
    manifest: &str,
    before: &[u32],
) -> Result<Result<(), String>, NodeError> {
    match command(root, name, manifest)? {
        Some(wanted) => Ok(is_current(&processes::named(root, name)?, &wanted, before)),
        None => Ok(Err(format!("{manifest} is not there"))),
    }
}

/// Command and arguments a static pod's manifest names; `None` where there is no manifest.
pub(super) fn command(root: &NodeRoot, name: &str, manifest: &str) -> Result<Option<Vec<String>>, NodeError> {
    let path = root.path(manifest)?;
    let Some(text) = files::text(&path)? else { return Ok(None) };
    command_of(&text, name).map(Some).map_err(|why| NodeError::Configuration { path, why })
}

/// An old process may still be ending beside the new one, so one that fits is enough. Arguments alone do not tell the
/// two apart: a manifest may change in something else.
fn is_current(running: &[ProcessReading], wanted: &[String], before: &[u32]) -> Result<(), String> {
    let mut fitting = running.iter().filter(|process| process.arguments == wanted).peekable();
    if fitting.peek().is_none() {
        return Err(match running {
            [] => "it does not run".to_owned(),
            [first, ..] => format!("it runs with other arguments (process {})", first.pid),
        });
    }
    match fitting.all(|process| before.contains(&process.pid)) {
        true => Err("the process from before still runs".to_owned()),
        false => Ok(()),
    }
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

    #[test]
    fn a_process_from_before_is_not_the_one_that_was_asked_for() {
        let process = |pid, argument: &str| ProcessReading {
            pid,
            arguments: vec!["etcd".to_owned(), argument.to_owned()],
            uid: 0,
            started: 1,
            capabilities: "0".to_owned(),
            seccomp: 2,
        };
        let wanted = ["etcd".to_owned(), "--a=1".to_owned()];
        let current = |running: &[ProcessReading], before: &[u32]| is_current(running, &wanted, before);
        assert!(current(&[], &[]).is_err());
        assert!(current(&[process(7, "--a=2")], &[]).is_err());
        assert!(current(&[process(7, "--a=1")], &[7]).is_err());
        assert_eq!(current(&[process(7, "--a=1"), process(8, "--a=1")], &[7]), Ok(()));
        assert_eq!(current(&[process(7, "--a=1")], &[]), Ok(()));
    }
}
