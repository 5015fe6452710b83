//! API servers, asked by the balancer of every node.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kubezt_model::NodeName;
use kubezt_model::health::ApiServerAnswer;
use kubezt_model::node::{Read, Reading};

use super::{Scene, Sign};

/// Who asked which server, and what it said.
type Answers<'a> = BTreeMap<SocketAddr, Vec<(&'a NodeName, &'a ApiServerAnswer)>>;

fn answers<'a>(scene: &Scene<'a>) -> Answers<'a> {
    let mut answers = Answers::new();
    for place in scene.places() {
        let Some(Reading::ApiServers(servers)) = place.reading(&Read::ApiServers) else { continue };
        for server in servers {
            answers.entry(server.address).or_default().push((place.name(), &server.answer));
        }
    }
    answers
}

fn is_ready(answers: &[(&NodeName, &ApiServerAnswer)]) -> bool {
    answers.iter().any(|(_, answer)| **answer == ApiServerAnswer::Ready)
}

/// What a server says that is not ready: what it told somebody rather than that it told nobody.
fn told(answers: &[(&NodeName, &ApiServerAnswer)]) -> String {
    let heard = answers.iter().find(|(_, answer)| !matches!(answer, ApiServerAnswer::Silent(_)));
    heard.or(answers.first()).map(|(_, answer)| answer.to_string()).unwrap_or_default()
}

pub(super) fn lost(scene: &Scene<'_>) -> Vec<Sign> {
    let answers = answers(scene);
    if answers.is_empty() || answers.values().any(|answers| is_ready(answers)) {
        return Vec::new();
    }
    let each = answers.iter().map(|(address, answers)| format!("{address} {}", told(answers)));
    let nodes = scene.desired.cluster.control_plane().map(|node| &node.name);
    let what = format!("no API server is ready: {}", each.collect::<Vec<_>>().join("; "));
    vec![Sign::error(nodes, what).everywhere()]
}

pub(super) fn failing(scene: &Scene<'_>) -> Vec<Sign> {
    let answers = answers(scene);
    if !answers.values().any(|answers| is_ready(answers)) {
        return Vec::new();
    }
    let of = |address: &SocketAddr| {
        let mut nodes = scene.desired.cluster.control_plane();
        nodes.find(|node| node.addresses.contains(&address.ip())).map(|node| &node.name)
    };
    let failing = answers.iter().filter(|(_, answers)| !is_ready(answers));
    failing
        .map(|(address, answers)| {
            Sign::error(of(address), format!("the API server at {address} {}", told(answers)))
        })
        .collect()
}

pub(super) fn unreached(scene: &Scene<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for (address, answers) in answers(scene).iter().filter(|(_, answers)| is_ready(answers)) {
        for (node, answer) in answers {
            if let ApiServerAnswer::Silent(why) = answer {
                let what = format!("the API server at {address} answers others, and not this node: {why}");
                signs.push(Sign::error([*node], what));
            }
        }
    }
    signs
}

/// Where no server is ready, that says enough.
pub(super) fn unheard(scene: &Scene<'_>) -> Vec<Sign> {
    let ready = answers(scene).values().any(|answers| is_ready(answers));
    match &scene.evidence.api {
        None if ready => vec![Sign::warning([], scene.evidence.no_api.clone())],
        _ => Vec::new(),
    }
}
