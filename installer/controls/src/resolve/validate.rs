//! What a cluster file says that cannot work, although every value has the right type.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use kubezt_model::cluster::{ClusterFile, ClusterSpec, NodeSpec, Role};
use kubezt_model::settings::Settings;
use kubezt_model::{Lifetime, NodeName, ports};

use super::ResolveError;
use crate::library::Library;
use crate::nearest::nearest;
use crate::place::Source;

/// Ports of a node that Kubernetes itself listens on, and kubezt.
const TAKEN_PORTS: [(u16, &str); 7] = [
    (ports::ETCD_CLIENTS, "etcd's clients"),
    (ports::ETCD_PEERS, "etcd's peers"),
    (ports::ETCD_METRICS, "etcd's metrics"),
    (ports::KUBELET, "kubelet"),
    (ports::CONTROLLER_MANAGER, "the controller manager"),
    (ports::SCHEDULER, "the scheduler"),
    (ports::RELAY, "what nodes hand each other"),
];

/// Most characters of a DNS label, and of a label's value in Kubernetes (RFC 1123, section 2.1).
const LONGEST_LABEL: usize = 63;

/// Arguments of etcd that say where its data is or whose it is. Without data it must never begin anew by itself, and its pod
/// mounts only the folder the template names: a log elsewhere would be lost with the container.
const ETCD_DATA_ARGUMENTS: [&str; 10] = [
    "config-file",
    "data-dir",
    "discovery",
    "discovery-srv",
    "discovery-token",
    "force-new-cluster",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "wal-dir",
];

/// Collects mistakes with their places.
struct Problems<'a> {
    source: Source<'a>,
    errors: &'a mut Vec<ResolveError>,
}

impl Problems<'_> {
    fn add(&mut self, section: &str, word: &str, problem: String) {
        self.errors.push(ResolveError::Invalid { place: self.source.find(section, word), problem });
    }
}

/// Checks everything about a cluster file that types cannot.
pub fn cluster(file: &ClusterFile, library: &Library, source: Source<'_>, errors: &mut Vec<ResolveError>) {
    let mut problems = Problems { source, errors };
    let spec = &file.spec;
    let name = file.metadata.name.as_str();
    if name.len() > LONGEST_LABEL {
        problems.add(
            "metadata",
            name,
            too_long("the cluster's name", name, "is a part of DNS names and certificates"),
        );
    }
    nodes(spec, &mut problems);
    ssh(spec, &mut problems);
    networks(spec, &mut problems);
    endpoint(spec, &mut problems);
    waivers(spec, library, &mut problems);
    for problem in spec.artifacts.problems() {
        problems.add("artifacts", problem.key, problem.problem);
    }
    let valid = !spec.cni.name.is_empty()
        && spec.cni.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !valid {
        problems.add(
            "cni",
            &spec.cni.name,
            format!("`{}` is not the name of a network plug-in", spec.cni.name),
        );
    }
}

fn nodes(spec: &ClusterSpec, problems: &mut Problems<'_>) {
    let control_plane = spec.nodes.iter().filter(|node| node.role == Role::ControlPlane).count();
    if control_plane == 0 {
        problems.add(
            "nodes",
            "nodes",
            "no node has `role: control-plane`; one, three or five are needed".to_owned(),
        );
    } else if control_plane % 2 == 0 {
        problems.add(
            "nodes",
            "control-plane",
            format!("{control_plane} control-plane nodes survive no more failures than {} and split evenly; use an odd number", control_plane - 1),
        );
    }
    let mut names = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, &NodeName> = BTreeMap::new();
    for node in &spec.nodes {
        if names.insert(node.name.as_str(), ()).is_some() {
            problems.add("nodes", node.name.as_str(), format!("two nodes are named `{}`", node.name));
        }
        if node.addresses.is_empty() {
            problems.add(
                "nodes",
                node.name.as_str(),
                format!("node `{}` has no address inside the cluster", node.name),
            );
        }
        if node.name.as_str().len() > LONGEST_LABEL {
            let why = "is a host name and the value of a label";
            problems.add("nodes", node.name.as_str(), too_long("a node's name", node.name.as_str(), why));
        }
        for address in &node.addresses {
            let word = address.to_string();
            if let Some(why) = unreachable(address) {
                problems.add(
                    "nodes",
                    &word,
                    format!("node `{}`: {address} is not an address other nodes can reach: {why}", node.name),
                );
            }
            if let Some(other) = addresses.insert(*address, &node.name) {
                problems.add(
                    "nodes",
                    &word,
                    format!("nodes `{other}` and `{}` share the address {address}", node.name),
                );
            }
            for network in spec.networks.pods.iter().chain(&spec.networks.services) {
                if network.contains(address) {
                    problems.add(
                        "nodes",
                        &word,
                        format!(
                            "node `{}`: {address} lies in the cluster's own network {network}",
                            node.name
                        ),
                    );
                }
            }
        }
        node_families(node, &spec.networks.pods, problems);
        labels_and_taints(node, problems);
    }
}

