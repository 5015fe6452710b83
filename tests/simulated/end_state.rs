//! What two worlds that ended in the same state have in common, and what has to hold in any of them.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::cluster::Role;
use kubezt_model::desired::{
    AuthorityKind, BundleMember, CertificateKind, Desired, DesiredCertificate, DesiredNode,
};
use kubezt_model::node::FileKind;
use kubezt_model::{Mode, NodeName, Owner, firewall};
use kubezt_pki::{CertificateChain, CertificateInfo};
use serde_json::Value;

use crate::fleet::{World, lock};
use crate::node::Node;

/// Everything but keys and what depends on them.
#[derive(Debug, PartialEq)]
pub struct EndState {
    nodes: BTreeMap<NodeName, NodeState>,
    objects: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq)]
struct NodeState {
    /// Content, but for keys and certificates, of which only mode and owner are compared as they are.
    files: BTreeMap<String, (FileKind, Mode, Owner, String)>,
    certificates: BTreeMap<String, Vec<Says>>,
    users: BTreeMap<String, u32>,
    sysctls: BTreeMap<String, String>,
    modules: BTreeSet<String>,
    firewall: Option<String>,
    images: BTreeMap<String, kubezt_model::Digest>,
    /// Unit, whether it runs, whether it is enabled.
    units: Vec<(String, bool, bool)>,
}

/// What a certificate says beside its key, its serial number and when it was issued.
#[derive(Debug, PartialEq)]
struct Says {
    subject: (String, Vec<String>),
    names: (BTreeSet<String>, BTreeSet<std::net::IpAddr>, BTreeSet<String>),
    usages: (BTreeSet<String>, BTreeSet<String>),
    authority: (bool, Option<u32>),
    issuer: String,
    /// From its first moment to its last.
    lives: jiff::SignedDuration,
}

impl From<&CertificateInfo> for Says {
    fn from(info: &CertificateInfo) -> Self {
        Self {
            subject: (info.common_name.clone(), info.organizations.clone()),
            names: (info.dns_names.clone(), info.ip_addresses.clone(), info.other_names.clone()),
            usages: (info.key_usages.clone(), info.extended_usages.clone()),
            authority: (info.is_ca, info.path_length),
            issuer: info.issuer_common_name.clone(),
            lives: info.not_after.duration_since(info.not_before),
        }
    }
}

impl EndState {
    /// Fails with the places that differ, since all of it would be too much to read.
    pub fn assert_same(&self, other: &Self, what: &str) {
        if self != other {
            let (wanted, got) = (format!("{self:#?}"), format!("{other:#?}"));
            let diff =
                similar::TextDiff::from_lines(&wanted, &got).unified_diff().context_radius(3).to_string();
            panic!("{what}: the end states differ:\n{diff}");
        }
    }

    /// Takes it from a world.
    pub fn of(world: &World) -> Self {
        let nodes = lock(&world.nodes);
        let desired = world.desired();
        Self {
            nodes: desired
                .nodes
                .iter()
                .map(|desired| (desired.node.name.clone(), node_state(desired, &nodes[&desired.node.name])))
                .collect(),
            objects: lock(&world.objects).clone(),
        }
    }
}

fn node_state(desired: &DesiredNode, node: &Node) -> NodeState {
    // Two installs make different keys; what is certified of them is compared below.
    let pairs = desired.certificates.iter().flat_map(|pair| [&pair.certificate_path, &pair.key_path]);
    let pairs: BTreeSet<&String> = pairs.collect();
    let files = node.files.iter().map(|(path, file)| {
        let content = match path.contains("/pki/") || pairs.contains(path) {
            true => String::new(),
            false => format!("{}\n{}", file.digest, file.text),
        };
        (path.clone(), (file.kind, file.mode, file.owner.clone(), content))
    });
    let certificates = desired.certificates.iter().map(|certificate| {
        let path = certificate.certificate_path.clone();
        (path, chain(node, certificate).iter().map(Says::from).collect())
    });
    let units = desired.units.iter();
    NodeState {
        files: files.collect(),
        certificates: certificates.collect(),
        users: node.users.clone(),
        sysctls: node.sysctls.clone(),
        modules: node.modules.clone(),
        firewall: node.firewall.clone(),
        images: node.images.clone(),
        units: units.map(|unit| (unit.clone(), node.is_active(unit), node.is_enabled(unit))).collect(),
    }
}

fn chain(node: &Node, certificate: &DesiredCertificate) -> CertificateChain {
    let path = &certificate.certificate_path;
    let file = node.files.get(path).unwrap_or_else(|| panic!("{path} is missing"));
    CertificateChain::parse(&file.text).unwrap()
}

