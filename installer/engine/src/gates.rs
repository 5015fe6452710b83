//! What a run waits for before it calls the cluster done.

use std::collections::BTreeSet;
use std::time::Duration;

use kubezt_model::NodeName;
use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Desired, Node};
use kubezt_model::plan::Gate;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{ApiClient, ApiError, FIELD_MANAGER, object_path, text};
use crate::probes::pods::{Attempt, Ground, Peer, Trial};

/// How often a gate looks again: each look is work, and some records in the audit log.
const POLL: Duration = Duration::from_millis(500);

/// How often it is tried whether the API is ready, which everything waits for and costs little.
const API_POLL: Duration = Duration::from_millis(200);

/// Kinds whose size is waited for.
pub(crate) const WORKLOADS: [&str; 3] = ["Deployment", "DaemonSet", "StatefulSet"];

/// What a gate is about.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The wanted cluster.
    pub desired: &'a Desired,
    /// Nodes that are not waited for.
    pub behind: &'a BTreeSet<NodeName>,
}

impl<'a> Scope<'a> {
    fn nodes(self) -> impl Iterator<Item = &'a Node> {
        self.desired.cluster.nodes.iter().filter(move |node| !self.behind.contains(&node.name))
    }
}

/// Waits until the gate is open.
///
/// # Errors
/// It is still closed after `timeout`; says what was missing last.
pub async fn wait(
    gate: &Gate,
    client: &ApiClient,
    scope: Scope<'_>,
    probe_image: &str,
    timeout: Duration,
    waiting: &(dyn Fn(String) + Sync),
) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    if *gate == Gate::PodsTalk {
        return pods_talk(client, scope, probe_image, timeout).await;
    }
    loop {
        let missing = match gate {
            Gate::ApiReady => api_missing(client).await,
            Gate::NodesReady => nodes_missing(client, scope).await,
            Gate::WorkloadsReady => workloads_missing(client, scope).await,
            Gate::PodsTalk => None,
        };
        let Some(missing) = missing else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(format!("not there after {} s: {missing}", timeout.as_secs()));
        }
        waiting(missing);
        tokio::time::sleep(if *gate == Gate::ApiReady { API_POLL } else { POLL }).await;
    }
}

/// Everything that keeps the cluster from being ready now, in words.
pub async fn unready(client: &ApiClient, desired: &Desired) -> Vec<String> {
    let scope = Scope { desired, behind: &BTreeSet::new() };
    let mut missing: Vec<String> = nodes_missing(client, scope).await.into_iter().collect();
    missing.extend(workloads_missing(client, scope).await);
    missing
}

/// Nodes the API knows and the cluster file does not, and the other way round.
#[derive(Debug, Default)]
pub struct Registration {
    /// Nodes whose labels kubezt has set and that the cluster file does not name: they were taken out of it. Nodes that came by
    /// another way are nobody's business here.
    pub departed: Vec<String>,
    /// Nodes the cluster file names and the API does not know.
    pub missing: Vec<NodeName>,
}

/// Compares the nodes of the API with those of the cluster file.
///
/// # Errors
/// The API does not answer.
pub async fn registration(client: &ApiClient, cluster: &Cluster) -> Result<Registration, ApiError> {
    let nodes = client.list_metadata("/api/v1/nodes").await?;
    let ours = |node: &&Value| {
        let managers = node.pointer("/metadata/managedFields").and_then(Value::as_array);
        managers.into_iter().flatten().any(|entry| text(entry, "/manager") == FIELD_MANAGER)
    };
    let name = |node: &'_ Value| text(node, "/metadata/name").to_owned();
    let departed = nodes.iter().filter(ours).map(name);
    let departed = departed.filter(|name| cluster.nodes.iter().all(|node| node.name.as_str() != name));
    let known: Vec<String> = nodes.iter().map(name).collect();
    let wanted = cluster.nodes.iter().map(|node| node.name.clone());
    let missing = wanted.filter(|wanted| !known.iter().any(|name| name == wanted.as_str()));
    Ok(Registration { departed: departed.collect(), missing: missing.collect() })
}