fn too_long(what: &str, name: &str, why: &str) -> String {
    format!("{what} has at most {LONGEST_LABEL} characters, since it {why}; `{name}` has {}", name.len())
}

/// Why nobody reaches a node at an address, whatever the network looks like.
fn unreachable(address: &IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_loopback() => Some("it is every machine's own"),
        _ if address.is_unspecified() => Some("it stands for any address"),
        _ if address.is_multicast() => Some("it stands for a group"),
        IpAddr::V4(address) if address.is_link_local() || address.is_broadcast() => {
            Some("it holds on one link only")
        }
        IpAddr::V6(address) if address.is_unicast_link_local() => Some("it holds on one link only"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("it is an IPv4 address in the form of IPv6; write the former")
        }
        _ => None,
    }
}

fn family(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "IPv4" } else { "IPv6" }
}

/// How nodes are reached, as far as it can be wrong whatever the network looks like.
fn ssh(spec: &ClusterSpec, problems: &mut Problems<'_>) {
    let one_word =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let mut check = |whose: &str, user: Option<&str>, port: Option<u16>, host: Option<&str>| {
        for (key, text) in [("user", user), ("address", host)] {
            if let Some(text) = text.filter(|text| !one_word(text)) {
                let problem = format!(
                    "{whose}`ssh.{key}: \"{text}\"` is not one word; leave the key out where nothing differs"
                );
                problems.add("ssh", key, problem);
            }
        }
        if port == Some(0) {
            problems.add("ssh", "port", format!("{whose}`ssh.port` must not be 0; leave the key out for 22"));
        }
    };
    check("", spec.ssh.user.as_deref(), spec.ssh.port, None);
    for node in &spec.nodes {
        let whose = format!("node `{}`: ", node.name);
        check(&whose, node.ssh.user.as_deref(), node.ssh.port, node.ssh.address.as_deref());
    }
    if spec.ssh.connect_timeout_seconds == Some(0) {
        let problem = "`ssh.connectTimeoutSeconds` must not be 0: nothing would be waited for";
        problems.add("ssh", "connectTimeoutSeconds", problem.to_owned());
    }
}

fn node_families(node: &NodeSpec, pods: &[IpNet], problems: &mut Problems<'_>) {
    for network in pods {
        let is_ipv4 = network.addr().is_ipv4();
        if !node.addresses.is_empty() && node.addresses.iter().all(|address| address.is_ipv4() != is_ipv4) {
            let family = family(is_ipv4);
            let problem = format!(
                "node `{}` has no {family} address, and pods get addresses of {network}; give one, or another pod network",
                node.name
            );
            problems.add("nodes", node.name.as_str(), problem);
        }
    }
    let ipv4 = node.addresses.iter().filter(|address| address.is_ipv4()).count();
    if ipv4 > 1 || node.addresses.len() - ipv4 > 1 {
        problems.add(
            "nodes",
            node.name.as_str(),
            format!("node `{}` has two addresses of one family; give one for each", node.name),
        );
    }
}

fn labels_and_taints(node: &NodeSpec, problems: &mut Problems<'_>) {
    let keys = node.labels.keys().chain(node.taints.iter().map(|taint| &taint.key));
    for key in keys {
        if !is_qualified_name(key) {
            let form = "at most 63 letters, digits, `-`, `_` and `.`, after a DNS name and `/` where there is a prefix";
            problems.add(
                "nodes",
                key,
                format!("node `{}`: `{key}` is not a label or taint key: {form}", node.name),
            );
        }
    }
    let values = node.labels.values().chain(node.taints.iter().map(|taint| &taint.value));
    for value in values {
        if !value.is_empty() && !is_label(value) {
            problems.add(
                "nodes",
                value,
                format!("node `{}`: `{value}` is not a label or taint value: at most 63 letters, digits, `-`, `_` and `.`, the ends letters or digits", node.name),
            );
        }
    }
    let mut seen = BTreeSet::new();
    for taint in node.taints.iter().filter(|taint| !seen.insert((&taint.key, &taint.effect))) {
        let problem =
            format!("node `{}`: two taints `{}` have the effect `{}`", node.name, taint.key, taint.effect);
        problems.add("nodes", &taint.key, problem);
    }
    for taint in &node.taints {
        const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !EFFECTS.contains(&taint.effect.as_str()) {
            problems.add(
                "nodes",
                &taint.effect,
                format!(
                    "node `{}`: taint effect `{}` does not exist; use {}",
                    node.name,
                    taint.effect,
                    EFFECTS.join(", ")
                ),
            );
        }
    }
}

