use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::NodeName;
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::{Endpoint, HolderReading, Protocol, SocketReading, Target};

use super::fixture::Fixture;
use super::*;

fn names(nodes: &[&str]) -> BTreeSet<NodeName> {
    nodes.iter().map(|node| node.parse().unwrap()).collect()
}

#[test]
fn ids_are_unique_and_sound_nodes_have_only_notes() {
    let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), CHECKS.len());
    let fixture = Fixture::new();
    let found = preflight(&fixture.desired, &fixture.seen, &names(&["cp1", "w1", "w2"]));
    assert!(found.iter().all(|finding| finding.severity == Severity::Note), "{found:#?}");
}

#[test]
fn all_is_said_at_once_and_errors_come_first() {
    let mut fixture = Fixture::new();
    fixture.host("w1").machine_id = fixture.host("w2").machine_id.clone();
    fixture.host("cp1").swap = 1 << 30;
    fixture.host("w2").hostname = "x".to_owned();
    let found = preflight(&fixture.desired, &fixture.seen, &names(&["cp1", "w1", "w2"]));
    let said: Vec<(&str, Severity)> = found.iter().map(|finding| (finding.id, finding.severity)).collect();
    let wrong =
        [("swap", Severity::Error), ("host-name", Severity::Error), ("machine-id", Severity::Warning)];
    assert_eq!(said[..3], wrong);
    assert!(said[3..].iter().all(|(_, severity)| *severity == Severity::Note));
}

#[test]
fn members_are_left_alone_unless_a_newcomer_is_concerned() {
    let mut fixture = Fixture::new();
    fixture.join("cp1");
    fixture.join("w1");
    assert_eq!(candidates(&fixture.desired, &fixture.seen), names(&["w2"]));
    fixture.host("w1").swap = 1 << 30;
    fixture.host("w2").machine_id = fixture.host("w1").machine_id.clone();
    let newcomers = names(&["w2"]);
    let found = preflight(&fixture.desired, &fixture.seen, &newcomers);
    let said: Vec<&str> = found.iter().map(|finding| finding.id).collect();
    assert_eq!(said, ["machine-id", "security-modules"]);
    assert_eq!(preflight(&fixture.desired, &fixture.seen, &BTreeSet::new()), []);
}

#[test]
fn newcomers_listen_where_others_have_to_reach_them() {
    let fixture = Fixture::new();
    let all = names(&["cp1", "w1", "w2"]);
    let listening = listeners(&fixture.desired, &fixture.seen, &all);
    let told = |node: &str| {
        let endpoints = &listening[&fixture.name(node)];
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // With one control-plane node nobody else asks its etcd or its kubelet.
    assert_eq!(told("cp1"), ["TCP 10.0.0.11:6443", "TCP 10.0.0.11:7444", "UDP 10.0.0.11:8472"]);
    assert_eq!(told("w1"), ["TCP 10.0.0.12:10250", "TCP 10.0.0.12:7444", "UDP 10.0.0.12:8472"]);
}

/// What each node tries, as `from: endpoint (who answers)`.
fn tried(fixture: &Fixture, nodes: &[&str], open: &[(&str, &str)]) -> Vec<String> {
    let mut listening: BTreeMap<NodeName, BTreeSet<Endpoint>> = BTreeMap::new();
    for (node, address) in open {
        let endpoint = Endpoint { protocol: Protocol::Tcp, address: address.parse().unwrap() };
        listening.entry(fixture.name(node)).or_default().insert(endpoint);
    }
    let reads = targets(&fixture.desired, &fixture.seen, &names(nodes), &listening);
    let mut tried = Vec::new();
    for (from, read) in reads {
        let Read::Reach { targets } = read else { panic!("{read:?}") };
        tried.extend(targets.iter().map(|Target { endpoint, node, bytes }| {
            let who = node.as_ref().map_or("it runs".to_owned(), ToString::to_string);
            format!("{from}: {endpoint} ({who}, {bytes})")
        }));
    }
    tried
}

#[test]
fn every_pair_tries_what_listens() {
    let fixture = Fixture::new();
    let open = [("cp1", "10.0.0.11:6443"), ("w1", "10.0.0.12:10250")];
    assert_eq!(
        tried(&fixture, &["cp1", "w1", "w2"], &open),
        [
            "cp1: TCP 10.0.0.12:10250 (w1, 3000)",
            "w1: TCP 10.0.0.11:6443 (cp1, 3000)",
            "w2: TCP 10.0.0.11:6443 (cp1, 3000)"
        ]
    );
}

/// Members let in the nodes they know; a new one is let in by the install, and no firewall is to be blamed before.
#[test]
fn what_our_own_firewall_closes_to_a_node_it_does_not_know_is_not_tried() {
    let mut fixture = Fixture::new();
    let open = [("cp1", "10.0.0.11:6443"), ("cp1", "10.0.0.11:10250"), ("w1", "10.0.0.12:10250")];
    let nodes = |elements: &str| {
        Reading::Text(format!(
            "table inet kubezt {{\n\tset nodes4 {{\n\t\telements = {{ {elements} }}\n\t}}\n\tchain input {{\n\
             \t\ttcp dport 10250 drop\n\t}}\n}}\n"
        ))
    };
    let reached = "cp1: TCP 10.0.0.12:10250 (w1, 3000)".to_owned();
    fixture.set("w1", Read::Firewall, nodes("10.0.0.12, 10.0.0.11"));
    assert!(tried(&fixture, &["w1", "cp1"], &open).contains(&reached));
    fixture.set("w1", Read::Firewall, nodes("10.0.0.12"));
    let tried = tried(&fixture, &["w1", "cp1"], &open);
    assert!(
        !tried.contains(&reached) && tried.contains(&"w1: TCP 10.0.0.11:6443 (cp1, 3000)".to_owned()),
        "{tried:?}"
    );
}

#[test]
fn members_are_tried_where_their_components_run() {
    let mut fixture = Fixture::new();
    for node in ["cp1", "w1"] {
        fixture.join(node);
    }
    let holder = |name: &str| Some(HolderReading { pid: 7, name: name.to_owned() });
    let socket = |address: &str, name: &str| SocketReading {
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        holder: holder(name),
    };
    fixture.sockets("cp1").push(socket("[::]:6443", "kube-apiserver"));
    fixture.sockets("w1").push(socket("[::]:10250", "kubelet"));
    fixture.sockets("w2").push(socket("0.0.0.0:10250", "squatter"));
    let newcomers = names(&["w2"]);
    assert_eq!(tried(&fixture, &["w2"], &[]), ["w2: TCP 10.0.0.11:6443 (it runs, 3000)"]);
    let listening = listeners(&fixture.desired, &fixture.seen, &newcomers);
    let told: Vec<String> = listening[&fixture.name("w2")].iter().map(ToString::to_string).collect();
    assert_eq!(told, ["TCP 10.0.0.13:7444", "UDP 10.0.0.13:8472"], "10250 is held by somebody");
}

#[test]
fn a_datagram_fills_a_packet() {
    let mut fixture = Fixture::new();
    fixture.network("w1").interfaces.get_mut("eth0").unwrap().mtu = 1400;
    let endpoint = Endpoint { protocol: Protocol::Udp, address: "10.0.0.11:8472".parse().unwrap() };
    let open = [(fixture.name("cp1"), [endpoint].into())].into();
    let reads = targets(&fixture.desired, &fixture.seen, &names(&["w1"]), &open);
    let Read::Reach { targets } = &reads[&fixture.name("w1")] else { panic!() };
    assert_eq!(targets.iter().map(|target| target.bytes).collect::<Vec<_>>(), [1372]);
}
