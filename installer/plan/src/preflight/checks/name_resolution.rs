//! Names: a node knows its own, and the endpoint's name leads to the control plane or nowhere.

use std::net::{IpAddr, SocketAddr};

use kubezt_model::desired::{Cluster, Node};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::NameReading;

use super::operating_system::of;
use super::{Check, Place, Remark, Scene, Severity, host, list};
use crate::kubelet;

/// Where a node's own list of name servers is, which kubelet gives to pods that want no others.
const RESOLVER: &str = "/etc/resolv.conf";
/// kubelet's field for it.
const RESOLVER_FIELD: &str = "resolvConf";

pub(super) const CHECK: Check =
    Check { id: "name-resolution", title: "Names lead where they should", reads: host, judge };

/// Asked where an answer may be waited for.
pub(in super::super) fn measures(cluster: &Cluster, node: &Node) -> Vec<Read> {
    vec![Read::Names { names: vec![node.name.to_string(), cluster.endpoint.name.clone()] }]
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| own(place, answer(scene, place, place.name().as_str())?));
    remarks.extend(
        scene.each(|place| endpoint(scene, answer(scene, place, &scene.cluster().endpoint.name)?, place)),
    );
    remarks.extend(clash(scene.cluster()));
    remarks.extend(scene.each(|place| stub(scene, place)));
    remarks
}

/// A name server on the node's loopback is another one in each pod, where nobody listens.
fn stub(scene: &Scene<'_>, place: &Place<'_>) -> Option<Remark> {
    let stub = place.host()?.name_servers.iter().find(|server| server.is_loopback())?;
    if kubelet::configuration(scene.cluster(), place.node).contains_key(RESOLVER_FIELD) {
        return None;
    }
    let what = format!(
        "its {RESOLVER} names {stub}, where no pod reaches anybody: pods with `dnsPolicy: Default` would resolve nothing"
    );
    let real = of(place).and_then(|system| system.resolver).map(|path| format!(": ln -sf {path} {RESOLVER}"));
    let remedy = format!(
        "let {RESOLVER} name the real servers{}; or set `kubelet.configuration.{RESOLVER_FIELD}` to a list of them that \
         every node has",
        real.unwrap_or_default()
    );
    Some(Remark::warning(place.name(), what, remedy))
}

fn answer<'a>(scene: &Scene<'a>, place: &Place<'a>, name: &str) -> Option<&'a NameReading> {
    let read = measures(scene.cluster(), place.node).pop()?;
    match place.facts.reading(&read)? {
        Reading::Names(names) => names.get(name),
        _ => None,
    }
}

fn own(place: &Place<'_>, answer: &NameReading) -> Option<Remark> {
    let name = place.name();
    let ours = |address: &IpAddr| {
        address.is_loopback()
            || place.node.addresses.contains(address)
            || place.network().is_some_and(|network| network.addresses.contains(address))
    };
    let what = match answer {
        NameReading::Addresses(found) if found.iter().any(ours) => return None,
        NameReading::Addresses(found) => {
            format!("its own name leads to {}, which it does not have", list(found))
        }
        NameReading::None(why) => format!("it does not know its own name: {why}"),
        NameReading::Silent => {
            "its resolver does not answer when it is asked for the node's own name".to_owned()
        }
    };
    let remedy = format!("add `{} {name}` to its /etc/hosts, or mend its name server", place.node.address());
    Some(Remark::warning(name, what, remedy))
}

/// Nothing in the cluster asks for this name; people and their tools do.
fn endpoint(scene: &Scene<'_>, answer: &NameReading, place: &Place<'_>) -> Option<Remark> {
    let endpoint = &scene.cluster().endpoint;
    let NameReading::Addresses(found) = answer else { return None };
    let control_plane = scene.cluster().control_plane().flat_map(|node| &node.addresses);
    let external = endpoint.external.iter().map(SocketAddr::ip);
    let known: Vec<IpAddr> = control_plane.chain(&endpoint.addresses).copied().chain(external).collect();
    let strange: Vec<&IpAddr> =
        found.iter().filter(|address| !known.contains(address) && !address.is_loopback()).collect();
    (!strange.is_empty()).then(|| {
        let what = format!(
            "the endpoint's name {} leads to {}, which is neither a control-plane node nor in `endpoint.addresses` or `endpoint.external`",
            endpoint.name,
            list(&strange)
        );
        let remedy = "choose another `endpoint.name`, correct the name server, or add the load balancer's address to \
                      `endpoint.addresses`";
        Remark::warning(place.name(), what, remedy)
    })
}

