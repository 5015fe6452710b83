//! kubeadm's side: `init`, all `join`s at once, and the Cilium that kubezt installs, on nodes with the same artifacts; hardened likewise,
//! and then verified by kube-bench, on all nodes at once.
//!
//! | module | what it does |
//! |---|---|
//! | `hardening` | arguments and files of the components |
//! | `kube_bench` | the verification |
//!
//! Where there are several control-plane nodes, what reaches the API is a name, as kubeadm wants it: every node knows it from its hosts
//! file, and it leads to the first one. A load balancer, which kubeadm leaves to the site, would be more work.

mod hardening;
mod kube_bench;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use serde_yaml::Value;

use self::hardening::mapping;
use super::artifacts::{self, Artifact};
use super::{Bench, node};
use crate::command::{program, quiet};
use crate::inventory::Node;
use crate::report;

/// kubeadm's files are on every node; they hold the bootstrap token and so are root's alone.
const CONFIGURATION: &str = "/root/kubeadm.yaml";
/// Folder of manifests on the control plane.
const MANIFESTS: &str = "/root/manifests";

/// Manifests of the cluster, as they are applied. Quotas (`rbac`) come first, without which no pod is let in. The kind of network policies
/// comes with Cilium; without them CoreDNS may not speak to anybody.
const PARTS: [&str; 6] = ["rbac", "namespaces", CILIUM, "coredns", "policies", "network-policies"];
/// The one that names the API server.
const CILIUM: &str = "cilium";

/// Name of the API where there are several servers (`controlPlaneEndpoint`).
const ENDPOINT: &str = "kubeadm-api";

/// Version of kubeadm's configuration.
const API: &str = "kubeadm.k8s.io/v1beta4";

/// Kernel parameters that kubezt renders.
const SYSCTLS: &str = "/etc/sysctl.d/90-kubezt.conf";

/// kubezt's defaults, so that its manifests fit.
const POD_SUBNET: &str = "10.244.0.0/16";
/// See [`POD_SUBNET`].
const SERVICE_SUBNET: &str = "10.96.0.0/16";

/// What unit and drop-in of kubeadm's own packages say, in one.
const KUBELET_UNIT: &str = "[Unit]
Description=kubelet
After=containerd.service

[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
  --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
";

/// What was measured, in seconds since nodes had the artifacts and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Kubeadm {
    /// Until all nodes are Ready and Cilium's agents and operator and CoreDNS are available, which is what kubezt waits for before it
    /// verifies. That a pod reaches a pod is not waited for, which kubezt does.
    pub ready: f64,
    /// Until kube-bench has ended everywhere.
    pub verified: f64,
}

/// What only this side needs on its nodes.
///
/// # Errors
/// A component cannot be obtained.
pub fn yardstick(bench: &Bench) -> Result<Vec<Artifact>> {
    let kubeadm = artifacts::of_component(bench, "kubeadm")?;
    Ok([kubeadm, artifacts::of_component(bench, kube_bench::COMPONENT)?].concat())
}

/// Brings a cluster up and verifies it.
///
/// # Errors
/// A command fails. What kube-bench finds is none.
pub fn measure(bench: &Bench, components: &[Artifact], yardstick: &[Artifact]) -> Result<Kubeadm> {
    let side = Side::new(bench)?;
    report::timed("kubeadm's own to the nodes", || side.place(components, yardstick))?;
    let started = Instant::now();
    report::timed("nodes ready for kubeadm", || side.configure())?;
    report::timed("kubeadm init, join, Cilium", || side.bring_up())?;
    let ready = started.elapsed().as_secs_f64();
    report::timed("kube-bench", || side.verify())?;
    Ok(Kubeadm { ready, verified: started.elapsed().as_secs_f64() })
}

struct Side<'a> {
    bench: &'a Bench,
    /// The control-plane node that is set up first.
    first: &'a Node,
    /// The nodes that join.
    others: Vec<&'a Node>,
    /// What `kubezt render` wrote, with the chart as it is for nodes that nobody prepared for it.
    rendered: PathBuf,
    /// The lab's cluster file.
    cluster: Value,
}

