//! Clusters to install: plain ones, changed ones, and random ones.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use kubezt_model::desired::Desired;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::assembly;

/// The nodes' network, which has room for thousands.
const NODES: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 0);

/// Every profile that comes with kubezt.
pub const PROFILES: [&str; 5] = ["baseline", "cis", "nsa", "stig", "stig-tiered"];

/// One control-plane node and this many workers.
pub fn desired(profile: &str, workers: usize) -> Arc<Desired> {
    let spec = plain(profile, workers);
    Arc::new(assembly::desired(&spec.text(), profile, "1").unwrap())
}

/// The same cluster with another build of every program and image.
pub fn rebuilt(profile: &str, workers: usize) -> Arc<Desired> {
    let spec = plain(profile, workers);
    Arc::new(assembly::desired(&spec.text(), profile, "2").unwrap())
}

/// The same cluster after a change of nearly everything that can change on a running one: every unit's files, every
/// static pod, kernel parameters, names in certificates, labels, programs and images.
pub fn changed(profile: &str, workers: usize) -> Arc<Desired> {
    let mut spec = plain(profile, workers);
    spec.addresses = vec![Ipv4Addr::new(192, 0, 2, 77)];
    spec.ports = (6443, 17443);
    spec.nodes[0].labels.insert("zone".to_owned(), "b".to_owned());
    let settings = json!({
        "containerd.systemdCgroup": false,
        "kubelet.configuration.maxPods": 42,
        "kubelet.arguments": {"v": 3},
        "apiServer.arguments": {"v": 3},
        "controllerManager.arguments": {"v": 3},
        "scheduler.arguments": {"v": 3},
        "etcd.arguments": {"log-level": "warn"},
        "host.sysctls": {"net.core.somaxconn": "4096"},
    });
    spec.settings = settings.as_object().unwrap().clone();
    Arc::new(assembly::desired(&spec.text(), profile, "2").unwrap())
}

/// Three control-plane nodes and this many workers: those of [`desired`], and two more.
pub fn highly_available(profile: &str, workers: usize) -> Arc<Desired> {
    let mut spec = plain(profile, workers);
    spec.nodes
        .extend(["cp2", "cp3"].iter().zip([8, 9]).map(|(name, address)| NodeSpec::new(name, true, address)));
    resolve(&spec).unwrap()
}

/// The cluster of [`desired`] with another address for its control-plane node.
pub fn moved(profile: &str, workers: usize) -> Arc<Desired> {
    let mut spec = plain(profile, workers);
    spec.nodes[0].address = 99;
    resolve(&spec).unwrap()
}

/// The cluster of [`desired`] with the roles of the first two nodes exchanged.
pub fn swapped(profile: &str, workers: usize) -> Arc<Desired> {
    let mut spec = plain(profile, workers);
    spec.nodes[0].control_plane = false;
    spec.nodes[1].control_plane = true;
    resolve(&spec).unwrap()
}

fn plain(profile: &str, workers: usize) -> Spec {
    let workers = (1..=workers).map(|index| NodeSpec::new(&format!("w{index}"), false, 10 + index));
    Spec {
        name: "demo".to_owned(),
        profile: profile.to_owned(),
        pods: "10.244.0.0/16".parse().unwrap(),
        services: "10.96.0.0/16".parse().unwrap(),
        domain: "cluster.local".to_owned(),
        addresses: Vec::new(),
        ports: (6443, 7443),
        nodes: [NodeSpec::new("cp1", true, 10)].into_iter().chain(workers).collect(),
        settings: Map::new(),
    }
}

/// A cluster file, before it is text.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    profile: String,
    pods: Ipv4Net,
    services: Ipv4Net,
    domain: String,
    addresses: Vec<Ipv4Addr>,
    ports: (u16, u16),
    nodes: Vec<NodeSpec>,
    settings: Map<String, Value>,
}

#[derive(Debug, Clone)]
struct NodeSpec {
    name: String,
    control_plane: bool,
    /// Its place among the addresses of the nodes' network.
    address: usize,
    labels: BTreeMap<String, String>,
    taints: Vec<(String, String, &'static str)>,
}

impl Spec {
    /// The same cluster with other settings.
    pub fn with(self, settings: Map<String, Value>) -> Self {
        Self { settings, ..self }
    }

