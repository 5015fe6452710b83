//! SELinux and AppArmor are left as they are, and what SELinux needs is there.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::KernelReading;
use kubezt_model::systems::Confinement;

use super::operating_system::{install, of};
use super::{Check, Place, Remark, Scene, kernel};

/// Belongs to the policy that knows containers (package container-selinux); the runtime takes the labels of containers from it.
const CONTAINER_POLICY: &str = "/usr/share/containers/selinux/contexts";

pub(super) const CHECK: Check =
    Check { id: "security-modules", title: "SELinux and AppArmor, left as they are", reads, judge };

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![kernel::read(desired, node), Read::Host, container_policy()]
}

fn container_policy() -> Read {
    Read::File { path: CONTAINER_POLICY.to_owned(), text: false }
}

fn seen<'a>(scene: &Scene<'a>, place: &Place<'a>) -> Option<&'a KernelReading> {
    match place.facts.reading(&kernel::read(scene.desired, place.desired))? {
        Reading::Kernel(kernel) => Some(kernel),
        _ => None,
    }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| {
        let on = !seen(scene, place)?.selinux.is_empty();
        let missing = matches!(place.facts.reading(&container_policy()), None | Some(Reading::Missing));
        (on && missing).then(|| {
            let what = "SELinux is on, and its policy knows no containers";
            let remedy = format!("install container-selinux{}", install(place, |_| "container-selinux"));
            Remark::error(place.name(), what, remedy)
        })
    });
    remarks.extend(scene.each(|place| {
        (seen(scene, place)?.selinux == "enforcing").then(|| {
            let what = "SELinux enforces, under which this release was not run yet: files get the labels of the policy, \
                        containers run confined, those of the control plane as spc_t";
            let remedy = "try a node first that you can lose, and look for what is refused with `ausearch -m avc -ts boot`; \
                          SELinux stays on";
            Remark::warning(place.name(), what, remedy)
        })
    }));
    remarks.extend(scene.each(|place| {
        let kernel = seen(scene, place)?;
        let selinux = if kernel.selinux.is_empty() { "off" } else { &kernel.selinux };
        let apparmor = if kernel.apparmor { "on" } else { "off" };
        let usual = of(place).filter(|system| match system.confinement {
            Confinement::AppArmor => !kernel.apparmor,
            Confinement::SeLinux => kernel.selinux != "enforcing",
        });
        let usual = usual
            .map(|system| format!("; {} comes with {} on", system.title, system.confinement.title()))
            .unwrap_or_default();
        Some(Remark::note(
            place.name(),
            format!("SELinux is {selinux}, AppArmor is {apparmor}; both stay so{usual}"),
        ))
    }));
    remarks
}

#[cfg(test)]
mod tests {
    use kubezt_model::node::FileKind;

    use super::super::super::fixture::{Fixture, entry};
    use super::*;

    fn told(fixture: &Fixture) -> Vec<(String, String)> {
        let found = fixture.findings("security-modules").into_iter();
        found.map(|one| (format!("{} {}", one.severity, one.nodes[0]), one.what)).collect()
    }

    #[test]
    fn their_state_is_told_and_whether_the_system_comes_so() {
        let mut fixture = Fixture::new();
        fixture.kernel("w2").apparmor = false;
        let [cp1, _, w2] = &told(&fixture)[..] else { panic!("{:?}", told(&fixture)) };
        assert_eq!(cp1.1, "SELinux is off, AppArmor is on; both stay so");
        assert_eq!(w2.1, "SELinux is off, AppArmor is off; both stay so; Debian 12 comes with AppArmor on");
    }

    #[test]
    fn selinux_needs_the_policy_for_containers_and_is_never_switched_off() {
        let mut fixture = Fixture::new();
        fixture.host("w1").os_id = "almalinux".to_owned();
        fixture.host("w1").os_version = "9.5".to_owned();
        fixture.kernel("w1").selinux = "enforcing".to_owned();
        fixture.kernel("w1").apparmor = false;
        let found: Vec<_> = fixture
            .findings("security-modules")
            .into_iter()
            .filter(|one| one.nodes == [fixture.name("w1")])
            .collect();
        let [error, warning, note] = &found[..] else { panic!("{found:?}") };
        assert_eq!(error.severity.to_string(), "error");
        assert!(error.remedy.ends_with(": dnf install container-selinux"), "{}", error.remedy);
        assert!(warning.what.contains("not run yet") && warning.remedy.ends_with("SELinux stays on"));
        assert_eq!(note.what, "SELinux is enforcing, AppArmor is off; both stay so");

        fixture.set("w1", container_policy(), Reading::File(entry(CONTAINER_POLICY, FileKind::File)));
        assert!(told(&fixture).iter().all(|(severity, _)| !severity.starts_with("error")));
    }
}