impl<'a> Side<'a> {
    fn new(bench: &'a Bench) -> Result<Self> {
        let rendered = bench.folder.join("rendered");
        let folder = rendered.to_str().context("the target folder is not UTF-8")?;
        let mut cluster: Value =
            serde_yaml::from_str(&fs_err::read_to_string(bench.files().join("cluster.yaml"))?)?;
        do_host_work_in_pods(&mut cluster)?;
        let file = bench.files().join("kubeadm.yaml");
        fs_err::write(&file, serde_yaml::to_string(&cluster)?)?;
        let file = file.to_str().context("the lab's folder is not UTF-8")?;
        quiet(&mut bench.kubezt(&["render", "--file", file, "--output", folder]))?;
        let (first, others) = bench.lab.nodes.split_first().context("a lab has nodes")?;
        ensure!(!is_worker(first), "the lab's first node is no control-plane node");
        Ok(Self { bench, first, others: others.iter().collect(), rendered, cluster })
    }

    /// Whether there is more than one control-plane node.
    fn is_highly_available(&self) -> bool {
        self.others.iter().any(|node| !is_worker(node))
    }

    /// Where nodes that join find the API.
    fn endpoint(&self) -> String {
        match self.is_highly_available() {
            true => format!("{ENDPOINT}:6443"),
            false => format!("{}:6443", self.first.address),
        }
    }

    fn on(&self, node: &str, words: &[&str]) -> Result<String> {
        quiet(&mut node::command(&self.bench.lab.name, node, words))
    }

    /// Puts on the nodes what an administrator brings along: programs, kube-bench's checks, and configuration that was written by hand
    /// once.
    fn place(&self, components: &[Artifact], yardstick: &[Artifact]) -> Result<()> {
        let checks = kube_bench::checks()?;
        for node in &self.bench.lab.nodes {
            for file in yardstick.iter().filter(|artifact| artifact.is_file()) {
                node::install(&node.name, &file.content()?, &file.target)?;
            }
            let target = node::path(&node.name, kube_bench::CHECKS);
            fs_err::create_dir_all(target.parent().context("the checks have a folder above them")?)?;
            quiet(program("cp", ["-r", "--no-preserve=mode"]).args([&checks, &target]))?;
        }
        let name = &self.first.name;
        node::write(name, CONFIGURATION, 0o600, &self.init_configuration(components)?)?;
        for part in PARTS {
            let mut manifests = self.cluster_file(part)?;
            if part == CILIUM {
                manifests = reached_at(&manifests, &self.first.address.to_string(), "6443")?;
            }
            node::write(name, &format!("{MANIFESTS}/{part}.yaml"), 0o644, &manifests)?;
        }
        quiet(&mut program::<&str>("sync", []))?;
        Ok(())
    }

    /// Prepares all nodes at once for kubeadm, which finds a container runtime that runs, and kubelet's unit.
    fn configure(&self) -> Result<()> {
        let encryption = hardening::encryption(&new_key()?);
        at_once(&self.bench.lab.nodes, |node| self.configure_node(node, &encryption))
    }

    fn configure_node(&self, node: &Node, encryption: &str) -> Result<()> {
        let name = &node.name;
        // The very configuration that kubezt gives containerd, so that the runtime makes no difference.
        for file in ["/etc/containerd/config.toml", "/etc/systemd/system/containerd.service", SYSCTLS] {
            node::write(name, file, 0o644, &self.rendered_file(name, file)?)?;
        }
        node::write(name, "/etc/systemd/system/kubelet.service", 0o644, KUBELET_UNIT)?;
        if self.is_highly_available() {
            let hosts = fs_err::read_to_string(node::path(name, "etc/hosts"))?;
            node::write(name, "/etc/hosts", 0o644, &format!("{hosts}{} {ENDPOINT}\n", self.first.address))?;
        }
        if !is_worker(node) {
            node::write(name, hardening::ENCRYPTION, 0o600, encryption)?;
            self.copy_rendered(name, hardening::VOLUMES.iter().map(|volume| volume.path))?;
        }
        self.on(name, &["sysctl", "--load", SYSCTLS])?;
        self.on(name, &["systemctl", "daemon-reload"])?;
        self.on(name, &["systemctl", "enable", "--now", "containerd"])?;
        self.on(name, &["systemctl", "enable", "kubelet"]).map(drop)
    }