/// Names that something else in the cluster goes by.
fn clash(cluster: &Cluster) -> Option<Remark> {
    let (name, domain) = (&cluster.endpoint.name, &cluster.networks.domain);
    let inside = name == domain || name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
    let worker = cluster
        .nodes
        .iter()
        .find(|node| node.name.as_str() == name && cluster.control_plane().all(|member| member != *node));
    let what = match worker {
        _ if inside => format!("the endpoint's name {name} lies in the domain of Services, {domain}"),
        Some(_) => format!("the endpoint's name {name} is that of a worker"),
        None => return None,
    };
    Some(Remark::new(Severity::Warning, [], what, "choose another `endpoint.name`"))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    fn set(fixture: &mut Fixture, name: &str, answer: NameReading) {
        let read = measures(&fixture.desired.cluster, &fixture.desired.cluster.nodes[1]).pop().unwrap();
        let names = [(name.to_owned(), answer)].into();
        fixture.set("w1", read, Reading::Names(names));
    }

    fn addresses(text: &str) -> NameReading {
        NameReading::Addresses(vec![text.parse().unwrap()])
    }

    #[test]
    fn a_node_knows_its_own_name() {
        let mut fixture = Fixture::new();
        for fine in ["127.0.1.1", "10.0.0.12"] {
            set(&mut fixture, "w1", addresses(fine));
            fixture.assert_none("name-resolution");
        }
        set(&mut fixture, "w1", addresses("192.0.2.1"));
        fixture.assert_one("name-resolution", "warning", &["w1"], "leads to 192.0.2.1");
        set(&mut fixture, "w1", NameReading::None("no such host".to_owned()));
        fixture.assert_one("name-resolution", "warning", &["w1"], "no such host");
        set(&mut fixture, "w1", NameReading::Silent);
        fixture.assert_one("name-resolution", "warning", &["w1"], "does not answer");
    }

    #[test]
    fn the_endpoints_name_leads_to_the_control_plane_or_nowhere() {
        let mut fixture = Fixture::new();
        let name = fixture.desired.cluster.endpoint.name.clone();
        for fine in [addresses("10.0.0.11"), addresses("192.0.2.10"), NameReading::Silent] {
            set(&mut fixture, &name, fine);
            fixture.assert_none("name-resolution");
        }
        set(&mut fixture, &name, addresses("10.0.0.12"));
        fixture.assert_one("name-resolution", "warning", &["w1"], "leads to 10.0.0.12");
    }

    #[test]
    fn the_endpoints_name_is_nobody_elses() {
        for (name, what) in [("api.cluster.local", "domain of Services"), ("w1", "that of a worker")] {
            let mut fixture = Fixture::new();
            fixture.desired.cluster.endpoint.name = name.to_owned();
            fixture.assert_one("name-resolution", "warning", &[], what);
        }
        let mut fixture = Fixture::new();
        fixture.desired.cluster.endpoint.name = "cp1".to_owned();
        fixture.assert_none("name-resolution");
    }

    #[test]
    fn a_name_server_that_only_the_node_reaches_is_told() {
        let mut fixture = Fixture::new();
        fixture.host("w1").name_servers = vec!["10.0.0.2".parse().unwrap()];
        fixture.assert_none("name-resolution");
        fixture.host("w1").name_servers = vec!["127.0.0.53".parse().unwrap()];
        fixture.assert_one("name-resolution", "warning", &["w1"], "names 127.0.0.53");
        fixture.host("w1").os_id = "ubuntu".to_owned();
        fixture.host("w1").os_version = "24.04".to_owned();
        let finding = fixture.assert_one("name-resolution", "warning", &["w1"], "names 127.0.0.53");
        assert!(finding.remedy.contains("ln -sf /run/systemd/resolve/resolv.conf /etc/resolv.conf"));
        let settings = &mut fixture.desired.cluster.settings.kubelet.configuration;
        settings.insert(RESOLVER_FIELD.to_owned(), "/etc/kubezt/resolv.conf".into());
        fixture.assert_none("name-resolution");
    }
}
