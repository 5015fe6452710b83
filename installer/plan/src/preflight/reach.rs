//! Which node tries to reach what on which other one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, Node};
use kubezt_model::firewall::Table;
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::{Endpoint, Protocol, Target};

use super::Seen;
use super::ports::{Port, ports};
use super::seen::{Place, Scene};

/// Bytes of the headers before a UDP datagram's content, for IPv4 and IPv6.
const UDP_HEADERS: (u32, u32) = (28, 48);
/// The longest datagram that is tried: nothing on the way is expected to take more.
const LONGEST: u32 = 9000;

/// Where nodes listen for a moment so that others can try to reach them: ports that others have to reach and nobody holds.
pub fn listeners(
    desired: &Desired,
    seen: &Seen,
    nodes: &BTreeSet<NodeName>,
) -> BTreeMap<NodeName, Vec<Endpoint>> {
    let scene = Scene::new(desired, seen);
    let ports = ports(scene.cluster());
    let listening = scene.places.iter().filter(|place| nodes.contains(place.name()));
    listening
        .map(|place| {
            let free = ports.iter().filter(|port| port.is_on(place.node) && port.taken(place).is_empty());
            let others = |port: &&Port| {
                scene
                    .places
                    .iter()
                    .any(|other| other.name() != place.name() && port.is_reached_from(other.node))
            };
            let endpoints = free.filter(others).flat_map(|port| endpoints(port, place.node)).collect();
            (place.name().clone(), endpoints)
        })
        .filter(|(_, endpoints): &(_, Vec<Endpoint>)| !endpoints.is_empty())
        .collect()
}

/// What each node tries to reach: on pairs of which one is among `nodes`, what listens there (`open`), and our own
/// components that run already.
pub fn targets(
    desired: &Desired,
    seen: &Seen,
    nodes: &BTreeSet<NodeName>,
    open: &BTreeMap<NodeName, BTreeSet<Endpoint>>,
) -> BTreeMap<NodeName, Read> {
    let scene = Scene::new(desired, seen);
    let ports = ports(scene.cluster());
    let offers: Vec<(&Place<'_>, Vec<Offer<'_>>)> =
        scene.places.iter().map(|place| (place, offers(&ports, place, open.get(place.name())))).collect();
    let mut reads = BTreeMap::new();
    for from in &scene.places {
        let others = offers.iter().filter(|(to, _)| to.name() != from.name());
        let pairs = others.filter(|(to, _)| nodes.contains(from.name()) || nodes.contains(to.name()));
        let targets: Vec<Target> = pairs
            .flat_map(|(to, offers)| offers.iter().filter_map(|offer| target(offer, from, to)))
            .collect();
        if !targets.is_empty() {
            reads.insert(from.name().clone(), Read::Reach { targets });
        }
    }
    reads
}

/// Something that can be reached on a node.
struct Offer<'a> {
    port: &'a Port,
    endpoint: Endpoint,
    /// Whether a listener of ours answers; a component that runs does otherwise.
    listens: bool,
}

fn offers<'a>(ports: &'a [Port], to: &Place<'_>, open: Option<&BTreeSet<Endpoint>>) -> Vec<Offer<'a>> {
    let mut offers = Vec::new();
    for port in ports.iter().filter(|port| port.is_on(to.node)) {
        let runs =
            port.protocol == Protocol::Tcp && port.taken(to).iter().any(|socket| port.is_own(to, socket));
        for endpoint in endpoints(port, to.node) {
            let listens = open.is_some_and(|open| open.contains(&endpoint));
            if listens || runs {
                offers.push(Offer { port, endpoint, listens });
            }
        }
    }
    offers
}

fn target(offer: &Offer<'_>, from: &Place<'_>, to: &Place<'_>) -> Option<Target> {
    let ipv4 = offer.endpoint.address.is_ipv4();
    let family = from.node.addresses.iter().any(|address| address.is_ipv4() == ipv4);
    let tried = family && offer.port.is_reached_from(from.node) && !is_shut_out(offer, from, to);
    tried.then(|| Target {
        endpoint: offer.endpoint.clone(),
        node: offer.listens.then(|| to.name().clone()),
        bytes: bytes(&offer.endpoint, from),
    })
}

/// Whether our own firewall on a member closes this to a node that it does not know yet. The install lets that node in before it
/// starts anything there.
fn is_shut_out(offer: &Offer<'_>, from: &Place<'_>, to: &Place<'_>) -> bool {
    let Some(Reading::Text(loaded)) = to.facts.reading(&Read::Firewall) else { return false };
    let Some(table) = Table::parse(loaded) else { return false };
    let protocol = match offer.port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let rule = format!("{protocol} dport {} drop", offer.port.number);
    let closes = table.blocks.values().any(|block| block.statements.contains(&rule));
    let knows =
        |address: &IpAddr| table.blocks.values().any(|block| block.elements.contains(&address.to_string()));
    closes && !from.node.addresses.iter().any(knows)
}

fn endpoints(port: &Port, node: &Node) -> Vec<Endpoint> {
    let protocol = port.protocol;
    port.addresses(node).into_iter().map(|address| Endpoint { protocol, address }).collect()
}

/// As much as fills the longest packet the sender's interface takes: one datagram, or twice that in a stream.
fn bytes(endpoint: &Endpoint, from: &Place<'_>) -> u16 {
    let ipv4 = endpoint.address.is_ipv4();
    let own = from.node.addresses.iter().find(|address| address.is_ipv4() == ipv4);
    let interface = own.and_then(|own| from.network()?.interface_of(*own));
    let mtu = interface.map_or(1280, |(_, interface)| interface.mtu).min(LONGEST);
    let headers = if ipv4 { UDP_HEADERS.0 } else { UDP_HEADERS.1 };
    let bytes = match endpoint.protocol {
        Protocol::Udp => mtu.saturating_sub(headers),
        Protocol::Tcp => 2 * mtu,
    };
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