async fn api_missing(client: &ApiClient) -> Option<String> {
    client.read("/readyz").await.err().map(|error| error.to_string())
}

async fn nodes_missing(client: &ApiClient, scope: Scope<'_>) -> Option<String> {
    let nodes = match client.list("/api/v1/nodes").await {
        Ok(nodes) => nodes,
        Err(error) => return Some(error.to_string()),
    };
    let missing: Vec<String> = scope
        .nodes()
        .filter_map(|wanted| {
            let name = wanted.name.as_str();
            let seen = nodes.iter().find(|node| text(node, "/metadata/name") == name);
            match seen.map(ready_condition) {
                None => Some(format!("{name} has not registered")),
                Some(Ok(())) => None,
                Some(Err(why)) => Some(format!("{name} is not Ready ({why})")),
            }
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn ready_condition(node: &Value) -> Result<(), String> {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| text(condition, "/type") == "Ready");
    match ready {
        Some(condition) if text(condition, "/status") == "True" => Ok(()),
        Some(condition) => Err(text(condition, "/message").to_owned()),
        None => Err("no report yet".to_owned()),
    }
}

async fn workloads_missing(client: &ApiClient, scope: Scope<'_>) -> Option<String> {
    let mut missing = Vec::new();
    let lacking = registered_behind(client, scope).await;
    let objects = scope.desired.manifests.iter().flat_map(|set| &set.objects);
    for object in objects.filter(|object| WORKLOADS.contains(&text(object, "/kind"))) {
        let Ok(path) = object_path(object) else { continue };
        let name = text(object, "/metadata/name");
        match client.read(&path).await {
            Ok(Some(live)) => {
                missing.extend(workload_missing(&live, lacking).map(|why| format!("{name}: {why}")))
            }
            Ok(None) => missing.push(format!("{name} does not exist")),
            Err(error) => missing.push(error.to_string()),
        }
    }
    if missing.is_empty() {
        missing = control_plane_missing(client, scope).await;
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// Nodes that are not waited for and that the API knows: it wants pods of them.
async fn registered_behind(client: &ApiClient, scope: Scope<'_>) -> i64 {
    if scope.behind.is_empty() {
        return 0;
    }
    let known = client.list_metadata("/api/v1/nodes").await.unwrap_or_default();
    let behind = known
        .iter()
        .filter(|node| scope.behind.iter().any(|behind| behind.as_str() == text(node, "/metadata/name")));
    i64::try_from(behind.count()).unwrap_or(i64::MAX)
}

/// Static pods of the control plane. Controllers that lose the API end, and kubelet starts them again only after a while.
const CONTROL_PLANE: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

async fn control_plane_missing(client: &ApiClient, scope: Scope<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for node in scope.nodes().filter(|node| node.role == Role::ControlPlane) {
        for component in CONTROL_PLANE {
            let pod = format!("{component}-{}", node.name);
            match client.read(&format!("/api/v1/namespaces/kube-system/pods/{pod}")).await {
                Ok(Some(live)) => {
                    missing.extend(static_pod_missing(&live).map(|why| format!("{pod}: {why}")))
                }
                Ok(None) => missing.push(format!("{pod} is not shown by the API yet")),
                Err(error) => missing.push(error.to_string()),
            }
        }
    }
    missing
}

fn static_pod_missing(live: &Value) -> Option<String> {
    let waiting = live.pointer("/status/containerStatuses/0/state/waiting/reason").and_then(Value::as_str);
    match ready_condition(live) {
        Ok(()) => None,
        Err(why) => Some(waiting.map_or(why, str::to_owned)),
    }
}

/// What a workload lacks. `lacking` nodes are not waited for, which have a pod each of what runs everywhere.
fn workload_missing(live: &Value, lacking: i64) -> Option<String> {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Some("its controller has not seen it yet".to_owned());
    }
    let (wanted, ready, updated) = if text(live, "/kind") == "DaemonSet" {
        (number("/status/desiredNumberScheduled"), "/status/numberReady", "/status/updatedNumberScheduled")
    } else {
        (number("/spec/replicas"), "/status/readyReplicas", "/status/updatedReplicas")
    };
    let everywhere = text(live, "/kind") == "DaemonSet";
    let wanted = wanted.unwrap_or(0) - if everywhere { lacking } else { 0 };
    let (ready, updated) = (number(ready).unwrap_or(0), number(updated).unwrap_or(0));
    (ready < wanted || updated < wanted || wanted <= 0).then(|| format!("{ready} of {wanted} ready"))
}

/// Two nodes to try the data path between: different ones where there are two.
pub fn pair(cluster: &Cluster) -> Option<(&NodeName, &NodeName)> {
    let worker_first = |node: &&Node| node.role == Role::ControlPlane;
    let mut nodes: Vec<&Node> = cluster.nodes.iter().collect();
    nodes.sort_by_key(worker_first);
    let first = nodes.first()?;
    let second = nodes.get(1).unwrap_or(first);
    Some((&first.name, &second.name))
}

/// Ready proves nothing about the data path: a pod has to reach a pod on another node, by name, through a Service.
async fn pods_talk(
    client: &ApiClient,
    scope: Scope<'_>,
    image: &str,
    timeout: Duration,
) -> Result<(), String> {
    let cluster = &scope.desired.cluster;
    let (near, far) = pair(cluster).ok_or("the cluster has no nodes")?;
    // No other node has the image, so where one is not waited for, the other tries alone.
    let there: Vec<&NodeName> =
        [near, far].into_iter().filter(|node| !scope.behind.contains(*node)).collect();
    let (Some(near), Some(far)) = (there.first(), there.last()) else { return Ok(()) };
    let unique = format!("gate-{:08x}", jiff::Timestamp::now().as_millisecond());
    let ground = Ground::prepare(client, image, &cluster.networks.domain, &unique)
        .await
        .map_err(|error| error.to_string())?;
    let result = async {
        ground.give_quota().await.map_err(|error| error.to_string())?;
        let patience = timeout.min(Duration::from_secs(90));
        let reach = [Attempt::Connect(Peer::Server)];
        tokio::try_join!(
            ground.start(Peer::Server, far, &[], patience + timeout),
            ground.start(Peer::Client, near, &reach, patience + timeout),
            ground.listens(Peer::Server, timeout),
        )?;
        ground.outcome(Peer::Client, reach[0], patience).await
    }
    .await;
    let cleared = ground.clear().await;
    match result? {
        Trial::Succeeded => cleared.map_err(|error| error.to_string()),
        Trial::Refused(why) => {
            Err(format!("a pod on {near} did not reach a pod on {far} by its Service name: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_is_ready_when_all_of_it_is() {
        let daemon_set = |ready: i64| {
            json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": {
                "observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": ready, "updatedNumberScheduled": 3}})
        };
        assert_eq!(workload_missing(&daemon_set(3), 0), None);
        assert!(workload_missing(&daemon_set(2), 0).is_some());
        assert_eq!(workload_missing(&daemon_set(2), 1), None, "one node is not waited for");
        let stale = json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1}});
        assert!(workload_missing(&stale, 0).is_some());
    }

    #[test]
    fn a_static_pod_that_waits_for_its_restart_is_missing() {
        let pod = |ready: &str, state: Value| {
            json!({"status": {
                "conditions": [{"type": "Ready", "status": ready, "message": "containers with unready status"}],
                "containerStatuses": [{"state": state}]}})
        };
        assert_eq!(static_pod_missing(&pod("True", json!({"running": {}}))), None);
        let waiting = pod("False", json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        assert_eq!(static_pod_missing(&waiting).unwrap(), "CrashLoopBackOff");
        assert_eq!(static_pod_missing(&pod("False", json!({}))).unwrap(), "containers with unready status");
        assert_eq!(static_pod_missing(&json!({})).unwrap(), "no report yet");
    }

    #[test]
    fn a_silent_node_is_not_ready() {
        assert!(ready_condition(&json!({})).is_err());
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(ready_condition(&node).is_ok());
    }
}
