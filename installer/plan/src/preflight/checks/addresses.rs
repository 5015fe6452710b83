//! Addresses: each is on its node, and on no other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kubezt_model::NodeName;

use super::{Check, Place, Remark, Scene, Severity, list, network};

pub(super) const CHECK: Check =
    Check { id: "addresses", title: "Every address is on its own node", reads: network, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for place in &scene.places {
        let Some(network) = place.network() else { continue };
        for address in place.node.addresses.iter().filter(|address| !network.addresses.contains(address)) {
            let what = format!("no interface of it has {address}; it has {}", list(&network.addresses));
            let remedy = "give it that address, or correct `addresses` in the cluster file: components listen on them, so a \
                          translated address will not do";
            remarks.push(Remark::error(place.name(), what, remedy));
        }
    }
    for owner in &scene.cluster().nodes {
        for address in &owner.addresses {
            let others =
                scene.places.iter().filter(|other| *other.name() != owner.name && has(other, *address));
            let others: Vec<&NodeName> = others.map(|other| other.name()).collect();
            if !others.is_empty() {
                let what =
                    format!("{address} is the address of {}, and on {} too", owner.name, list(&others));
                let nodes = std::iter::once(&owner.name).chain(others);
                remarks.push(Remark::new(Severity::Error, nodes, what, "take it off all nodes but one"));
            }
        }
    }
    remarks.extend(hardware(scene));
    remarks
}

fn has(place: &Place<'_>, address: IpAddr) -> bool {
    place.network().is_some_and(|network| network.addresses.contains(&address))
}

/// Two interfaces of one hardware address on one network answer for each other.
fn hardware(scene: &Scene<'_>) -> Vec<Remark> {
    let mut owners: BTreeMap<&str, Vec<&NodeName>> = BTreeMap::new();
    for place in &scene.places {
        let interface = place.network().and_then(|network| network.interface_of(place.node.address()));
        if let Some((_, interface)) =
            interface.filter(|(_, interface)| !interface.hardware_address.is_empty())
        {
            owners.entry(&interface.hardware_address).or_default().push(place.name());
        }
    }
    let shared = owners.into_iter().filter(|(_, nodes)| nodes.len() > 1);
    shared
        .map(|(address, nodes)| {
            let what = format!("{} have the hardware address {address}", list(&nodes));
            let remedy = "give each network card an address of its own: copies of a virtual machine keep it";
            Remark::new(Severity::Warning, nodes, what, remedy)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn an_address_that_is_elsewhere_is_found() {
        let mut fixture = Fixture::new();
        fixture.assert_none("addresses");
        fixture.network("w1").addresses = vec!["192.0.2.7".parse().unwrap()];
        fixture.assert_one(
            "addresses",
            "error",
            &["w1"],
            "no interface of it has 10.0.0.12; it has 192.0.2.7",
        );
        let mut fixture = Fixture::new();
        fixture.network("w2").addresses.push("10.0.0.12".parse().unwrap());
        fixture.assert_one(
            "addresses",
            "error",
            &["w1", "w2"],
            "10.0.0.12 is the address of w1, and on w2 too",
        );
    }

    #[test]
    fn a_shared_hardware_address_is_found() {
        let mut fixture = Fixture::new();
        let shared = fixture.network("w1").interfaces["eth0"].hardware_address.clone();
        fixture.network("w2").interfaces.get_mut("eth0").unwrap().hardware_address = shared;
        fixture.assert_one("addresses", "warning", &["w1", "w2"], "have the hardware address");
    }
}
