//! Containers of pods, whether or not kubelet and the runtime answer: from the logs kubelet keeps, and from what the runtime
//! writes down of each.
//!
//! ```text
//! /var/log/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log
//! /var/log/containers/….-ID.log -> the former
//! /var/lib/containerd/io.containerd.grpc.v1.cri/containers/ID/status
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kubezt_model::health::{ContainerReading, ContainerState};
use serde::Deserialize;

use super::log;
use crate::node::{NodeError, NodeRoot, files};

/// Logs by pod.
const PODS: &str = "/var/log/pods";
/// Names of logs that hold the container's id.
const NAMES: &str = "/var/log/containers";
/// What containerd's CRI plug-in keeps of each container (containerd: `internal/cri/store/container/status.go`).
const STATUS: &str = "/var/lib/containerd/io.containerd.grpc.v1.cri/containers";

/// Containers, by namespace, pod and name; `None` where kubelet never started one.
///
/// # Errors
/// [`NodeError::File`].
pub fn read(root: &NodeRoot) -> Result<Option<Vec<ContainerReading>>, NodeError> {
    let folder = root.known(PODS);
    if !folder.exists() {
        return Ok(None);
    }
    // A static pod whose manifest changed has a folder for each; the latest counts.
    let mut pods: BTreeMap<(String, String), (SystemTime, PathBuf)> = BTreeMap::new();
    for (name, path) in entries(&folder)? {
        let mut parts = name.splitn(3, '_');
        let (Some(namespace), Some(pod), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let Ok(changed) = path.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let latest = pods.entry((namespace.to_owned(), pod.to_owned())).or_insert((changed, path.clone()));
        if changed > latest.0 {
            *latest = (changed, path);
        }
    }
    let ids = ids(root)?;
    let mut containers = Vec::new();
    for ((namespace, pod), (_, folder)) in pods {
        for (name, logs) in entries(&folder)? {
            let Some((restarts, log)) = latest(&logs)? else { continue };
            let key =
                format!("{}/{name}/{restarts}.log", folder.file_name().unwrap_or_default().to_string_lossy());
            let state = ids.get(&key).map_or(ContainerState::Unknown, |id| state(root, id));
            // What runs again has said before why it ended.
            let before = match (&state, restarts.checked_sub(1)) {
                (ContainerState::Running, Some(before)) => Some(logs.join(format!("{before}.log"))),
                (ContainerState::Running, None) => None,
                _ => Some(log),
            };
            let said = before.and_then(|log| log::container(&log).ok()).unwrap_or_default();
            let (namespace, pod) = (namespace.clone(), pod.clone());
            containers.push(ContainerReading { namespace, pod, name, state, restarts, said });
        }
    }
    Ok(Some(containers))
}

/// The log of the last start, and how many there were before.
fn latest(logs: &Path) -> Result<Option<(u32, PathBuf)>, NodeError> {
    let numbered = entries(logs)?
        .into_iter()
        .filter_map(|(name, path)| Some((name.strip_suffix(".log")?.parse::<u32>().ok()?, path)));
    Ok(numbered.max())
}

/// Ids of containers by the end of their log's path.
fn ids(root: &NodeRoot) -> Result<BTreeMap<String, String>, NodeError> {
    let folder = root.known(NAMES);
    let named = entries(&folder)?.into_iter().filter_map(|(name, path)| {
        let id = name.strip_suffix(".log")?.rsplit_once('-')?.1.to_owned();
        let target = std::fs::read_link(path).ok()?;
        let key = target.to_str()?.strip_prefix(PODS)?.strip_prefix('/')?.to_owned();
        Some((key, id))
    });
    Ok(named.collect())
}

/// What the runtime wrote down; numbers are 0 for what has not happened.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Status {
    pid: u32,
    created_at: i64,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    reason: String,
}

fn state(root: &NodeRoot, id: &str) -> ContainerState {
    let text = files::text(&root.known(STATUS).join(id).join("status")).ok().flatten();
    let Some(status) = text.and_then(|text| serde_json::from_str::<Status>(&text).ok()) else {
        return ContainerState::Unknown;
    };
    match status {
        Status { finished_at: 1.., exit_code, reason, .. } => {
            ContainerState::Exited { code: exit_code, reason }
        }
        Status { started_at: 1.., pid, .. } if root.known("/proc").join(pid.to_string()).exists() => {
            ContainerState::Running
        }
        Status { started_at: 1.., .. } => ContainerState::Gone,
        Status { created_at: 1.., .. } => ContainerState::Created,
        _ => ContainerState::Unknown,
    }
}

/// Names and paths in a folder, sorted; none where it is not there.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, NodeError> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(NodeError::file("read", folder)(error)),
    };
    let mut entries: Vec<(String, PathBuf)> = listed
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pod<'a> {
        root: &'a NodeRoot,
        folder: &'a str,
    }

    impl Pod<'_> {
        fn log(&self, container: &str, restarts: u32, id: &str, said: &str) {
            let log = format!("{PODS}/{}/{container}/{restarts}.log", self.folder);
            let path = self.root.path(&log).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("2026-01-01T00:00:00.5Z stderr F {said}\n")).unwrap();
            let names = self.root.known(NAMES);
            std::fs::create_dir_all(&names).unwrap();
            std::os::unix::fs::symlink(log, names.join(format!("pod_kube-system_{container}-{id}.log")))
                .unwrap();
        }

        fn status(&self, id: &str, status: &str) {
            let folder = self.root.known(STATUS).join(id);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("status"), status).unwrap();
        }
    }

    #[test]
    fn what_runs_what_ended_and_what_is_gone_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        assert_eq!(read(&root).unwrap(), None);
        std::fs::create_dir_all(root.known("/proc/7")).unwrap();
        let etcd = Pod { root: &root, folder: "kube-system_etcd-cp1_u1" };
        etcd.log("etcd", 0, "a0", "first");
        etcd.log("etcd", 1, "a1", "second: no space left");
        etcd.status("a1", r#"{"Version":"v1","Pid":0,"CreatedAt":1,"StartedAt":2,"FinishedAt":3,"ExitCode":2,"Reason":"Error"}"#);
        let api = Pod { root: &root, folder: "kube-system_kube-apiserver-cp1_u2" };
        api.log("kube-apiserver", 0, "b0", "etcd refused");
        api.log("kube-apiserver", 1, "b1", "now");
        api.status("b1", r#"{"Version":"v1","Pid":7,"CreatedAt":1,"StartedAt":2}"#);
        let agent = Pod { root: &root, folder: "kube-system_cilium-x_u3" };
        agent.log("cilium-agent", 0, "c0", "hello");
        agent.status("c0", r#"{"Version":"v1","Pid":8,"CreatedAt":1,"StartedAt":2}"#);
        agent.log("config", 0, "d0", "?");

        let found = read(&root).unwrap().unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.state.to_string(), one.restarts, one.said.join("|")))
            .collect();
        let at = |said: &str| format!("2026-01-01T00:00:00 {said}");
        assert_eq!(
            told,
            [
                ("cilium-agent", "has no process".to_owned(), 0, at("hello")),
                ("config", "is in an unknown state".to_owned(), 0, at("?")),
                ("etcd", "ended with code 2 (Error)".to_owned(), 1, at("second: no space left")),
                ("kube-apiserver", "runs".to_owned(), 1, at("etcd refused")),
            ]
        );
        assert!(found.iter().all(|one| one.namespace == "kube-system"));
    }
}