/// A label key: an optional DNS prefix, a slash and a name of at most 63 characters.
fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => prefix.parse::<NodeName>().is_ok() && is_label(name),
        None => is_label(text),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && ends(text.chars().next()) && ends(text.chars().next_back())
}

fn networks(spec: &ClusterSpec, problems: &mut Problems<'_>) {
    let networks = &spec.networks;
    for (kind, list) in [("pods", &networks.pods), ("services", &networks.services)] {
        if list.is_empty() {
            problems.add("networks", kind, format!("`networks.{kind}` needs at least one network"));
        }
        let ipv4 = list.iter().filter(|network| network.addr().is_ipv4()).count();
        if ipv4 > 1 || list.len() - ipv4 > 1 {
            problems.add(
                "networks",
                kind,
                format!("`networks.{kind}` holds two networks of one family; give one for each"),
            );
        }
        for network in list {
            if network.addr() != network.network() {
                problems.add(
                    "networks",
                    &network.to_string(),
                    format!("{network} has host bits set; write {}", network.trunc()),
                );
            }
        }
    }
    for pods in &networks.pods {
        for services in &networks.services {
            if overlap(pods, services) {
                problems.add(
                    "networks",
                    &services.to_string(),
                    format!("pod network {pods} and service network {services} overlap"),
                );
            }
        }
    }
    let has = |list: &[IpNet], is_ipv4| list.iter().any(|network| network.addr().is_ipv4() == is_ipv4);
    for is_ipv4 in [true, false] {
        let (pods, services) = (has(&networks.pods, is_ipv4), has(&networks.services, is_ipv4));
        if pods != services && !networks.pods.is_empty() && !networks.services.is_empty() {
            let (with, without) = if pods { ("pods", "services") } else { ("services", "pods") };
            let family = family(is_ipv4);
            let problem = format!(
                "`networks.{with}` holds an {family} network and `networks.{without}` holds none; both need the same families"
            );
            problems.add("networks", without, problem);
        }
    }
    for services in &networks.services {
        let bits = services.max_prefix_len() - services.prefix_len();
        if !(4..=20).contains(&bits) {
            problems.add(
                "networks",
                &services.to_string(),
                format!("service network {services} must hold between 16 and 2^20 addresses (the API server allocates them one by one)"),
            );
        }
    }
    node_networks(spec, problems);
    if networks.domain.parse::<NodeName>().is_err() {
        problems.add("networks", &networks.domain, format!("`{}` is not a DNS domain", networks.domain));
    }
}

fn node_networks(spec: &ClusterSpec, problems: &mut Problems<'_>) {
    let Some(pods) = spec.networks.pods.first() else { return };
    let mask = spec.networks.node_mask;
    let smallest = pods.max_prefix_len() - 2;
    if mask < pods.prefix_len() || mask > smallest {
        problems.add(
            "networks",
            "nodeMask",
            format!(
                "`networks.nodeMask: {mask}` must lie between {} and {smallest} for {pods}",
                pods.prefix_len()
            ),
        );
        return;
    }
    let room = 1_u128 << (mask - pods.prefix_len()).min(127);
    if (spec.nodes.len() as u128) > room {
        problems.add(
            "networks",
            "nodeMask",
            format!("{pods} cut into /{mask} holds {room} nodes, there are {}", spec.nodes.len()),
        );
    }
}

fn overlap(left: &IpNet, right: &IpNet) -> bool {
    left.contains(&right.network()) || right.contains(&left.network())
}

fn endpoint(spec: &ClusterSpec, problems: &mut Problems<'_>) {
    let endpoint = &spec.endpoint;
    if !endpoint.name.is_empty() && endpoint.name.parse::<NodeName>().is_err() {
        let hint = match endpoint.name.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => "; the port is `endpoint.port`",
            _ => ": lower-case letters, digits, `-` and `.` (RFC 1123)",
        };
        problems.add("endpoint", &endpoint.name, format!("`{}` is not a DNS name{hint}", endpoint.name));
    }
    for address in &endpoint.addresses {
        if let Some(why) = unreachable(address) {
            let problem =
                format!("`endpoint.addresses`: {address} is not an address clients can reach: {why}");
            problems.add("endpoint", &address.to_string(), problem);
        }
    }
    for external in &endpoint.external {
        let why = match unreachable(&external.ip()) {
            Some(why) => Some(format!("is not an address nodes can reach: {why}")),
            None if external.port() == 0 => Some("has no port".to_owned()),
            None => None,
        };
        if let Some(why) = why {
            problems.add("endpoint", &external.to_string(), format!("`endpoint.external`: {external} {why}"));
        }
    }
    for (field, port) in [("port", endpoint.port), ("balancerPort", endpoint.balancer_port)] {
        if port == 0 {
            problems.add("endpoint", field, format!("`endpoint.{field}` must not be 0"));
        }
        if let Some((_, owner)) = TAKEN_PORTS.iter().find(|(taken, _)| *taken == port) {
            problems.add("endpoint", field, format!("`endpoint.{field}: {port}` belongs to {owner}"));
        }
    }
    if endpoint.port == endpoint.balancer_port {
        problems.add(
            "endpoint",
            "balancerPort",
            format!("`endpoint.port` and `endpoint.balancerPort` are both {}", endpoint.port),
        );
    }
}

