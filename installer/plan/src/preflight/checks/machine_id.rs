//! Machine ids: copies of one disk share them, and whatever is told apart by them is mixed up.

use std::collections::BTreeMap;

use kubezt_model::NodeName;

use super::{Check, Remark, Scene, Severity, host, list};

/// systemd writes this until the first boot has made an id (machine-id(5)).
const UNINITIALIZED: &str = "uninitialized";

pub(super) const CHECK: Check =
    Check { id: "machine-id", title: "Every node has a machine id of its own", reads: host, judge };

const REMEDY: &str = "on all but one: `rm /etc/machine-id && systemd-machine-id-setup`, and boot again";

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut owners: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
    for place in &scene.places {
        if let Some(host) = place.host() {
            owners.entry(host.machine_id.as_str()).or_default().push(place.name());
        }
    }
    let remark = |(id, nodes): (&str, Vec<&NodeName>)| match id {
        "" | UNINITIALIZED => {
            let remedy = "`systemd-machine-id-setup`, and boot again";
            Some(Remark::new(Severity::Warning, nodes, "it has no machine id", remedy))
        }
        id if nodes.len() > 1 => {
            let what = format!(
                "{} have one machine id, {id}: they are told apart by it in logs and by DHCP",
                list(&nodes)
            );
            Some(Remark::new(Severity::Warning, nodes, what, REMEDY))
        }
        _ => None,
    };
    owners.into_iter().filter_map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn copies_of_one_disk_are_found() {
        let mut fixture = Fixture::new();
        fixture.assert_none("machine-id");
        fixture.host("w2").machine_id = fixture.host("w1").machine_id.clone();
        fixture.assert_one("machine-id", "warning", &["w1", "w2"], "w1, w2 have one machine id");
        fixture.host("w2").machine_id.clear();
        fixture.assert_one("machine-id", "warning", &["w2"], "no machine id");
    }
}
