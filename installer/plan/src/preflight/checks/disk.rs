//! Space, and whether anything can be written at all.

use std::collections::BTreeMap;

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::FileSystemReading;

use super::{Check, Place, Remark, Scene, list, size_text};
use crate::kubelet;

/// What an install fills at its peak on any node: images as archives, which stay until the end where the node hands them on, as
/// content and unpacked, and the programs, each as a blob and in place. Measured with the components of this release, all archives
/// added.
const LEAST: u64 = 3 << 30;
/// What leaves room for logs, workloads' images and etcd's database (2 GiB at most by default, with a snapshot beside it).
const AMPLE: u64 = 10 << 30;

/// Places an install fills, or writes to at all.
const EVERYWHERE: [&str; 5] = ["/etc/kubernetes", "/usr/local/bin", CONTENT, KUBELET, "/var/lib/kubezt"];
const CONTENT: &str = "/var/lib/containerd";
const KUBELET: &str = "/var/lib/kubelet";
/// Where etcd's data lives.
pub(super) const ETCD: &str = "/var/lib/etcd";

/// What kubelet watches of a disk.
const SIGNALS: [&str; 3] = ["nodefs.available", "nodefs.inodesFree", "imagefs.available"];

pub(super) const CHECK: Check =
    Check { id: "disk", title: "Disks can be written to and have room", reads, judge };

fn paths(role: Role) -> Vec<&'static str> {
    let mut paths = EVERYWHERE.to_vec();
    if role == Role::ControlPlane {
        paths.push(ETCD);
    }
    paths
}

fn reads(_: &Desired, node: &DesiredNode) -> Vec<Read> {
    paths(node.node.role).into_iter().map(|path| Read::FileSystem { path: path.to_owned() }).collect()
}

fn file_system<'a>(place: &Place<'a>, path: &str) -> Option<&'a FileSystemReading> {
    match place.facts.reading(&Read::FileSystem { path: path.to_owned() })? {
        Reading::FileSystem(found) => Some(found),
        _ => None,
    }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for place in &scene.places {
        // One file system may hold several of the places, and is one finding.
        let mut systems: BTreeMap<u64, (&FileSystemReading, Vec<&str>)> = BTreeMap::new();
        for path in paths(place.node.role) {
            if let Some(found) = file_system(place, path) {
                systems.entry(found.id).or_insert((found, Vec::new())).1.push(path);
            }
        }
        remarks.extend(systems.values().filter_map(|(found, paths)| room(place, found, paths)));
        // A member's kubelet says itself when it runs short.
        if !place.member {
            remarks.extend(pressure(scene, place));
        }
    }
    remarks
}

fn room(place: &Place<'_>, found: &FileSystemReading, paths: &[&str]) -> Option<Remark> {
    let paths = list(paths);
    if found.read_only {
        let what = format!("nothing can be written below {} ({paths})", found.folder);
        return Some(Remark::error(
            place.name(),
            what,
            "mount it for writing (`mount -o remount,rw`), and see why it was not",
        ));
    }
    // What is installed takes its room already.
    if place.member || found.available >= AMPLE {
        return None;
    }
    let available = size_text(found.available);
    let remedy = "make room, or give these places a bigger disk";
    Some(match found.available < LEAST {
        true => {
            let what = format!("{available} are free for {paths}, and an install fills {}", size_text(LEAST));
            Remark::error(place.name(), what, remedy)
        }
        false => {
            let what = format!("{available} are free for {paths}; {} leave room to run", size_text(AMPLE));
            Remark::warning(place.name(), what, remedy)
        }
    })
}

/// Below its thresholds kubelet says the disk is full, and no pod may come.
fn pressure(scene: &Scene<'_>, place: &Place<'_>) -> Option<Remark> {
    let configuration = kubelet::configuration(scene.cluster(), place.node);
    let short: Vec<String> = SIGNALS
        .into_iter()
        .filter_map(|signal| {
            let threshold = kubelet::threshold(&configuration, signal)?;
            let path = if signal.starts_with("imagefs") { CONTENT } else { KUBELET };
            let found = file_system(place, path)?;
            let (left, all) = match signal {
                "nodefs.inodesFree" => (found.files_available, found.files),
                _ => (found.available, found.size),
            };
            let short = all > 0 && left < kubelet::amount(&threshold, all)?;
            short.then(|| format!("{signal} of {path} is below {threshold}"))
        })
        .collect();
    (!short.is_empty()).then(|| {
        let what = format!("kubelet would call the disk full and take no pods: {}", list(&short));
        let remedy = "make room, or set other thresholds (`kubelet.configuration.evictionHard`)";
        Remark::error(place.name(), what, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn a_small_or_locked_disk_is_one_finding() {
        let mut fixture = Fixture::new();
        fixture.assert_none("disk");
        let memory_alone = serde_json::json!({"memory.available": "100Mi"});
        fixture.desired.cluster.settings.kubelet.configuration.insert("evictionHard".into(), memory_alone);
        fixture.file_systems("w1", |found| found.available = 5 << 30);
        let finding = fixture.assert_one("disk", "warning", &["w1"], "5.0 GiB are free");
        assert!(
            finding.what.contains("/usr/local/bin, /var/lib/containerd, /var/lib/kubelet, /var/lib/kubezt"),
            "{}",
            finding.what
        );
        fixture.file_systems("w1", |found| found.available = 1 << 30);
        fixture.assert_one("disk", "error", &["w1"], "an install fills 3.0 GiB");
        fixture.file_systems("w1", |found| found.read_only = true);
        fixture.assert_one("disk", "error", &["w1"], "nothing can be written below /var");
    }

    #[test]
    fn a_disk_that_kubelet_calls_full_is_refused() {
        let mut fixture = Fixture::new();
        fixture.file_systems("w1", |found| (found.size, found.available) = (400 << 30, 20 << 30));
        fixture.assert_one("disk", "error", &["w1"], "imagefs.available of /var/lib/containerd is below 15%");
        let hard = serde_json::json!({"nodefs.available": "1Gi"});
        fixture.desired.cluster.settings.kubelet.configuration.insert("evictionHard".into(), hard);
        fixture.assert_none("disk");
        fixture.file_systems("w1", |found| (found.files, found.files_available) = (100, 1));
        fixture.assert_none("disk");
        fixture.desired.cluster.settings.kubelet.configuration.clear();
        fixture.assert_one("disk", "error", &["w1"], "nodefs.inodesFree");
    }
}
