//! Looking at a cluster that is not well: every node that was reached, over its one link, and the API where it answers.
//!
//! Nothing is changed, and no wait is without an end: a node has [`NODE_SECONDS`], the API [`API_SECONDS`], side by side. What
//! was seen is explained by the plan crate.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::Facts;
use kubezt_pki::{CertificateChain, CertificateInfo};
use kubezt_plan::doctor::{
    self, ApiEvidence, CertificateSeen, CertificateState, EventSeen, Evidence, NodeCondition, NodeSeen,
    PodSeen,
};
use kubezt_plan::preflight::ClockOffset;
use serde_json::Value;
use tokio::time::timeout;

use crate::api::{ApiClient, ApiError, text};
use crate::fleet::RemoteFleet;
use crate::nodes::{NodeFailure, Nodes};
use crate::preflight::{clocks, unreachable};

/// Seconds a node may take to answer.
pub const NODE_SECONDS: u64 = 60;
/// Seconds the API may take to answer.
pub const API_SECONDS: u64 = 40;
/// Pods that wait are not running, or are and their containers do not.
const WAITING: &str = "status.phase!=Running,status.phase!=Succeeded";

/// Looks at the nodes of a fleet and at its API. `failures` are nodes that were not reached before; without a root nobody can
/// tell the API's servers from others, and it is not asked.
pub async fn look(
    nodes: &Nodes,
    fleet: Option<&RemoteFleet>,
    desired: &Desired,
    failures: &[NodeFailure],
    at: Timestamp,
) -> Evidence {
    let asked = desired.nodes.iter().filter(|node| nodes.connection(&node.node.name).is_ok());
    let looks = join_all(asked.map(|node| look_at(nodes, node, at)));
    let patience = Duration::from_secs(NODE_SECONDS);
    let clocks = async { timeout(patience, clocks(nodes)).await.unwrap_or_default() };
    let (answers, clocks, api) = tokio::join!(looks, clocks, ask_api(fleet));
    let (mut facts, mut lost): (BTreeMap<NodeName, Facts>, Vec<NodeFailure>) =
        (BTreeMap::new(), failures.to_vec());
    for answer in answers {
        match answer {
            Ok(found) => drop(facts.insert(found.node.clone(), found)),
            Err(failure) => lost.push(failure),
        }
    }
    evidence(desired, facts, &lost, clocks, api, at)
}

/// Puts what was seen together.
pub fn evidence(
    desired: &Desired,
    facts: BTreeMap<NodeName, Facts>,
    lost: &[NodeFailure],
    clocks: BTreeMap<NodeName, ClockOffset>,
    api: Result<ApiEvidence, String>,
    at: Timestamp,
) -> Evidence {
    let certificates = desired.nodes.iter().filter_map(|node| {
        let facts = facts.get(&node.node.name)?;
        Some((node.node.name.clone(), certificates(node, facts)))
    });
    let certificates = certificates.collect();
    let (api, no_api) = match api {
        Ok(api) => (Some(api), String::new()),
        Err(why) => (None, why),
    };
    let unreachable = lost.iter().map(unreachable).collect();
    Evidence { at, facts, unreachable, clocks, certificates, api, no_api }
}

async fn look_at(nodes: &Nodes, node: &DesiredNode, at: Timestamp) -> Result<Facts, NodeFailure> {
    let name = node.node.name.clone();
    let failed = |why: String| NodeFailure { node: name.clone(), why, privilege: false };
    let looked = timeout(Duration::from_secs(NODE_SECONDS), nodes.look(&name, doctor::reads(node))).await;
    let readings = looked
        .unwrap_or_else(|_| Err(format!("{name} was reached, and gave no answer within {NODE_SECONDS} s")))
        .map_err(failed)?;
    Ok(Facts { node: name, at: at.as_second(), readings: readings.into_iter().collect() })
}

/// What a node has of the certificates it is to have.
fn certificates(node: &DesiredNode, facts: &Facts) -> Vec<CertificateSeen> {
    let seen = node.certificates.iter().map(|certificate| {
        let path = certificate.certificate_path.clone();
        let state = match facts.file(&path).and_then(|file| file.text.as_ref()) {
            None => CertificateState::Missing,
            Some(text) => match CertificateChain::parse(text.expose()) {
                Ok(chain) => readable(chain.first()),
                Err(error) => CertificateState::Unreadable(error.to_string()),
            },
        };
        CertificateSeen { path, state }
    });
    seen.collect()
}

fn readable(info: &CertificateInfo) -> CertificateState {
    let addresses = info.ip_addresses.iter().map(ToString::to_string);
    CertificateState::Readable {
        from: info.not_before,
        until: info.not_after,
        names: info.dns_names.iter().cloned().chain(addresses).collect(),
    }
}

async fn ask_api(fleet: Option<&RemoteFleet>) -> Result<ApiEvidence, String> {
    let fleet = fleet.ok_or("the cluster has no root yet, so the API was not asked")?;
    let asked = async {
        let client = fleet.api().await?;
        listed(client).await.map_err(|error| error.to_string())
    };
    let silence = || format!("the API gave no answer within {API_SECONDS} s");
    timeout(Duration::from_secs(API_SECONDS), asked).await.unwrap_or_else(|_| Err(silence()))
}

async fn listed(client: &ApiClient) -> Result<ApiEvidence, ApiError> {
    let (nodes, waiting, system, events) = tokio::try_join!(
        client.list("/api/v1/nodes"),
        client.list_selected("/api/v1/pods", WAITING),
        client.list("/api/v1/namespaces/kube-system/pods"),
        client.list_selected("/api/v1/events", "type=Warning"),
    )?;
    Ok(api_evidence(&nodes, waiting.iter().chain(&system), &events))
}

