//! SELinux and AppArmor are left as they are.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};

use super::{Check, Remark, Scene, kernel};

pub(super) const CHECK: Check =
    Check { id: "security-modules", title: "SELinux and AppArmor, left as they are", reads, judge };

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![kernel::read(desired, node)]
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| {
        let read = kernel::read(scene.desired, place.desired);
        let Reading::Kernel(kernel) = place.facts.reading(&read)? else { return None };
        let selinux = if kernel.selinux.is_empty() { "off" } else { &kernel.selinux };
        let apparmor = if kernel.apparmor { "on" } else { "off" };
        Some(Remark::note(
            place.name(),
            format!("SELinux is {selinux}, AppArmor is {apparmor}; both stay so"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn their_state_is_told() {
        let mut fixture = Fixture::new();
        fixture.kernel("w1").selinux = "enforcing".to_owned();
        fixture.kernel("w2").apparmor = true;
        let told: Vec<String> =
            fixture.findings("security-modules").into_iter().map(|one| one.what).collect();
        assert_eq!(
            told,
            [
                "SELinux is off, AppArmor is off; both stay so",
                "SELinux is enforcing, AppArmor is off; both stay so",
                "SELinux is off, AppArmor is on; both stay so"
            ]
        );
    }
}
