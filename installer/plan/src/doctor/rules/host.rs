//! The machine: reached or not, clock, disks, memory, and who else is at work.

use std::collections::BTreeSet;

use kubezt_model::node::{Read, Reading};
use serde_json::{Map, Value};

use super::{Scene, Sign};
use crate::doctor::evidence::Place;
use crate::kubelet;
use crate::preflight::{Remark, disagreement};

/// Where a full disk does harm, and what must be left of it.
pub(in crate::doctor) const FOLDERS: [(&str, Least); 5] = [
    ("/var/lib/kubelet", Least::Threshold("nodefs.available")),
    ("/var/lib/containerd", Least::Threshold("imagefs.available")),
    ("/var/lib/etcd", Least::Share { percent: 10, enough: 4 << 30 }),
    ("/var/lib/kubezt", Least::Share { percent: 5, enough: 2 << 30 }),
    ("/var/log", Least::Share { percent: 5, enough: 2 << 30 }),
];

/// What must be left of a disk.
#[derive(Debug, Clone, Copy)]
pub(in crate::doctor) enum Least {
    /// As much as keeps kubelet from evicting pods, by this signal of its configuration.
    Threshold(&'static str),
    /// A share of the disk, or as many bytes as are enough on any. For etcd those of its database (2 GiB unless it is told
    /// otherwise) and of a snapshot beside it.
    Share { percent: u64, enough: u64 },
}

impl Least {
    /// In bytes, of a disk that holds `all`.
    fn bytes(self, configuration: &Map<String, Value>, all: u64) -> u64 {
        match self {
            Self::Threshold(signal) => kubelet::threshold(configuration, signal)
                .and_then(|threshold| kubelet::amount(&threshold, all))
                .unwrap_or_default(),
            Self::Share { percent, enough } => (all / 100).saturating_mul(percent).min(enough),
        }
    }
}

/// The percentage of files it can hold that must be left (kubelet: `eviction/defaults_linux.go`).
const FILES: u64 = 5;
/// What must be left of memory, in bytes (the same).
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
        let configuration = kubelet::configuration(&scene.desired.cluster, &place.desired.node);
        for (path, least) in FOLDERS {
            let Some(Reading::FileSystem(disk)) = place.reading(&Read::FileSystem { path: path.to_owned() })
            else {
                continue;
            };
            let share = |available: u64, all: u64| available.saturating_mul(100).checked_div(all);
            let least = least.bytes(&configuration, disk.size);
            let what = if disk.read_only {
                "nothing can be written".to_owned()
            } else if disk.available < least {
                let left = share(disk.available, disk.size).unwrap_or_default();
                format!(
                    "{left} % of it are free ({} MiB, and {} have to be)",
                    disk.available >> 20,
                    least >> 20
                )
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