/// What is looked at of nodes, pods and events. Nothing else of them is kept: a pod's specification may hold what is secret.
fn api_evidence<'a>(nodes: &[Value], pods: impl Iterator<Item = &'a Value>, events: &[Value]) -> ApiEvidence {
    let owned = |object: &Value, pointer: &str| text(object, pointer).to_owned();
    let mut seen: Vec<PodSeen> = Vec::new();
    for pod in pods {
        let (namespace, name) = (owned(pod, "/metadata/namespace"), owned(pod, "/metadata/name"));
        let is_told = seen.iter().any(|one| (&one.namespace, &one.name) == (&namespace, &name));
        if let Some(waits) = waits(pod).filter(|_| !is_told) {
            seen.push(PodSeen { namespace, name, node: owned(pod, "/spec/nodeName"), waits });
        }
    }
    let mut events: Vec<(String, EventSeen)> = events
        .iter()
        .map(|event| {
            let last = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
            let when = last.iter().map(|pointer| text(event, pointer)).find(|when| !when.is_empty());
            let seen = EventSeen {
                namespace: owned(event, "/involvedObject/namespace"),
                name: owned(event, "/involvedObject/name"),
                what: redacted(&format!("{}: {}", text(event, "/reason"), text(event, "/message"))),
            };
            (when.unwrap_or_default().to_owned(), seen)
        })
        .filter(|(_, event)| {
            seen.iter().any(|pod| (&pod.namespace, &pod.name) == (&event.namespace, &event.name))
        })
        .collect();
    events.sort_by(|one, other| one.0.cmp(&other.0));
    ApiEvidence {
        nodes: nodes.iter().map(node_seen).collect(),
        pods: seen,
        events: events.into_iter().map(|(_, event)| event).collect(),
    }
}

fn node_seen(node: &Value) -> NodeSeen {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let condition = |condition: &Value| NodeCondition {
        kind: text(condition, "/type").to_owned(),
        status: text(condition, "/status").to_owned(),
        message: redacted(text(condition, "/message")),
    };
    NodeSeen {
        name: text(node, "/metadata/name").to_owned(),
        conditions: conditions.into_iter().flatten().map(condition).collect(),
    }
}

/// What keeps a pod from running, in words; `None` where it runs, or has done what it was to do.
fn waits(pod: &Value) -> Option<String> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let containers = list("/status/initContainerStatuses").chain(list("/status/containerStatuses"));
    let waiting = containers.filter_map(|container| {
        let (name, state) = (text(container, "/name"), container.get("state")?.get("waiting")?);
        // Others wait because the pod is only about to begin, and what keeps it says its first one or an event.
        let (reason, message) = (text(state, "/reason"), text(state, "/message"));
        let separator = if message.is_empty() { "" } else { ": " };
        (!["PodInitializing", ""].contains(&reason))
            .then(|| format!("{name} waits: {reason}{separator}{message}"))
    });
    let phase = text(pod, "/status/phase");
    let conditions =
        list("/status/conditions").filter(|condition| text(condition, "/type") == "PodScheduled");
    let unscheduled = conditions.filter(|condition| text(condition, "/status") == "False");
    let unscheduled = unscheduled.map(|condition| format!("has no node: {}", text(condition, "/message")));
    let other = (!["Running", "Succeeded"].contains(&phase)).then(|| format!("is {phase}"));
    waiting.chain(unscheduled).next().or(other).map(|what| redacted(&what))
}

fn redacted(text: &str) -> String {
    kubezt_model::redaction::text(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_pods_only_what_keeps_them_is_kept() {
        let pod = |name: &str, phase: &str, more: Value| {
            let mut status = json!({"phase": phase});
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"metadata": {"namespace": "a", "name": name}, "status": status,
                "spec": {"nodeName": "w1", "containers": [{"env": [{"name": "KEY", "value": "planted"}]}]}})
        };
        let waiting = |reason: &str| json!({"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason, "message": "token=planted"}}}]});
        let pods = [
            pod("runs", "Running", json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]})),
            pod("done", "Succeeded", json!({})),
            pod("loops", "Running", waiting("CrashLoopBackOff")),
            pod("loops", "Running", waiting("CrashLoopBackOff")),
            pod("begins", "Pending", waiting("PodInitializing")),
            pod(
                "waits",
                "Pending",
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}),
            ),
        ];
        let event = |name: &str, when: &str, message: &str| {
            json!({"involvedObject": {"namespace": "a", "name": name}, "reason": "Failed", "message": message,
                "lastTimestamp": when})
        };
        let events = [
            event("loops", "2026-01-02", "later"),
            event("loops", "2026-01-01", "sooner"),
            event("runs", "", "x"),
        ];
        let nodes = [json!({"metadata": {"name": "w1"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "message": "network plugin is not ready"}]}})];
        let seen = api_evidence(&nodes, pods.iter(), &events);
        let told: Vec<(&str, &str)> =
            seen.pods.iter().map(|pod| (pod.name.as_str(), pod.waits.as_str())).collect();
        assert_eq!(
            told,
            [
                ("loops", "c waits: CrashLoopBackOff: token=[redacted]"),
                ("begins", "is Pending"),
                ("waits", "has no node: 0/3 nodes"),
            ]
        );
        let events: Vec<&str> = seen.events.iter().map(|event| event.what.as_str()).collect();
        assert_eq!(events, ["Failed: sooner", "Failed: later"]);
        assert_eq!(seen.nodes[0].conditions[0].message, "network plugin is not ready");
        assert!(!serde_json::to_string(&seen).unwrap().contains("planted"));
    }
}
