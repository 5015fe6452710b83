//! The cluster's own networks, and those the nodes know: what is in both cannot be reached in one of them.

use ipnet::IpNet;
use kubezt_model::survey::RouteReading;

use super::{Check, Place, Remark, Scene, list, network};

/// Interfaces of the network plug-ins themselves, by how their names begin.
const PLUG_INS: [&str; 5] = ["cilium", "lxc", "cni", "flannel", "cali"];

pub(super) const CHECK: Check =
    Check { id: "networks", title: "Pod and service networks are free", reads: network, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let networks = &scene.cluster().networks;
    let named =
        |what: &'static str, list: &'_ [IpNet]| list.iter().map(move |one| (what, *one)).collect::<Vec<_>>();
    let own = [named("pod", &networks.pods), named("service", &networks.services)].concat();
    let mut remarks = Vec::new();
    for place in &scene.places {
        for (what, own) in &own {
            remarks.extend(within(place, what, own));
            remarks.extend(around(place, what, own));
        }
    }
    remarks
}

fn routes<'a>(place: &Place<'a>) -> impl Iterator<Item = &'a RouteReading> {
    let routes = place.network().map_or(&[][..], |network| &network.routes).iter();
    let foreign = |route: &&RouteReading| !PLUG_INS.iter().any(|name| route.interface.starts_with(name));
    routes.filter(foreign).filter(|route| route.destination.prefix_len() > 0)
}

fn described(routes: Vec<&RouteReading>) -> String {
    list(routes.iter().map(|route| format!("{} by {}", route.destination, route.interface)))
}

/// Networks inside the cluster's: pods or Services would get addresses that are somebody else's.
fn within(place: &Place<'_>, what: &str, own: &IpNet) -> Option<Remark> {
    let inside: Vec<_> = routes(place).filter(|route| own.contains(&route.destination)).collect();
    (!inside.is_empty()).then(|| {
        let text = format!("it reaches {} , which the {what} network {own} takes", described(inside))
            .replace(" ,", ",");
        Remark::error(
            place.name(),
            text,
            format!("choose another {what} network (`networks` in the cluster file)"),
        )
    })
}

/// Networks around it: what has such an address out there is out of pods' reach.
fn around(place: &Place<'_>, what: &str, own: &IpNet) -> Option<Remark> {
    let wider = |route: &&RouteReading| route.destination.contains(own) && route.destination != *own;
    let wider: Vec<_> = routes(place).filter(wider).collect();
    (!wider.is_empty()).then(|| {
        let text = format!("it reaches {}, of which the {what} network {own} is a part", described(wider));
        let remedy =
            format!("see that nothing out there has an address in {own}, or choose another {what} network");
        Remark::warning(place.name(), text, remedy)
    })
}

#[cfg(test)]
mod tests {
    use kubezt_model::survey::RouteReading;

    use super::super::super::fixture::Fixture;

    fn route(destination: &str, interface: &str) -> RouteReading {
        let destination = destination.parse().unwrap();
        RouteReading { destination, gateway: None, interface: interface.to_owned() }
    }

    #[test]
    fn a_network_inside_the_clusters_is_refused() {
        let mut fixture = Fixture::new();
        fixture.assert_none("networks");
        fixture.network("w1").routes.push(route("10.244.7.0/24", "eth1"));
        fixture.assert_one(
            "networks",
            "error",
            &["w1"],
            "10.244.7.0/24 by eth1, which the pod network 10.244.0.0/16",
        );
        let mut fixture = Fixture::new();
        fixture.network("w1").routes.push(route("10.96.0.0/16", "docker0"));
        fixture.assert_one("networks", "error", &["w1"], "service network 10.96.0.0/16");
    }

    #[test]
    fn a_wider_network_is_warned_of_and_the_plug_ins_own_is_not() {
        let mut fixture = Fixture::new();
        fixture.network("w1").routes.push(route("10.244.0.0/15", "eth1"));
        fixture.assert_one("networks", "warning", &["w1"], "of which the pod network");
        let mut fixture = Fixture::new();
        fixture.network("w1").routes.push(route("10.244.1.0/24", "cilium_host"));
        fixture.assert_none("networks");
    }
}