fn waivers(spec: &ClusterSpec, library: &Library, problems: &mut Problems<'_>) {
    for waiver in &spec.waivers {
        let id = waiver.requirement.as_str();
        if library.requirement(id).is_none() {
            let near = nearest(id, library.requirements().map(|requirement| requirement.id.as_str()));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            problems.add(
                "waivers",
                id,
                format!("a waiver names requirement `{id}`, which does not exist{hint}"),
            );
        }
        for node in &waiver.nodes {
            if !spec.nodes.iter().any(|known| known.name == *node) {
                problems.add(
                    "waivers",
                    node.as_str(),
                    format!("the waiver of `{id}` names node `{node}`, which does not exist"),
                );
            }
        }
        if waiver.reason.trim().is_empty() || waiver.owner.trim().is_empty() {
            problems.add("waivers", id, format!("the waiver of `{id}` needs a reason and an owner"));
        }
    }
}

/// Checks settings that have the right type and cannot work.
pub fn settings(settings: &Settings, source: Source<'_>, errors: &mut Vec<ResolveError>) {
    let mut wrong = |path: &str, problem: String| {
        errors.push(ResolveError::Invalid {
            place: source.setting(path),
            problem: format!("setting `{path}`: {problem}"),
        });
    };
    let levels = [
        ("podSecurity.enforce", &settings.pod_security.enforce),
        ("podSecurity.audit", &settings.pod_security.audit),
        ("podSecurity.warn", &settings.pod_security.warn),
    ];
    for (path, level) in levels {
        if !["privileged", "baseline", "restricted"].contains(&level.as_str()) {
            wrong(path, format!("`{level}` is not a level; use privileged, baseline or restricted"));
        }
    }
    if !settings.audit.log_directory.starts_with('/') {
        wrong("audit.logDirectory", format!("`{}` is not an absolute path", settings.audit.log_directory));
    }
    let accounts = [("etcd.uid", settings.etcd.uid), ("balancer.uid", settings.balancer.uid)];
    for (path, uid) in accounts {
        if !(1..60_000).contains(&uid) {
            wrong(path, format!("{uid} is not the id of an unprivileged account (1 to 59999)"));
        }
    }
    if settings.etcd.uid == settings.balancer.uid {
        wrong(
            "balancer.uid",
            format!("{} is etcd's; the balancer must not read its keys", settings.etcd.uid),
        );
    }
    for argument in ETCD_DATA_ARGUMENTS.iter().filter(|name| settings.etcd.arguments.contains_key(**name)) {
        wrong(
            &format!("etcd.arguments.{argument}"),
            "where etcd's data is and whose it is follows from the nodes; leave it out".to_owned(),
        );
    }
    let leaf = settings.pki.leaf_lifetime;
    if leaf.seconds() < Lifetime::SHORTEST {
        let shortest = Lifetime::from_seconds(Lifetime::SHORTEST);
        let why =
            format!("a leaf of {leaf} would end before everybody has read the next one; at least {shortest}");
        wrong("pki.leafLifetime", why);
    }
    if u64::from(settings.pki.intermediate_days) * 24 * 3600 < leaf.seconds() * 2 {
        wrong(
            "pki.intermediateDays",
            "an intermediate must live at least twice as long as a leaf".to_owned(),
        );
    }
    if u64::from(settings.pki.root_years) * 365 <= u64::from(settings.pki.intermediate_days) {
        wrong("pki.rootYears", "the root must outlive its intermediates".to_owned());
    }
    if settings.admission.event_rate_qps > 0
        && settings.admission.event_rate_burst < settings.admission.event_rate_qps
    {
        wrong("admission.eventRateBurst", "the burst must not be smaller than the rate".to_owned());
    }
}

/// The address at this offset of a network; unspecified where there is no network, which is an error of its own.
pub fn service_address(network: Option<&IpNet>, offset: u32) -> IpAddr {
    match network.map(IpNet::network) {
        Some(IpAddr::V4(base)) => IpAddr::V4(Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset))),
        Some(IpAddr::V6(base)) => {
            IpAddr::V6(Ipv6Addr::from_bits(base.to_bits().wrapping_add(u128::from(offset))))
        }
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}
