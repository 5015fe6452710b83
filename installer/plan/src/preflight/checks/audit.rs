//! The host's audit daemon, where rules are written for it.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};

use super::operating_system::install;
use super::{Check, Remark, Scene};

/// Where every system keeps it.
const DAEMON: &str = "/usr/sbin/auditd";

pub(super) const CHECK: Check =
    Check { id: "audit", title: "The audit daemon is there, where rules are written for it", reads, judge };

fn reads(desired: &Desired, _: &DesiredNode) -> Vec<Read> {
    match desired.cluster.settings.host.auditd {
        true => vec![Read::Host, daemon()],
        false => Vec::new(),
    }
}

fn daemon() -> Read {
    Read::File { path: DAEMON.to_owned(), text: false }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    if !scene.cluster().settings.host.auditd {
        return Vec::new();
    }
    scene.each(|place| {
        matches!(place.facts.reading(&daemon()), Some(Reading::Missing)).then(|| {
            let what = "it has no audit daemon, and the rules that are written for it are read by nobody";
            let remedy = format!(
                "install it{}; or set `host.auditd: false`",
                install(place, |system| system.audit_package)
            );
            Remark::warning(place.name(), what, remedy)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_missing_daemon_is_told_with_the_package_of_the_system() {
        let mut fixture = Fixture::new();
        fixture.assert_none("audit");
        fixture.set("w1", daemon(), Reading::Missing);
        let finding = fixture.assert_one("audit", "warning", &["w1"], "no audit daemon");
        assert!(finding.remedy.contains(": apt-get install auditd;"), "{}", finding.remedy);
        fixture.host("w1").os_id = "opensuse-leap".to_owned();
        fixture.host("w1").os_version = "15.6".to_owned();
        let finding = fixture.assert_one("audit", "warning", &["w1"], "no audit daemon");
        assert!(finding.remedy.contains(": zypper install audit;"), "{}", finding.remedy);
        fixture.desired.cluster.settings.host.auditd = false;
        fixture.assert_none("audit");
    }
}