/// What is wrong in a world that should be complete; empty where nothing is.
pub fn faults(world: &World) -> Vec<String> {
    let nodes = lock(&world.nodes);
    let mut faults = member_faults(world);
    for desired in &world.desired().nodes {
        let name = &desired.node.name;
        let node = &nodes[name];
        let stale = node.stale_units(desired);
        faults.extend(stale.iter().map(|unit| format!("{name}: {unit} runs with older files")));
        let idle = desired.units.iter().filter(|unit| !node.is_active(unit) || !node.is_enabled(unit));
        faults.extend(idle.map(|unit| format!("{name}: {unit} does not run or is not enabled")));
        let stale = node.stale_pods(desired);
        faults.extend(stale.iter().map(|pod| format!("{name}: pod {pod} runs with older files")));
        let rules = desired.files.iter().find(|file| file.path == firewall::RULES);
        if node.firewall.as_deref() != rules.map(|file| file.body.expose()) {
            faults.push(format!("{name}: another firewall is loaded"));
        }
        if rules.is_none() && (node.is_active(firewall::UNIT) || node.is_enabled(firewall::UNIT)) {
            faults.push(format!("{name}: the unit of a firewall that is switched off is left"));
        }
        faults.extend(certificate_faults(world, desired, node));
        faults.extend(bundle_faults(world, &nodes, desired, node));
    }
    faults
}

/// Every control-plane node has a vote in etcd, and nobody else is a member.
fn member_faults(world: &World) -> Vec<String> {
    let etcd = lock(&world.etcd);
    let voters: BTreeSet<&str> =
        etcd.members().iter().filter(|member| !member.learner).map(|member| member.name.as_str()).collect();
    let wanted: BTreeSet<&str> =
        world.desired().cluster.control_plane().map(|node| node.name.as_str()).collect();
    if voters == wanted && etcd.members().len() == wanted.len() {
        return Vec::new();
    }
    vec![format!("members of etcd are {:?}", etcd.members())]
}

/// Every certificate belongs to its key, leads to the root and allows its use, and no leaf lives longer than leaves may.
fn certificate_faults(world: &World, desired: &DesiredNode, node: &Node) -> Vec<String> {
    let mut faults = Vec::new();
    for certificate in &desired.certificates {
        let path = &certificate.certificate_path;
        let chain = chain(node, certificate);
        let key = kubezt_pki::parse_private_key_spki(&node.files[&certificate.key_path].text).unwrap();
        if key.digest() != chain.first().public_key_digest {
            faults.push(format!("{}: {path} belongs to another key", desired.node.name));
        }
        let usage = match &certificate.kind {
            CertificateKind::Leaf(leaf) => Some(leaf.usage),
            CertificateKind::Intermediate(_) => None,
        };
        let anchors = world.root.certificate().as_slice();
        if let Err(fault) = kubezt_pki::verify_chain(chain.as_slice(), anchors, usage, world.now) {
            faults.push(format!("{}: {path}: {fault}", desired.node.name));
        }
        let first = chain.first();
        let allowed = world.desired().cluster.settings.pki.leaf_lifetime;
        if usage.is_some() && allowed.is_exceeded(first.not_before, first.not_after) {
            faults.push(format!("{}: {path} lives longer than {allowed}", desired.node.name));
        }
    }
    faults
}

/// Every bundle holds the authorities that are there now.
fn bundle_faults(
    world: &World,
    nodes: &BTreeMap<NodeName, Node>,
    desired: &DesiredNode,
    node: &Node,
) -> Vec<String> {
    let wrong = desired.bundles.iter().filter(|bundle| {
        let wanted: String = bundle
            .members
            .iter()
            .map(|member| match member {
                BundleMember::Root => world.root.certificate().to_pem(),
                BundleMember::Intermediates(kind) => authorities(world.desired(), nodes, *kind),
                BundleMember::ServiceAccountKeys => service_account_keys(world.desired(), nodes),
            })
            .collect();
        node.files.get(&bundle.path).map(|file| &file.text) != Some(&wanted)
    });
    wrong.map(|bundle| format!("{}: {} holds other authorities", desired.node.name, bundle.path)).collect()
}

/// The intermediates of every control-plane node, in the order of the inventory.
fn authorities(desired: &Desired, nodes: &BTreeMap<NodeName, Node>, kind: AuthorityKind) -> String {
    of_control_plane(desired, |node| {
        let wanted = CertificateKind::Intermediate(kind);
        let certificate = node.certificates.iter().find(|certificate| certificate.kind == wanted).unwrap();
        nodes[&node.node.name].files[&certificate.certificate_path].text.clone()
    })
}

/// The public halves of every control-plane node's own key.
fn service_account_keys(desired: &Desired, nodes: &BTreeMap<NodeName, Node>) -> String {
    of_control_plane(desired, |node| {
        let key = &nodes[&node.node.name].files[&node.keys[0].key_path];
        kubezt_pki::parse_private_key_spki(&key.text).unwrap().to_pem()
    })
}

fn of_control_plane(desired: &Desired, part: impl Fn(&DesiredNode) -> String) -> String {
    let control_plane = |node: &&DesiredNode| node.node.role == Role::ControlPlane;
    desired.nodes.iter().filter(control_plane).map(part).collect()
}
