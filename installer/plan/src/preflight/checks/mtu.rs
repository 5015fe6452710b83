//! Packet sizes: one for all nodes, and long packets arrive.

use std::collections::BTreeSet;

use kubezt_model::NodeName;
use kubezt_model::survey::Obstacle;

use super::reachability::{owner, unreached};
use super::{Check, Remark, Scene, Severity, list, network};

/// The shortest packet every IPv6 network takes (RFC 8200), with the 50 bytes that tunnels between nodes add.
const SHORTEST: u32 = 1280 + 50;

pub(super) const CHECK: Check = Check { id: "mtu", title: "Long packets arrive", reads: network, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = lost(scene);
    let mtus: Vec<(&NodeName, u32)> = scene
        .places
        .iter()
        .filter_map(|place| {
            let (_, interface) = place.network()?.interface_of(place.node.address())?;
            Some((place.name(), interface.mtu))
        })
        .collect();
    let sizes: BTreeSet<u32> = mtus.iter().map(|(_, mtu)| *mtu).collect();
    if sizes.len() > 1 {
        let told = list(mtus.iter().map(|(node, mtu)| format!("{node} {mtu}")));
        let what = format!("the nodes' interfaces take packets of different lengths: {told}");
        let nodes = mtus.iter().map(|(node, _)| *node);
        remarks.push(Remark::new(
            Severity::Warning,
            nodes,
            what,
            "set one MTU on all of them, that the network between them takes",
        ));
    }
    for (node, mtu) in mtus.iter().filter(|(_, mtu)| *mtu < SHORTEST) {
        let what =
            format!("its interface takes packets of {mtu} bytes, and tunnels between nodes need {SHORTEST}");
        remarks.push(Remark::warning(node, what, "set a larger MTU"));
    }
    remarks
}

/// Long packets that are lost without a word make connections hang once they carry something.
fn lost(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for place in &scene.places {
        let lost: BTreeSet<&NodeName> = unreached(place)
            .filter(|one| one.why == Obstacle::LongPackets)
            .filter_map(|one| owner(scene, one))
            .collect();
        for owner in lost {
            let what = format!("from {} to {owner} short packets arrive and long ones do not", place.name());
            let remedy = "lower the MTU of the nodes' interfaces to what the network between them takes, or let ICMP \
                          \"fragmentation needed\" through its firewalls";
            remarks.push(Remark::new(Severity::Error, [place.name(), owner], what, remedy));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Fixture, unreached};
    use super::*;

    #[test]
    fn different_and_short_packets_are_warned_of() {
        let mut fixture = Fixture::new();
        fixture.assert_none("mtu");
        fixture.network("w2").interfaces.get_mut("eth0").unwrap().mtu = 9000;
        fixture.assert_one("mtu", "warning", &["cp1", "w1", "w2"], "w2 9000");
        let mut fixture = Fixture::new();
        for node in ["cp1", "w1", "w2"] {
            fixture.network(node).interfaces.get_mut("eth0").unwrap().mtu = 1280;
        }
        assert_eq!(fixture.findings("mtu").len(), 3);
    }

    #[test]
    fn long_packets_that_are_lost_are_refused() {
        let mut fixture = Fixture::new();
        let both = ["10.0.0.13:8472", "10.0.0.13:51871"];
        fixture.reach("w1", both.map(|to| unreached("UDP", to, Obstacle::LongPackets)).to_vec());
        fixture.assert_one("mtu", "error", &["w1", "w2"], "from w1 to w2");
    }
}
