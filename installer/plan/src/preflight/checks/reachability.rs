//! Nodes reach each other on the ports they need.

use std::collections::BTreeMap;

use kubezt_model::NodeName;
use kubezt_model::node::{Read, Reading};
use kubezt_model::ports::RELAY;
use kubezt_model::survey::{Obstacle, Unreached};

use super::operating_system::of;
use super::{Check, Place, Remark, Scene, Severity, list, nothing};
use crate::preflight::ports::{Port, ports};

pub(super) const CHECK: Check = Check {
    id: "reachability",
    title: "Nodes reach each other on the ports they need",
    reads: nothing,
    judge,
};

/// What this node could not reach.
pub(super) fn unreached<'a>(place: &Place<'a>) -> impl Iterator<Item = &'a Unreached> {
    let answers = place.facts.readings.iter();
    let found = answers.filter_map(|(read, reading)| match (read, reading) {
        (Read::Reach { .. }, Reading::Unreached(found)) => Some(found),
        _ => None,
    });
    found.flatten()
}

/// The node an address belongs to.
pub(super) fn owner<'a>(scene: &Scene<'a>, one: &Unreached) -> Option<&'a NodeName> {
    let address = one.target.endpoint.address.ip();
    scene.cluster().nodes.iter().find(|node| node.addresses.contains(&address)).map(|node| &node.name)
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let ports = ports(scene.cluster());
    let mut remarks = Vec::new();
    for place in &scene.places {
        // A firewall closes many ports for one reason.
        let mut causes: BTreeMap<(&NodeName, String), Vec<&Unreached>> = BTreeMap::new();
        for one in unreached(place) {
            let (Some(owner), Some(why)) = (owner(scene, one), cause(&one.why)) else { continue };
            causes.entry((owner, why)).or_default().push(one);
        }
        for ((owner, why), found) in causes {
            let severity = found.iter().map(|one| severity(&ports, one)).min().unwrap_or(Severity::Error);
            let endpoints = list(found.iter().map(|one| &one.target.endpoint));
            let what = format!("{} does not reach {owner} on {endpoints}: {why}", place.name());
            let system = scene.places.iter().find(|place| place.name() == owner).and_then(of);
            let firewall = system.and_then(|system| {
                let firewall = system.firewall?;
                Some(format!("; {} comes with {firewall}, which closes them", system.title))
            });
            let relayed = |one: &&Unreached| one.target.endpoint.address.port() == RELAY;
            let instead = match found.iter().all(relayed) {
                true => "; while they are closed, components come from the operator's machine",
                false => "",
            };
            let remedy = format!(
                "open these ports from {} to {owner} in firewalls on the nodes and between them{}{instead}",
                place.name(),
                firewall.unwrap_or_default()
            );
            remarks.push(Remark::new(severity, [place.name(), owner], what, remedy));
        }
    }
    remarks
}

fn severity(ports: &[Port], one: &Unreached) -> Severity {
    let endpoint = &one.target.endpoint;
    let port = ports
        .iter()
        .find(|port| port.number == endpoint.address.port() && port.protocol == endpoint.protocol);
    port.map_or(Severity::Error, |port| port.unreached)
}

/// Long packets that are lost are another check's.
fn cause(obstacle: &Obstacle) -> Option<String> {
    match obstacle {
        Obstacle::Silence => Some("no answer".to_owned()),
        Obstacle::Stranger => Some("another machine or program answers".to_owned()),
        Obstacle::Refused(why) => Some(why.clone()),
        Obstacle::LongPackets => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Fixture, unreached};
    use super::*;

    #[test]
    fn a_closed_way_names_both_ends_and_the_ports() {
        let mut fixture = Fixture::new();
        fixture.assert_none("reachability");
        let found = [("TCP", "10.0.0.11:6443"), ("UDP", "10.0.0.11:8472")]
            .map(|(protocol, address)| unreached(protocol, address, Obstacle::Silence));
        fixture.reach("w1", found.to_vec());
        let finding = fixture.assert_one(
            "reachability",
            "error",
            &["w1", "cp1"],
            "TCP 10.0.0.11:6443, UDP 10.0.0.11:8472",
        );
        assert!(finding.what.ends_with("no answer"), "{}", finding.what);
        assert!(finding.remedy.ends_with("between them"), "{}", finding.remedy);

        fixture.host("cp1").os_id = "sles".to_owned();
        fixture.host("cp1").os_version = "15.6".to_owned();
        let finding = fixture.assert_one("reachability", "error", &["w1", "cp1"], "no answer");
        assert!(finding.remedy.ends_with("SLES 15 SP6 comes with firewalld, which closes them"));
    }

    #[test]
    fn only_uploads_suffer_from_one_of_them() {
        let mut fixture = Fixture::new();
        let why = Obstacle::Refused("No route to host".to_owned());
        fixture.reach("w1", vec![unreached("TCP", "10.0.0.13:7444", why)]);
        let finding = fixture.assert_one("reachability", "warning", &["w1", "w2"], "No route to host");
        assert!(finding.remedy.ends_with("from the operator's machine"), "{}", finding.remedy);
        fixture.reach("w1", vec![unreached("TCP", "10.0.0.13:7444", Obstacle::LongPackets)]);
        fixture.assert_none("reachability");
    }
}