    fn bring_up(&self) -> Result<()> {
        let started = Instant::now();
        let stage =
            |name: &str| report::line(&format!("  {name} after {:.1} s", started.elapsed().as_secs_f64()));
        // The lab's kernel has no modules and no configuration to look at; what is really missing shows as a failure.
        let mut init = vec!["kubeadm", "init", "--config", CONFIGURATION, "--ignore-preflight-errors=all"];
        if self.is_highly_available() {
            init.push("--upload-certs");
        }
        let said = self.on(&self.first.name, &init)?;
        stage("init");
        thread::scope(|scope| {
            let joins: Vec<_> =
                self.others.iter().map(|node| scope.spawn(|| self.join(node, &said))).collect();
            for part in PARTS {
                self.kubectl(&["apply", "-f", &format!("{MANIFESTS}/{part}.yaml")])?;
            }
            joins.into_iter().try_for_each(|join| join.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
        stage("joined");
        self.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=300s"])?;
        stage("Ready");
        self.kubectl(&[
            "--namespace=kube-system",
            "rollout",
            "status",
            "daemonset/cilium",
            "--timeout=300s",
        ])?;
        for deployment in ["deployment/cilium-operator", "deployment/coredns"] {
            self.kubectl(&["--namespace=kube-system", "rollout", "status", deployment, "--timeout=300s"])?;
        }
        stage("workloads up");
        let nodes = self.kubectl(&["get", "nodes", "--no-headers"])?;
        ensure!(nodes.lines().count() == self.bench.lab.nodes.len(), "not all nodes joined:\n{nodes}");
        Ok(())
    }

    /// Runs kube-bench on all nodes at once.
    fn verify(&self) -> Result<()> {
        at_once(&self.bench.lab.nodes, |node| {
            let command = kube_bench::command(is_worker(node));
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let totals =
                kube_bench::totals(&self.on(&node.name, &words)?).with_context(|| node.name.clone())?;
            let kube_bench::Totals { pass, fail, warn } = totals;
            report::line(&format!("  {}: {pass} pass, {fail} fail, {warn} warn", node.name));
            Ok(())
        })
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let words = [&["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"], arguments].concat();
        self.on(&self.first.name, &words)
    }

    /// Joins a node with what `kubeadm init` said.
    fn join(&self, node: &Node, said: &str) -> Result<()> {
        node::write(&node.name, CONFIGURATION, 0o600, &self.join_configuration(node, said)?)?;
        let join = ["kubeadm", "join", "--config", CONFIGURATION, "--ignore-preflight-errors=all"];
        self.on(&node.name, &join).map(drop)
    }

    /// kube-proxy is left out since Cilium replaces it, and kubeadm's CoreDNS since it does not start without an upstream name server.
    fn init_configuration(&self, components: &[Artifact]) -> Result<String> {
        let version =
            self.cluster["spec"]["kubernetesVersion"].as_str().context("no spec.kubernetesVersion")?;
        let etcd = components
            .iter()
            .find_map(|artifact| artifact.target.strip_prefix("registry.k8s.io/etcd:"))
            .context("no image of etcd")?;
        let text = |text: &str| Value::from(text);
        let init = [
            ("apiVersion", text(API)),
            ("kind", text("InitConfiguration")),
            ("localAPIEndpoint", mapping([("advertiseAddress", self.first.address.to_string().into())])),
            ("nodeRegistration", mapping([("imagePullPolicy", text("Never"))])),
            ("skipPhases", vec![text("addon/kube-proxy"), text("addon/coredns")].into()),
        ];
        let networking = [("podSubnet", text(POD_SUBNET)), ("serviceSubnet", text(SERVICE_SUBNET))];
        let mut cluster = mapping([
            ("apiVersion", text(API)),
            ("kind", text("ClusterConfiguration")),
            ("kubernetesVersion", format!("v{version}").into()),
            ("etcd", mapping([("local", mapping([("imageTag", text(etcd))]))])),
            ("networking", mapping(networking)),
            ("apiServer", mapping([("extraVolumes", hardening::volumes())])),
        ]);
        if self.is_highly_available() {
            cluster["controlPlaneEndpoint"] = self.endpoint().into();
        }
        for component in &hardening::COMPONENTS {
            let manifest = format!("/etc/kubernetes/manifests/{}.yaml", component.pod);
            let manifest = self.rendered_file(&self.first.name, &manifest)?;
            hardening::add_arguments(&mut cluster, component, &manifest)?;
        }
        // A worker's, since it is every node's.
        let worker = self.others.iter().find(|node| is_worker(node)).context("the lab has no worker")?;
        let kubelet = self.rendered_file(&worker.name, "/var/lib/kubelet/config.yaml")?;
        let documents = [mapping(init), cluster, hardening::kubelet_configuration(&kubelet)?];
        let documents: Result<Vec<_>, _> = documents.iter().map(serde_yaml::to_string).collect();
        Ok(documents?.join("---\n"))
    }

    /// From what `kubeadm init` says at its end.
    fn join_configuration(&self, node: &Node, said: &str) -> Result<String> {
        let token = word_after(said, "--token")?;
        let hash = word_after(said, "--discovery-token-ca-cert-hash")?;
        let endpoint = self.endpoint();
        let control_plane = match is_worker(node) {
            true => String::new(),
            false => format!(
                "controlPlane: {{localAPIEndpoint: {{advertiseAddress: {}}}, certificateKey: {}}}\n",
                node.address,
                word_after(said, "--certificate-key")?
            ),
        };
        Ok(format!(
            "apiVersion: {API}\nkind: JoinConfiguration\n\
             nodeRegistration: {{imagePullPolicy: Never}}\n\
             discovery: {{bootstrapToken: {{apiServerEndpoint: '{endpoint}', token: {token}, caCertHashes: ['{hash}']}}}}\n\
             {control_plane}"
        ))
    }

    fn rendered_file(&self, node: &str, file: &str) -> Result<String> {
        Ok(fs_err::read_to_string(self.rendered.join(node).join(file.trim_start_matches('/')))?)
    }

    /// Copies what is rendered in these folders of a node to it. Secrets are not rendered; their files have been written.
    fn copy_rendered(&self, node: &str, folders: impl Iterator<Item = &'static str>) -> Result<()> {
        for folder in folders {
            let rendered = self.rendered.join(node).join(folder.trim_start_matches('/'));
            if !rendered.is_dir() {
                continue;
            }
            for entry in fs_err::read_dir(rendered)? {
                let name = entry?.file_name();
                let path = format!("{folder}/{}", name.to_string_lossy());
                if path != hardening::ENCRYPTION {
                    node::write(node, &path, 0o600, &self.rendered_file(node, &path)?)?;
                }
            }
        }
        Ok(())
    }

    /// A rendered file of the cluster, named `<number>-<part>.yaml`.
    fn cluster_file(&self, part: &str) -> Result<String> {
        let folder = self.rendered.join("cluster");
        let suffix = format!("-{part}.yaml");
        let is_it = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.strip_suffix(&suffix).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut paths = fs_err::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let path =
            paths.find(|path| is_it(path)).with_context(|| format!("no {part} in {}", folder.display()))?;
        Ok(fs_err::read_to_string(path)?)
    }
}

/// Lets Cilium's pods do what kubezt does on the host: on kubeadm's nodes nobody else does.
fn do_host_work_in_pods(cluster: &mut Value) -> Result<()> {
    let values = cluster["spec"]["cni"]["values"].as_mapping_mut().context("no spec.cni.values")?;
    let on: Value = serde_yaml::from_str("{autoMount: {enabled: true}}")?;
    values.insert("bpf".into(), on.clone());
    values.insert("cgroup".into(), on);
    values.insert("sysctlfix".into(), serde_yaml::from_str("{enabled: true}")?);
    Ok(())
}

fn is_worker(node: &Node) -> bool {
    node.role == "worker"
}

/// Does the same on all nodes at once.
fn at_once(nodes: &[Node], on_node: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let runs: Vec<_> = nodes.iter().map(|node| scope.spawn(|| on_node(node))).collect();
        runs.into_iter().try_for_each(|run| run.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

/// 32 bytes, in base64.
fn new_key() -> Result<String> {
    let mut key = [0; 32];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(key))
}

/// The manifests with the API server's own address in place of the loopback balancer, which kubeadm's nodes do not have.
fn reached_at(manifests: &str, host: &str, port: &str) -> Result<String> {
    let mut changed = 0;
    let mut text = String::new();
    for document in serde_yaml::Deserializer::from_str(manifests) {
        let mut value: Value = serde::Deserialize::deserialize(document)?;
        changed += substitute_environment(&mut value, host, port);
        text += "---\n";
        text += &serde_yaml::to_string(&value)?;
    }
    ensure!(changed > 0, "Cilium's manifests do not name the API server's address");
    Ok(text)
}

fn substitute_environment(value: &mut Value, host: &str, port: &str) -> usize {
    let wanted = match value["name"].as_str() {
        Some("KUBERNETES_SERVICE_HOST") => Some(host),
        Some("KUBERNETES_SERVICE_PORT") => Some(port),
        _ => None,
    };
    match (value, wanted) {
        (Value::Mapping(variable), Some(wanted)) => {
            variable.insert("value".into(), wanted.into());
            1
        }
        (Value::Mapping(entries), None) => {
            entries.iter_mut().map(|(_, value)| substitute_environment(value, host, port)).sum()
        }
        (Value::Sequence(items), _) => {
            items.iter_mut().map(|item| substitute_environment(item, host, port)).sum()
        }
        _ => 0,
    }
}

fn word_after<'a>(text: &'a str, flag: &str) -> Result<&'a str> {
    let mut words = text.split_whitespace().skip_while(|word| *word != flag);
    words.nth(1).with_context(|| format!("`kubeadm init` did not say {flag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_servers_address_changes() {
        let manifests = "---\nkind: DaemonSet\nenv:\n- name: KUBERNETES_SERVICE_HOST\n  value: 127.0.0.1\n\
            - name: KUBERNETES_SERVICE_PORT\n  value: '7443'\n- name: OTHER\n  value: 127.0.0.1\n---\nkind: Namespace\n";
        let changed = reached_at(manifests, "10.0.0.1", "6443").unwrap();
        let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&changed)
            .map(|document| serde::Deserialize::deserialize(document).unwrap())
            .collect();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0]["env"][0]["value"], "10.0.0.1");
        assert_eq!(documents[0]["env"][1]["value"], "6443", "a text, not a number");
        assert_eq!(documents[0]["env"][2]["value"], "127.0.0.1");
        assert!(reached_at("kind: Namespace\n", "10.0.0.1", "6443").is_err());
    }

    #[test]
    fn what_init_says_is_understood() {
        let said = "kubeadm join 10.0.0.1:6443 --token abc.def \\\n\t--discovery-token-ca-cert-hash sha256:12 \\\n\
            \t--control-plane --certificate-key 34\n";
        assert_eq!(word_after(said, "--token").unwrap(), "abc.def");
        assert_eq!(word_after(said, "--discovery-token-ca-cert-hash").unwrap(), "sha256:12");
        assert_eq!(word_after(said, "--certificate-key").unwrap(), "34");
        assert!(word_after("", "--token").is_err());
    }
}
