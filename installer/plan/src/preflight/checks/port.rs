//! Ports that the components will listen on are free.

use kubezt_model::Digest;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::Read;
use kubezt_model::survey::SocketReading;

use super::{Check, Remark, Scene};
use crate::preflight::ports::{Port, node_service, ports};
use crate::preflight::seen::Place;

pub(super) const CHECK: Check = Check { id: "ports", title: "Ports are free", reads, judge };

fn reads(_: &Desired, _: &DesiredNode) -> Vec<Read> {
    vec![Read::Sockets, node_service()]
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let ports = ports(scene.cluster());
    let mut remarks = Vec::new();
    for place in &scene.places {
        for port in ports.iter().filter(|port| port.is_on(place.node)) {
            let foreign = port.taken(place).into_iter().find(|socket| !is_ours(port, place, socket));
            remarks.extend(foreign.map(|socket| taken(port, place, socket)));
        }
    }
    remarks
}

/// What the kernel holds for a member is its network plug-in's. Another look at the same nodes listens for a moment only.
fn is_ours(port: &Port, place: &Place<'_>, socket: &SocketReading) -> bool {
    let looks = socket.holder.as_ref().is_some_and(|holder| is_node_program(&holder.name));
    looks || port.is_own(place, socket) || (place.member && socket.holder.is_none())
}

/// The program that speaks with the operator is named by its digest.
fn is_node_program(name: &str) -> bool {
    name.strip_prefix("kubezt-").is_some_and(|digest| digest.parse::<Digest>().is_ok())
}

fn taken(port: &Port, place: &Place<'_>, socket: &SocketReading) -> Remark {
    let needs = if port.program.is_empty() { "the network plug-in" } else { port.program };
    let who = socket.holder.as_ref().map_or_else(|| "the kernel".to_owned(), ToString::to_string);
    let what = format!("{} {} is held by {who}, and {needs} needs it", port.protocol, socket.address);
    let remedy = match &socket.holder {
        Some(holder) => format!(
            "stop what runs as {} (`systemctl status {}` names its unit), or move it to another port",
            holder.name, holder.pid
        ),
        None => "remove the interface or mount that holds it, or boot again".to_owned(),
    };
    Remark::new(port.taken, [place.name()], what, remedy)
}

#[cfg(test)]
mod tests {
    use kubezt_model::survey::{HolderReading, Protocol};

    use super::super::super::fixture::Fixture;
    use super::*;

    fn socket(protocol: Protocol, address: &str, holder: Option<&str>) -> SocketReading {
        let holder = holder.map(|name| HolderReading { pid: 4711, name: name.to_owned() });
        SocketReading { protocol, address: address.parse().unwrap(), holder }
    }

    #[test]
    fn whoever_holds_a_port_is_named() {
        let mut fixture = Fixture::new();
        fixture.assert_none("ports");
        fixture.sockets("w1").push(socket(Protocol::Tcp, "0.0.0.0:10250", Some("squatter")));
        let finding = fixture.assert_one(
            "ports",
            "error",
            &["w1"],
            "TCP 0.0.0.0:10250 is held by process 4711 (squatter)",
        );
        assert!(
            finding.what.contains("kubelet needs it") && finding.remedy.contains("systemctl status 4711")
        );
    }

    #[test]
    fn components_come_from_elsewhere_where_they_cannot_be_handed_on() {
        let mut fixture = Fixture::new();
        fixture.sockets("w1").push(socket(Protocol::Tcp, "0.0.0.0:7444", Some("squatter")));
        fixture.assert_one("ports", "warning", &["w1"], "kubezt needs it");
    }

    #[test]
    fn what_is_in_nobodys_way_is_left_alone() {
        let mut fixture = Fixture::new();
        let sockets = fixture.sockets("w1");
        sockets.push(socket(Protocol::Udp, "0.0.0.0:10250", Some("other protocol")));
        sockets.push(socket(Protocol::Tcp, "10.0.0.12:10248", Some("kubelet asks on loopback only")));
        sockets.push(socket(
            Protocol::Tcp,
            "192.0.2.1:10250",
            Some("an address that is no part of the cluster"),
        ));
        sockets.push(socket(Protocol::Tcp, "0.0.0.0:6443", Some("a worker has no API server")));
        fixture.assert_none("ports");
        fixture.sockets("w1").push(socket(
            Protocol::Tcp,
            "127.0.0.1:10250",
            Some("kubelet listens there too"),
        ));
        fixture.assert_one("ports", "error", &["w1"], "127.0.0.1:10250");
    }

    #[test]
    fn own_components_are_known_on_members_only() {
        let mut fixture = Fixture::new();
        fixture.sockets("w1").push(socket(Protocol::Tcp, "[::]:10250", Some("kubelet")));
        fixture.sockets("w1").push(socket(Protocol::Udp, "0.0.0.0:8472", None));
        assert_eq!(fixture.findings("ports").len(), 2, "of another cluster, as far as anybody knows");
        fixture.join("w1");
        fixture.assert_none("ports");
        fixture.sockets("w1").push(socket(Protocol::Tcp, "127.0.0.1:7443", Some("haproxy")));
        fixture.assert_one("ports", "error", &["w1"], "haproxy");
    }

    #[test]
    fn another_operators_look_is_no_obstacle() {
        let mut fixture = Fixture::new();
        let program = format!("kubezt-{}", Digest::of(b"program"));
        fixture.sockets("w1").push(socket(Protocol::Tcp, "10.0.0.12:10250", Some(&program)));
        fixture.assert_none("ports");
        fixture.sockets("w1")[0].holder.as_mut().unwrap().name = "kubezt-x".to_owned();
        fixture.assert_one("ports", "error", &["w1"], "kubezt-x");
    }

    #[test]
    fn an_install_that_was_killed_early_has_its_node_service_running() {
        let mut fixture = Fixture::new();
        fixture.sockets("w1").push(socket(Protocol::Tcp, "127.0.0.1:7443", Some("kubezt")));
        fixture.assert_one("ports", "error", &["w1"], "7443");
        fixture.place_file("w1", "/etc/kubezt/node.json");
        fixture.assert_none("ports");
    }
}
