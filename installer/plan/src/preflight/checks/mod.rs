//! The checks, in the order they are judged. One file a check; a further one is a file and its line in [`CHECKS`].

mod access;
mod addresses;
mod audit;
mod cgroups;
pub(super) mod clock;
mod disk;
mod firewall;
pub(super) mod fsync;
mod host_name;
mod kernel;
mod leftovers;
mod machine_id;
mod mtu;
pub(super) mod name_resolution;
mod networks;
mod operating_system;
mod port;
mod privilege;
mod reachability;
mod readings;
mod security_modules;
mod size;
mod swap;

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::Read;
use serde_json::Value;

use super::finding::{Remark, Severity};
use super::seen::{Place, Scene};
use crate::kubelet;

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Id, by which a finding can be ignored.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What it looks at on every node.
    pub(super) reads: fn(&Desired, &DesiredNode) -> Vec<Read>,
    /// What it says.
    pub(super) judge: fn(&Scene<'_>) -> Vec<Remark>,
}

/// All of them.
pub const CHECKS: [Check; 23] = [
    access::CHECK,
    privilege::CHECK,
    operating_system::CHECK,
    kernel::CHECK,
    firewall::CHECK,
    cgroups::CHECK,
    size::CHECK,
    disk::CHECK,
    fsync::CHECK,
    swap::CHECK,
    clock::CHECK,
    host_name::CHECK,
    machine_id::CHECK,
    addresses::CHECK,
    networks::CHECK,
    name_resolution::CHECK,
    port::CHECK,
    leftovers::CHECK,
    reachability::CHECK,
    mtu::CHECK,
    security_modules::CHECK,
    audit::CHECK,
    readings::CHECK,
];

/// For a check that looks at nothing of its own.
fn nothing(_: &Desired, _: &DesiredNode) -> Vec<Read> {
    Vec::new()
}

fn host(_: &Desired, _: &DesiredNode) -> Vec<Read> {
    vec![Read::Host]
}

fn network(_: &Desired, _: &DesiredNode) -> Vec<Read> {
    vec![Read::Network]
}

/// Whether a switch of kubelet's configuration is on; kubelet's own default where it is not set.
fn kubelet_switch(place: &Place<'_>, scene: &Scene<'_>, field: &str, default: bool) -> bool {
    kubelet::configuration(scene.cluster(), place.node).get(field).and_then(Value::as_bool).unwrap_or(default)
}

/// Bytes as people write them.
fn size_text(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{} MiB", bytes >> 20),
        // To a tenth.
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes & 0x3fff_ffff) * 10) >> 30),
    }
}

/// A list as people write it.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
