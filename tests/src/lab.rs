//! The lab that `cargo xtask test` brought up.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

/// A lab: a folder with `cluster.yaml`, `known_hosts` and `passphrase`, and its nodes.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Its folder.
    pub folder: PathBuf,
    identity: PathBuf,
    /// Its nodes, control plane first.
    pub nodes: Vec<Node>,
    /// How many of them are of the control plane.
    control_planes: usize,
}

/// A node of the lab.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
}

/// How long a node may take from its start until it lets somebody in.
const BOOT: Duration = Duration::from_secs(180);

fn container(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl Lab {
    /// The lab named by `KUBEZT_LAB`.
    pub fn from_environment() -> Result<Self> {
        let folder = PathBuf::from(std::env::var("KUBEZT_LAB").context("KUBEZT_LAB names no lab folder")?);
        let text = fs::read_to_string(folder.join("cluster.yaml"))?;
        let file: serde_json::Value = kubezt_model::yaml::read("cluster.yaml", &text)?;
        let string = |pointer: &str| file.pointer(pointer).and_then(|value| value.as_str());
        let identity =
            string("/spec/ssh/identityFiles/0").context("the lab's cluster.yaml names no key")?.into();
        let entries = file
            .pointer("/spec/nodes")
            .and_then(|nodes| nodes.as_array())
            .context("the lab's cluster.yaml has no nodes")?;
        let control_planes = entries.iter().filter(|node| node["role"] == "control-plane").count();
        let nodes = entries
            .iter()
            .filter_map(|node| {
                Some(Node {
                    name: node.get("name")?.as_str()?.to_owned(),
                    address: node.pointer("/addresses/0")?.as_str()?.to_owned(),
                })
            })
            .collect();
        Ok(Self { folder, identity, nodes, control_planes })
    }

    /// The nodes of the control plane.
    pub fn control_planes(&self) -> &[Node] {
        &self.nodes[..self.control_planes]
    }

    /// The first control-plane node.
    pub fn control_plane(&self) -> &Node {
        &self.nodes[0]
    }

    /// The first worker.
    pub fn worker(&self) -> &Node {
        &self.nodes[1]
    }

    /// A file of the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The cluster file.
    pub fn cluster_file(&self) -> PathBuf {
        self.path("cluster.yaml")
    }

    /// Replaces every node by a bare one; the lab's folder starts anew.
    pub fn fresh(&self) -> Result<()> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
        let name = self.folder.file_name().and_then(|name| name.to_str()).context("the lab's name")?;
        let status = Command::new(env!("CARGO"))
            .args(["xtask", "fresh", "--lab", name])
            .current_dir(workspace)
            .status()?;
        if !status.success() {
            bail!("cargo xtask fresh --lab {name}: {status}");
        }
        Ok(())
    }

    /// Takes a node's power away: everything on it ends at once and tells nobody.
    pub fn switch_off(&self, node: &Node) -> Result<()> {
        container("lxc-stop", &["--kill", "--name", &node.name])
    }

    /// Gives a node its power back, and waits until it lets somebody in.
    pub fn switch_on(&self, node: &Node) -> Result<()> {
        container("lxc-start", &["--daemon", "--name", &node.name])?;
        let deadline = Instant::now() + BOOT;
        while let Err(error) = self.shell(node, "true") {
            if Instant::now() > deadline {
                return Err(error.context(format!("{} does not come back", node.name)));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Runs a shell script as root on a node that cannot be reached by SSH: on its console, so to speak.
    pub fn on_console(&self, node: &Node, script: &str) -> Result<()> {
        container("lxc-attach", &["--name", &node.name, "--", "sh", "-ec", script])
    }

    /// Runs a shell script as root on a node; answers with what it printed.
    pub fn shell(&self, node: &Node, script: &str) -> Result<String> {
        self.shell_with_input(node, script, "")
    }

    /// As [`Lab::shell`], for what must stand in no command line: the script reads it from standard input.
    pub fn shell_with_input(&self, node: &Node, script: &str, input: &str) -> Result<String> {
        let mut child = self
            .ssh(node)
            .arg(format!("sudo sh -ec '{}'", script.replace('\'', r"'\''")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Dropping the pipe at the end of the statement is what ends the input.
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "{} on {}: {}\n{}",
                output.status,
                node.name,
                String::from_utf8_lossy(&output.stderr),
                script
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn ssh(&self, node: &Node) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-i"])
            .arg(&self.identity)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.path("known_hosts").display()))
            .arg(format!("vagrant@{}", node.address));
        command
    }

    /// Start times of every process of the cluster on every node: equal before and after means nothing restarted.
    pub fn process_starts(&self) -> Result<String> {
        let mut all = String::new();
        for node in &self.nodes {
            let script = "for name in etcd kube-apiserver kube-controller kube-scheduler kubelet containerd cilium-agent \
                          cilium-operator coredns; do for pid in $(pgrep -x \"$name\" || true); do \
                          echo \"$name $pid $(cut -d\" \" -f22 /proc/$pid/stat)\"; done; done";
            all.push_str(&format!("{}\n{}", node.name, self.shell(node, script)?));
        }
        Ok(all)
    }

    /// kubectl on the control-plane node, with the kubeconfig of this path there.
    pub fn kubectl(&self, kubeconfig: &str, arguments: &str) -> Result<String> {
        let script = format!("/usr/local/bin/kubectl --kubeconfig {kubeconfig} {arguments}");
        self.shell(self.control_plane(), &script)
    }
}