    /// Labels of each node, as they were meant.
    pub fn labels(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        self.nodes.iter().map(|node| &node.labels)
    }

    /// Taints of each node, as they were meant.
    pub fn taints(&self) -> impl Iterator<Item = Vec<Value>> {
        self.nodes.iter().map(NodeSpec::taint_values)
    }

    /// The argument of the scheduler that is hard to quote, where there is one.
    pub fn nasty_argument(&self) -> Option<&str> {
        self.settings.get("scheduler.arguments")?["nasty"].as_str()
    }

    /// Room for all nodes, and for eight at least.
    fn bits_of_nodes(&self) -> u32 {
        self.nodes.len().next_power_of_two().ilog2().max(3)
    }

    fn text(&self) -> String {
        let nodes: Vec<Value> = self.nodes.iter().map(NodeSpec::value).collect();
        let file = json!({
            "apiVersion": "kubezt.dev/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": self.name},
            "spec": {
                "networks": {
                    "pods": [self.pods], "services": [self.services], "domain": self.domain,
                    "nodeMask": u32::from(self.pods.prefix_len()) + self.bits_of_nodes(),
                },
                "endpoint": {
                    "addresses": self.addresses, "port": self.ports.0, "balancerPort": self.ports.1,
                },
                "nodes": nodes,
                "settings": self.settings,
            },
        });
        // JSON is YAML, and leaves no doubt about what is text.
        serde_json::to_string_pretty(&file).unwrap()
    }
}

impl NodeSpec {
    fn new(name: &str, control_plane: bool, address: usize) -> Self {
        let (labels, taints) = (BTreeMap::new(), Vec::new());
        Self { name: name.to_owned(), control_plane, address, labels, taints }
    }

    fn taint_values(&self) -> Vec<Value> {
        let value = |(key, value, effect): &(String, String, &str)| json!({"key": key, "value": value, "effect": effect});
        self.taints.iter().map(value).collect()
    }

    fn value(&self) -> Value {
        json!({
            "name": self.name,
            "role": if self.control_plane { "control-plane" } else { "worker" },
            "addresses": [Ipv4Addr::from_bits(NODES.to_bits() + u32::try_from(self.address).unwrap())],
            "labels": self.labels,
            "taints": self.taint_values(),
        })
    }
}

/// Resolves and renders.
pub fn resolve(spec: &Spec) -> Result<Arc<Desired>, String> {
    assembly::desired(&spec.text(), &spec.profile, "1").map(Arc::new)
}

/// Any cluster of one or three control-plane nodes and up to four workers.
pub fn spec() -> impl Strategy<Value = Spec> {
    let ports = (prop::sample::select(vec![443, 6443, 16443]), prop::sample::select(vec![7443, 17443]));
    (
        "[a-z]([a-z0-9-]{0,9}[a-z0-9])?",
        prop::sample::select(PROFILES.to_vec()),
        (12_u8..=20, any::<u32>())
            .prop_map(|(length, bits)| network(Ipv4Addr::new(10, 0, 0, 0), 8, length, bits)),
        (12_u8..=28, any::<u32>())
            .prop_map(|(length, bits)| network(Ipv4Addr::new(172, 16, 0, 0), 12, length, bits)),
        "[a-z]{1,8}(\\.[a-z]{1,8})?",
        prop::collection::btree_set(any::<u8>().prop_map(|last| Ipv4Addr::new(203, 0, 113, last)), 0..3),
        ports,
        prop::collection::vec(node(), 1..=5),
        any::<bool>(),
        settings(),
    )
        .prop_map(|(name, profile, pods, services, domain, addresses, ports, nodes, three, settings)| {
            Spec {
                name,
                profile: profile.to_owned(),
                pods,
                services,
                domain,
                addresses: addresses.into_iter().collect(),
                ports,
                nodes: numbered(nodes, three),
                settings,
            }
        })
}

/// Names get their position, so that no two are the same; the first one or three are the control plane.
fn numbered(mut nodes: Vec<NodeSpec>, three: bool) -> Vec<NodeSpec> {
    let control_planes = if three && nodes.len() >= 3 { 3 } else { 1 };
    for (index, node) in nodes.iter_mut().enumerate() {
        node.control_plane = index < control_planes;
        node.address = 10 + index;
        node.name.push_str(&index.to_string());
    }
    nodes
}

