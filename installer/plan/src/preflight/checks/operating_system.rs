//! Operating systems that are known, those of them that were tried, and systemd, which starts everything.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};
use kubezt_model::systems::{self, SYSTEMS, System};

use super::{Check, Place, Remark, Scene, kernel, list};

pub(super) const CHECK: Check = Check {
    id: "operating-system",
    title: "The operating system is one that is known and was tried",
    reads,
    judge,
};

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![Read::Host, kernel::read(desired, node)]
}

/// The system a node runs; `None` where it is not a known one.
pub(super) fn of(place: &Place<'_>) -> Option<&'static System> {
    systems::of(place.host()?)
}

/// How a package is installed on a node, where its system is known: `: apt-get install NAME`.
pub(super) fn install(place: &Place<'_>, package: impl Fn(&System) -> &str) -> String {
    of(place).map(|system| format!(": {}", system.packages.install(package(system)))).unwrap_or_default()
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| known(place));
    remarks.extend(scene.each(|place| {
        let read = kernel::read(scene.desired, place.desired);
        let Reading::Kernel(seen) = place.facts.reading(&read)? else { return None };
        (!seen.systemd).then(|| {
            let remedy = "boot the node with systemd: it starts kubelet, the runtime and the node service";
            Remark::error(place.name(), "systemd does not run it", remedy)
        })
    }));
    remarks
}

fn known(place: &Place<'_>) -> Option<Remark> {
    let host = place.host()?;
    let titles = |wanted: fn(&System) -> bool| {
        list(SYSTEMS.iter().filter(|system| wanted(system)).map(|system| system.title))
    };
    match systems::of(host) {
        Some(system) if system.tried => None,
        Some(system) => {
            let what = format!(
                "it runs {}, on which this release was not run yet; it was on {}",
                system.title,
                titles(|system| system.tried)
            );
            Some(Remark::warning(place.name(), what, "try a node first that you can lose"))
        }
        None => {
            let said = [&host.os_id, &host.os_version].map(|word| match word.as_str() {
                "" => "?",
                word => word,
            });
            let like = match host.os_like.is_empty() {
                true => String::new(),
                false => format!(", like {}", list(&host.os_like)),
            };
            let what = format!(
                "it runs {} (os-release{like}), which is not a system kubezt knows: {}",
                said.join(" "),
                titles(|_| true)
            );
            let remedy =
                "install one of these, or go on at your own risk with `--ignore operating-system=REASON`";
            Some(Remark::error(place.name(), what, remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn a_known_system_that_was_not_tried_is_a_warning_and_an_unknown_one_an_error() {
        let mut fixture = Fixture::new();
        fixture.assert_none("operating-system");
        fixture.host("w1").os_version = "13".to_owned();
        fixture.assert_none("operating-system");
        fixture.host("w1").os_id = "rocky".to_owned();
        fixture.host("w1").os_version = "9.6".to_owned();
        let finding = fixture.assert_one("operating-system", "warning", &["w1"], "RHEL 9");
        assert!(finding.what.contains("it was on Debian 12, Debian 13"), "{}", finding.what);
        fixture.host("w1").os_version = "8.10".to_owned();
        let finding = fixture.assert_one("operating-system", "error", &["w1"], "rocky 8.10");
        assert!(finding.what.ends_with("Ubuntu 24.04, RHEL 9, SLES 15 SP6"), "{}", finding.what);
        assert!(finding.remedy.contains("--ignore operating-system=REASON"), "{}", finding.remedy);
    }

    #[test]
    fn a_host_that_does_not_say_what_it_is_is_unknown() {
        let mut fixture = Fixture::new();
        fixture.host("w1").os_id.clear();
        fixture.host("w1").os_version.clear();
        fixture.assert_one("operating-system", "error", &["w1"], "it runs ? ?");
    }

    #[test]
    fn none_runs_without_systemd() {
        let mut fixture = Fixture::new();
        fixture.kernel("w2").systemd = false;
        fixture.assert_one("operating-system", "error", &["w2"], "systemd");
    }
}
