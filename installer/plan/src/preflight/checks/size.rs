//! Processors and memory.

use kubezt_model::cluster::Role;

use super::{Check, Remark, Scene, host, size_text};

/// Processors of a control-plane node (kubeadm: `ControlPlaneNumCPU`).
const CONTROL_PLANE_CPUS: u32 = 2;
/// Memory of a control-plane node in bytes (kubeadm: `ControlPlaneMem`, 1700 MB).
const CONTROL_PLANE_MEMORY: u64 = 1_700_000_000;
/// Memory of a worker in bytes: what kubelet, runtime and network plug-in ask for, and as much for the system and pods.
const WORKER_MEMORY: u64 = 1 << 30;

pub(super) const CHECK: Check =
    Check { id: "size", title: "Processors and memory are enough", reads: host, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| {
        let cpus = place.host()?.cpus;
        let few = place.node.role == Role::ControlPlane && (1..CONTROL_PLANE_CPUS).contains(&cpus);
        few.then(|| {
            let what =
                format!("it has {cpus} processor; a control-plane node should have {CONTROL_PLANE_CPUS}");
            Remark::warning(place.name(), what, "give it more, or expect a slow API under load")
        })
    });
    remarks.extend(scene.each(|place| {
        let memory = place.host()?.memory;
        let least = match place.node.role {
            Role::ControlPlane => CONTROL_PLANE_MEMORY,
            Role::Worker => WORKER_MEMORY,
        };
        // Nothing is what a node says that does not tell.
        (memory > 0 && memory < least).then(|| {
            let role = place.node.role.as_str();
            let what = format!(
                "it has {} of memory; a {role} node should have {}",
                size_text(memory),
                size_text(least)
            );
            Remark::warning(
                place.name(),
                what,
                "give it more, or expect processes to be killed for want of it",
            )
        })
    }));
    remarks
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn small_nodes_are_warned_of() {
        let mut fixture = Fixture::new();
        fixture.assert_none("size");
        fixture.host("cp1").cpus = 1;
        fixture.assert_one("size", "warning", &["cp1"], "1 processor");
        let mut fixture = Fixture::new();
        fixture.host("w1").cpus = 1;
        fixture.assert_none("size");
        fixture.host("w1").memory = 512 << 20;
        fixture.assert_one("size", "warning", &["w1"], "512 MiB");
        fixture.host("w1").memory = 0;
        fixture.assert_none("size");
    }
}
