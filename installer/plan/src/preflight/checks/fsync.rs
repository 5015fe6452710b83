//! How fast the disk under etcd's data is.

use kubezt_model::cluster::Role;
use kubezt_model::desired::Node;
use kubezt_model::node::{Read, Reading};

use super::disk::ETCD;
use super::{Check, Remark, Scene, nothing};

/// Microseconds that 99 of 100 writes should take at most (https://etcd.io/docs/v3.6/op-guide/hardware/#disks, and etcd's
/// FAQ: "p99 duration should be less than 10ms").
const P99: u64 = 10_000;

pub(super) const CHECK: Check =
    Check { id: "fsync", title: "The disk under etcd is fast enough", reads: nothing, judge };

/// Measured on control-plane nodes.
pub(in super::super) fn measures(node: &Node) -> Option<Read> {
    (node.role == Role::ControlPlane).then(|| Read::Fsync { path: ETCD.to_owned() })
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| {
        let Reading::Fsync(took) = place.facts.reading(&measures(place.node)?)? else { return None };
        let milliseconds = |microseconds: u64| format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100);
        (took.p99 > P99).then(|| {
            let what = format!(
                "99 of 100 writes in {} are on disk within {} ({} at half of them, {} writes tried), and etcd wants {}",
                took.folder,
                milliseconds(took.p99),
                milliseconds(took.p50),
                took.writes,
                milliseconds(P99)
            );
            let remedy = format!("put {ETCD} on an SSD of its own, or expect elections and slow writes under load");
            Remark::warning(place.name(), what, remedy)
        })
    })
}

#[cfg(test)]
mod tests {
    use kubezt_model::survey::FsyncReading;

    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_slow_disk_under_etcd_is_warned_of() {
        let mut fixture = Fixture::new();
        let read = || Read::Fsync { path: ETCD.to_owned() };
        let took =
            |p99| Reading::Fsync(FsyncReading { folder: "/var/lib".to_owned(), writes: 120, p50: 900, p99 });
        fixture.set("cp1", read(), took(9_900));
        fixture.assert_none("fsync");
        fixture.set("cp1", read(), took(31_460));
        let finding = fixture.assert_one("fsync", "warning", &["cp1"], "within 31.4 ms");
        assert!(finding.what.contains("0.9 ms at half"), "{}", finding.what);
        assert_eq!(measures(&fixture.desired.cluster.nodes[1]), None, "a worker has no etcd");
    }
}