/// A network of this length somewhere in a block.
fn network(block: Ipv4Addr, block_length: u8, length: u8, bits: u32) -> Ipv4Net {
    let inside = bits >> block_length;
    Ipv4Net::new(Ipv4Addr::from_bits(block.to_bits() | inside), length).unwrap().trunc()
}

fn node() -> impl Strategy<Value = NodeSpec> {
    let effect = prop::sample::select(vec!["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    (
        "[a-z]([a-z0-9-]{0,8}[a-z])?(\\.[a-z][a-z0-9]{0,5})?",
        prop::collection::btree_map(label_key(), label_value(), 0..4),
        prop::collection::btree_map(label_key(), (label_value(), effect), 0..3),
    )
        .prop_map(|(name, labels, taints)| NodeSpec {
            name,
            control_plane: false,
            address: 0,
            labels,
            taints: taints.into_iter().map(|(key, (value, effect))| (key, value, effect)).collect(),
        })
}

fn label_key() -> impl Strategy<Value = String> {
    ("([a-z]{1,6}\\.[a-z]{2,4}/)?", label_word()).prop_map(|(prefix, name)| prefix + &name)
}

fn label_value() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), label_word()]
}

/// Words that a careless writer of YAML would turn into something else.
fn label_word() -> impl Strategy<Value = String> {
    let traps = [
        "true",
        "No",
        "on",
        "y",
        "null",
        "NULL",
        "0",
        "0x1f",
        "0o17",
        "017",
        "1e3",
        "1.0",
        "1_000",
        "2026-01-01",
        "12.30.45",
        "nan",
        "NaN",
        "inf",
    ];
    prop_oneof![
        prop::sample::select(traps.to_vec()).prop_map(str::to_owned),
        "[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?"
    ]
}

/// Text of a printable kind that is harmless only where it is quoted.
fn nasty_text() -> impl Strategy<Value = String> {
    let traps = [
        "{{ node }}",
        "{% if %}",
        "a: b",
        "a #b",
        "\"",
        "'",
        "\\",
        "$HOME",
        "%i",
        "*x",
        "&x",
        "!x",
        "- x",
        "[",
        "{",
        "ä ü",
        "|",
        "> x",
        "@x",
        "`x`",
        " x ",
        "",
    ];
    prop_oneof![prop::sample::select(traps.to_vec()).prop_map(str::to_owned), "[ -~]{0,24}"]
}

/// Some settings, in any combination.
pub fn settings() -> impl Strategy<Value = Map<String, Value>> {
    let choices = (
        any::<[bool; 6]>(),
        24_u32..4000,
        1_u32..60_000,
        prop::sample::select(vec!["aescbc", "aesgcm", "secretbox", "identity"]),
        nasty_text(),
        nasty_text(),
        1_u32..500,
        prop::sample::select(vec!["/var/log/kubernetes/audit", "/var/log/a/b/c", "/srv/audit"]),
        prop::collection::vec(any::<bool>(), 14),
    );
    choices.prop_map(|(switches, hours, uid, provider, one, other, pods, log, chosen)| {
        let all = [
            ("host.firewall", json!(switches[0])),
            ("host.auditd", json!(switches[1])),
            ("network.defaultDeny", json!(switches[2])),
            ("network.wireguard", json!(switches[3])),
            ("containerd.systemdCgroup", json!(switches[4])),
            ("containerd.restrictOomScoreAdj", json!(switches[5])),
            ("pki.leafLifetime", json!(format!("{hours}h"))),
            ("etcd.uid", json!(uid)),
            ("encryption.provider", json!(provider)),
            ("scheduler.arguments", json!({"nasty": one})),
            ("kubelet.arguments", json!({"nasty": other})),
            ("kubelet.configuration.maxPods", json!(pods)),
            ("audit.logDirectory", json!(log)),
            ("host.sysctls", json!({"net.core.somaxconn": pods.to_string()})),
        ];
        let some = all.into_iter().zip(chosen).filter(|(_, chosen)| *chosen);
        some.map(|((path, value), _)| (path.to_owned(), value)).collect()
    })
}
