//! Control groups: the version kubelet takes, and the controllers it needs.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};

use super::{Check, Place, Remark, Scene, kernel, kubelet_switch, list};

/// Controllers without which kubelet does not start (kubelet: `cm/helpers_linux.go`, and `pids` for `podPidsLimit`).
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

pub(super) const CHECK: Check =
    Check { id: "cgroups", title: "Control groups are as kubelet needs them", reads, judge };

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![Read::Host, kernel::read(desired, node)]
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| version(scene, place));
    remarks.extend(scene.each(|place| {
        let read = kernel::read(scene.desired, place.desired);
        let Reading::Kernel(kernel) = place.facts.reading(&read)? else { return None };
        let has = |name: &&str| kernel.controllers.iter().any(|found| found == name);
        let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(name)).collect();
        (!missing.is_empty()).then(|| {
            let remedy = "switch them on (kernel parameters such as `cgroup_enable=memory`, no `cgroup_disable`), \
                          and boot again";
            Remark::error(place.name(), format!("these controllers are off: {}", list(&missing)), remedy)
        })
    }));
    remarks
}

/// kubelet refuses version 1 unless it is told not to, since 1.35.
fn version(scene: &Scene<'_>, place: &Place<'_>) -> Option<Remark> {
    if place.host()?.cgroup_version != 1 {
        return None;
    }
    let what = "it has control groups of version 1";
    let remedy = "boot with `systemd.unified_cgroup_hierarchy=1`";
    Some(match kubelet_switch(place, scene, "failCgroupV1", true) {
        true => Remark::error(
            place.name(),
            format!("{what}, with which kubelet does not start"),
            format!("{remedy}, or set `kubelet.configuration.failCgroupV1: false`"),
        ),
        false => Remark::warning(place.name(), format!("{what}, which Kubernetes will give up"), remedy),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn version_one_is_refused_unless_kubelet_takes_it() {
        let mut fixture = Fixture::new();
        fixture.assert_none("cgroups");
        fixture.host("w1").cgroup_version = 1;
        fixture.assert_one("cgroups", "error", &["w1"], "does not start");
        fixture.desired.cluster.settings.kubelet.configuration.insert("failCgroupV1".into(), false.into());
        fixture.assert_one("cgroups", "warning", &["w1"], "version 1");
    }

    #[test]
    fn controllers_that_are_off_are_named() {
        let mut fixture = Fixture::new();
        fixture.kernel("cp1").controllers.retain(|name| name != "memory");
        fixture.assert_one("cgroups", "error", &["cp1"], "memory");
    }
}
