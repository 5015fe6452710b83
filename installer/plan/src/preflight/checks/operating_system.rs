//! Operating systems that were tried, and systemd, which starts everything.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};

use super::{Check, Remark, Scene, kernel, list};

/// `ID` and `VERSION_ID` of os-release: what the stories of this release ran on.
const TRIED: [(&str, &str); 1] = [("debian", "12")];

pub(super) const CHECK: Check =
    Check { id: "operating-system", title: "The operating system is one that was tried", reads, judge };

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![Read::Host, kernel::read(desired, node)]
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| {
        let host = place.host()?;
        let tried = TRIED.contains(&(host.os_id.as_str(), host.os_version.as_str()));
        (!tried).then(|| {
            let tried = list(TRIED.map(|(id, version)| format!("{id} {version}")));
            let what = format!(
                "it runs {} {}, on which this release was not tried; it was on {tried}",
                host.os_id, host.os_version
            );
            Remark::warning(place.name(), what, format!("install {tried}, or try a node you can lose first"))
        })
    });
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

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn another_system_is_a_warning_and_none_without_systemd() {
        let mut fixture = Fixture::new();
        fixture.assert_none("operating-system");
        fixture.host("w1").os_version = "13".to_owned();
        fixture.assert_one("operating-system", "warning", &["w1"], "debian 13");
        let mut fixture = Fixture::new();
        fixture.kernel("w2").systemd = false;
        fixture.assert_one("operating-system", "error", &["w2"], "systemd");
    }
}
