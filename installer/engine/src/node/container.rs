//! A static pod's container, run once beside kubelet.
//!
//! It has what the pod's manifest gives it (image, user, folders, the host's network, a read-only root, no new rights), and
//! other arguments.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::command::run;
use super::{NodeError, NodeRoot};

/// Where the runtime keeps kubelet's images.
const NAMESPACE: [&str; 2] = ["--namespace", "k8s.io"];
/// Lines of output that are kept, the last ones.
const KEPT: usize = 12;
/// How long the process may take to end in its own time.
const GRACE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(30);

/// What a static pod's manifest says of its first container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainer {
    /// Image reference.
    pub image: String,
    /// Numeric user and group.
    pub user: (u64, u64),
    /// Folder on the host, folder in the container, whether it is read-only.
    pub mounts: Vec<(String, String, bool)>,
    /// Command and arguments.
    pub command: Vec<String>,
}

impl PodContainer {
    /// Reads it from the manifest's text.
    ///
    /// # Errors
    /// What is missing in the manifest.
    pub fn parse(manifest: &str) -> Result<Self, String> {
        let pod: Value = kubezt_model::yaml::read("manifest", manifest)
            .map_err(|_| "it is not one YAML document".to_owned())?;
        let spec = &pod["spec"];
        let container = &spec["containers"][0];
        let text = |value: &Value, what: &str| {
            value.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("it names no {what}"))
        };
        let id = |field: &str| {
            let found =
                [container, spec].into_iter().find_map(|part| part["securityContext"][field].as_u64());
            found.ok_or_else(|| format!("it names no {field}"))
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let volumes = list(&spec["volumes"]);
        let mounts = list(&container["volumeMounts"]).into_iter().map(|mount| {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let host = text(&volume.unwrap_or(&Value::Null)["hostPath"]["path"], "folder of a volume")?;
            Ok((host, text(&mount["mountPath"], "mountPath")?, mount["readOnly"] == true))
        });
        Ok(Self {
            image: text(&container["image"], "image")?,
            user: (id("runAsUser")?, id("runAsGroup")?),
            mounts: mounts.collect::<Result<_, String>>()?,
            command: list(&container["command"])
                .iter()
                .map(|word| text(word, "command"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The value of an argument.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.command.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A container that runs. It is stopped by [`Running::stop`]; one that an earlier run left behind is removed by the next
/// [`start`] under its id.
pub struct Running {
    root: NodeRoot,
    id: &'static str,
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

/// Starts the container under this id with these arguments after its own, which win over them.
///
/// # Errors
/// The runtime does not answer.
pub async fn start(
    root: &NodeRoot,
    id: &'static str,
    container: &PodContainer,
    arguments: &[String],
) -> Result<Running, NodeError> {
    remove_left_over(root, id).await;
    let user = format!("{}:{}", container.user.0, container.user.1);
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|(host, inside, read_only)| {
            let options = if *read_only { "rbind:ro" } else { "rbind:rw" };
            format!("--mount=type=bind,src={host},dst={inside},options={options}")
        })
        .collect();
    let options = ["run", "--rm", "--net-host", "--read-only", "--seccomp", "--user", &user];
    let mut child = Command::new(root.program("ctr")?)
        .args(NAMESPACE)
        .args(options)
        .args(&mounts)
        .args([&container.image, id])
        .args(container.command.iter().chain(arguments))
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| NodeError::Run { command: format!("ctr run {id}"), source })?;
    let output = Arc::new(Mutex::new(Vec::new()));
    if let Some(stderr) = child.stderr.take() {
        let output = Arc::clone(&output);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = output.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                kept.push(line);
            }
        });
    }
    Ok(Running { root: root.clone(), id, child, output })
}

impl Running {
    /// Whether it still runs; otherwise why it ended.
    ///
    /// # Errors
    /// [`NodeError::Command`] with the end of what it said.
    pub fn alive(&mut self) -> Result<(), NodeError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(NodeError::Command {
                command: self.id.to_owned(),
                status: status.to_string(),
                output: super::command::separated(&self.said()),
            }),
            Err(source) => Err(NodeError::Run { command: self.id.to_owned(), source }),
        }
    }

    /// The last lines it said.
    pub fn said(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Lets it end in its own time, and removes what is left.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn stop(mut self) -> Result<(), NodeError> {
        let end = ["tasks", "kill", "--signal", "SIGTERM", self.id];
        run(&self.root, "ctr", &[&NAMESPACE[..], &end].concat(), LIMIT).await?;
        if timeout(GRACE, self.child.wait()).await.is_err() {
            remove_left_over(&self.root, self.id).await;
        }
        Ok(())
    }
}

/// Removes a container of this id, whatever state it is in; there is none in the usual case.
async fn remove_left_over(root: &NodeRoot, id: &str) {
    if run(root, "ctr", &[&NAMESPACE[..], &["containers", "info", id]].concat(), LIMIT).await.is_err() {
        return;
    }
    for command in
        [&["tasks", "delete", "--force", id][..], &["containers", "delete", id], &["snapshots", "remove", id]]
    {
        // Each of them fails where it is too late for it.
        let _ = run(root, "ctr", &[&NAMESPACE[..], command].concat(), LIMIT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_what_its_manifest_says() {
        let manifest = "\
spec:
  securityContext: {runAsUser: 2379, runAsGroup: 2380}
  containers:
  - image: etcd:1
    command: [etcd, --name=a, '--data-dir=/var/lib/etcd']
    volumeMounts:
    - {name: pki, mountPath: /pki, readOnly: true}
    - {name: data, mountPath: /var/lib/etcd}
  volumes:
  - {name: data, hostPath: {path: /var/lib/etcd}}
  - {name: pki, hostPath: {path: /etc/etcd/pki}}
";
        let container = PodContainer::parse(manifest).unwrap();
        assert_eq!((container.image.as_str(), container.user), ("etcd:1", (2379, 2380)));
        let mount = |host: &str, inside: &str, read_only| (host.to_owned(), inside.to_owned(), read_only);
        let wanted = [mount("/etc/etcd/pki", "/pki", true), mount("/var/lib/etcd", "/var/lib/etcd", false)];
        assert_eq!(container.mounts, wanted);
        assert_eq!(container.argument("--data-dir"), Some("/var/lib/etcd"));
        assert_eq!(container.argument("--data"), None);
        for without in
            ["image: etcd:1", "runAsUser: 2379, ", "- {name: pki, hostPath: {path: /etc/etcd/pki}}"]
        {
            assert!(PodContainer::parse(&manifest.replace(without, "")).is_err(), "{without}");
        }
        assert!(PodContainer::parse("{").is_err());
    }
}
