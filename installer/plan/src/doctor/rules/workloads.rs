//! Nodes and pods as the API sees them, and the network plug-in as its nodes do.

use kubezt_model::NodeName;
use kubezt_model::health::ContainerState;

use super::{Scene, Sign};
use crate::doctor::evidence::{NodeCondition, NodeSeen};

/// The network plug-in's container that runs on every node.
const AGENT: &str = "cilium-agent";
/// Pods that are told one by one.
const SHOWN: usize = 10;
/// Events that are told of each.
const EVENTS: usize = 3;

pub(super) fn agents(scene: &Scene<'_>) -> Vec<Sign> {
    let mut signs = Vec::new();
    for place in scene.places() {
        let agents = || place.containers().iter().filter(|container| container.name == AGENT);
        // One that was replaced leaves its log behind, and of what nobody tells nobody judges.
        let fine =
            |state: &ContainerState| matches!(state, ContainerState::Running | ContainerState::Unknown);
        if let Some(agent) = agents().next_back().filter(|_| !agents().any(|agent| fine(&agent.state))) {
            let what = format!("{AGENT} {}, started again {} times", agent.state, agent.restarts);
            signs.push(Sign::error([place.name()], what).saying(agent.said.clone()));
        }
    }
    signs
}

/// Nodes the cluster file names, with what the API knows of each; none where it could not be asked.
fn known<'a>(scene: &Scene<'a>) -> Vec<(&'a NodeName, Option<&'a NodeSeen>)> {
    let Some(api) = &scene.evidence.api else { return Vec::new() };
    let nodes = scene.desired.cluster.nodes.iter();
    nodes.map(|node| (&node.name, api.nodes.iter().find(|seen| seen.name == node.name.as_str()))).collect()
}

pub(super) fn unregistered(scene: &Scene<'_>) -> Vec<Sign> {
    let missing = known(scene).into_iter().filter(|(_, seen)| seen.is_none());
    missing.map(|(node, _)| Sign::error([node], "the API does not know this node")).collect()
}

pub(super) fn pressure(scene: &Scene<'_>) -> Vec<Sign> {
    let is_pressure =
        |condition: &&NodeCondition| condition.kind.ends_with("Pressure") && condition.status == "True";
    conditions(scene, is_pressure)
}

pub(super) fn not_ready(scene: &Scene<'_>) -> Vec<Sign> {
    conditions(scene, |condition| condition.kind == "Ready" && condition.status != "True")
}

fn conditions(scene: &Scene<'_>, chosen: impl Fn(&&NodeCondition) -> bool) -> Vec<Sign> {
    let mut signs = Vec::new();
    for (node, seen) in known(scene) {
        for condition in seen.iter().flat_map(|seen| &seen.conditions).filter(|condition| chosen(condition)) {
            let NodeCondition { kind, status, message } = condition;
            signs.push(Sign::error([node], format!("{kind} is {status}: {message}")));
        }
    }
    signs
}

pub(super) fn pods(scene: &Scene<'_>) -> Vec<Sign> {
    let Some(api) = &scene.evidence.api else { return Vec::new() };
    let mut signs = Vec::new();
    for pod in api.pods.iter().take(SHOWN) {
        let node = scene.desired.cluster.nodes.iter().find(|node| node.name.as_str() == pod.node);
        let about =
            api.events.iter().filter(|event| (&event.namespace, &event.name) == (&pod.namespace, &pod.name));
        let mut said: Vec<String> = about.map(|event| event.what.clone()).collect();
        said.drain(..said.len().saturating_sub(EVENTS));
        let what = format!("{}/{} {}", pod.namespace, pod.name, pod.waits);
        signs.push(Sign::warning(node.map(|node| &node.name), what).saying(said));
    }
    if let Some(more) = api.pods.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        signs.push(Sign::warning([], format!("{more} more pods wait or fail")));
    }
    signs
}
