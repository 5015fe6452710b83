//! The machine: reached or not, clock, disks, memory, and who else is at work.

use std::collections::BTreeSet;

use kubezt_model::node::{Read, Reading};

use super::{Scene, Sign};
use crate::doctor::evidence::Place;
use crate::preflight::{Remark, disagreement};

/// Where a full disk does harm, and the percentage of it from which on kubelet evicts pods (Kubernetes, node-pressure
/// eviction, default hard thresholds: 10 for its own files, 15 for images).
pub(in crate::doctor) const FOLDERS: [(&str, u64); 5] = [
    ("/var/lib/kubelet", 10),
    ("/var/lib/containerd", 15),
    ("/var/lib/etcd", 10),
    ("/var/lib/kubezt", 5),
    ("/var/log", 5),
];
/// The same for files it can hold.
const FILES: u64 = 5;
/// The same for memory, in bytes.
const MEMORY: u64 = 100 << 20;

pub(super) fn unreachable(scene: &Scene<'_>) -> Vec<Sign> {
    scene.evidence.unreachable.iter().map(|lost| Sign::error([&lost.node], lost.why.clone())).collect()
}

pub(super) fn clocks(scene: &Scene<'_>) -> Vec<Sign> {
    let sign = |remark: Remark| {
        let Remark { severity, nodes, what, .. } = remark;
        // Where the nodes agree it is this machine's that differs.
        Sign { severity, everywhere: nodes.is_empty(), nodes, what, said: Vec::new() }
    };
    disagreement(&scene.evidence.clocks).into_iter().map(sign).collect()
}

pub(super) fn disks(scene: &Scene<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for place in scene.places() {
        // Folders on one file system are full together.
        let mut told = BTreeSet::new();
        for (path, least) in FOLDERS {
            let Some(Reading::FileSystem(disk)) = place.reading(&Read::FileSystem { path: path.to_owned() })
            else {
                continue;
            };
            let share = |available: u64, all: u64| (available.saturating_mul(100)).checked_div(all);
            let what = if disk.read_only {
                "nothing can be written".to_owned()
            } else if let Some(left) = share(disk.available, disk.size).filter(|left| *left < least) {
                format!("{left} % of it are free ({} MiB)", disk.available >> 20)
            } else if let Some(left) = share(disk.files_available, disk.files).filter(|left| *left < FILES) {
                format!("{left} % of the files it can hold are left")
            } else {
                continue;
            };
            if told.insert(disk.id) {
                signs.push(Sign::error([place.name()], format!("{path}: {what}")));
            }
        }
    }
    signs
}

pub(super) fn memory(scene: &Scene<'_>) -> Vec<Sign> {
    let sign = |place: Place<'_>| match place.reading(&Read::Memory) {
        Some(Reading::Memory(memory)) if memory.available < MEMORY => {
            let (left, all) = (memory.available >> 20, memory.total >> 20);
            let what =
                format!("{left} of {all} MiB are free, and the kernel has ended {} processes", memory.killed);
            Some(Sign::error([place.name()], what))
        }
        _ => None,
    };
    scene.places().filter_map(sign).collect()
}

pub(super) fn locked(scene: &Scene<'_>) -> Vec<Sign> {
    let sign = |place: Place<'_>| match place.reading(&Read::Lock) {
        Some(Reading::Text(holder)) => Some(Sign::note([place.name()], format!("held by {holder}"))),
        _ => None,
    };
    scene.places().filter_map(sign).collect()
}

/// What a node could not tell. An etcd that does not answer is judged as such.
pub(super) fn unread(scene: &Scene<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for place in scene.places() {
        for (read, reading) in &place.facts.readings {
            if let Reading::Failed(why) = reading
                && !matches!(read, Read::EtcdMembers | Read::EtcdStatus)
            {
                signs.push(Sign::warning([place.name()], why.clone()));
            }
        }
    }
    signs
}
