//! What lies in the namespaces Kubernetes makes itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::api::{ApiRead, object_name, objects, outcome};
use super::super::content::Statement;
use super::super::{ClusterContext, Expectation, Judged};
use super::pods;

/// Namespaces nobody should use.
const UNUSED: [&str; 3] = ["default", "kube-public", "kube-node-lease"];
/// Namespaces for the system only.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Every kind `kubectl get all` shows.
pub fn user_objects() -> Vec<ApiRead> {
    [
        ("v1", "Pod", "pods"),
        ("v1", "Service", "services"),
        ("v1", "ReplicationController", "replicationcontrollers"),
        ("apps/v1", "DaemonSet", "daemonsets"),
        ("apps/v1", "Deployment", "deployments"),
        ("apps/v1", "ReplicaSet", "replicasets"),
        ("apps/v1", "StatefulSet", "statefulsets"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("batch/v1", "CronJob", "cronjobs"),
        ("batch/v1", "Job", "jobs"),
    ]
    .into_iter()
    .map(|(api_version, kind, plural)| ApiRead::all(api_version, kind, plural))
    .collect()
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// Nothing but Service default/kubernetes.
pub fn default_empty(context: &ClusterContext<'_>) -> Result<Judged, String> {
    let reads = user_objects();
    let mut broken = Vec::new();
    let found = objects(context, &reads)?;
    for (kind, object) in &found {
        let built_in = *kind == "Service"
            && namespace(object) == "default"
            && object["metadata"]["name"] == "kubernetes";
        if UNUSED.contains(&namespace(object)) && !built_in {
            broken.push(object_name(kind, object));
        }
    }
    Ok(outcome(
        "only Service default/kubernetes in default, kube-public and kube-node-lease",
        found.len(),
        broken,
    ))
}

/// Only pods of known owners.
pub fn system_pods(context: &ClusterContext<'_>, allowed: &[String]) -> Result<Judged, String> {
    let reads = [pods()];
    let mut broken = Vec::new();
    let mut looked_at = 0;
    for (kind, pod) in objects(context, &reads)? {
        if !SYSTEM.contains(&namespace(pod)) {
            continue;
        }
        looked_at += 1;
        let owner = owner(pod);
        if !owner.as_ref().is_some_and(|owner| allowed.contains(owner)) {
            let owner = owner.unwrap_or_else(|| "nobody".to_owned());
            broken.push(format!("{} of {owner}", object_name(kind, pod)));
        }
    }
    Ok(outcome("only the cluster's own pods in system namespaces", looked_at, broken))
}

/// Namespaces, and what each of users' must hold.
pub fn with(wanted: Option<&ApiRead>) -> Vec<ApiRead> {
    let mut reads = vec![ApiRead::all("v1", "Namespace", "namespaces")];
    reads.extend(wanted.cloned());
    reads
}

/// Every namespace of users holds one of these objects for which all statements hold.
pub fn hold(
    context: &ClusterContext<'_>,
    wanted: Option<&ApiRead>,
    statements: &[Statement],
) -> Result<Judged, String> {
    let wanted = wanted.ok_or("it is not said what namespaces must hold")?;
    let expectations: Vec<Expectation> =
        statements.iter().map(|statement| statement.expectation(context.terms)).collect::<Result<_, _>>()?;
    let mut held = BTreeSet::new();
    for (_, object) in objects(context, std::slice::from_ref(wanted))? {
        let mut holds = true;
        for (statement, expectation) in statements.iter().zip(&expectations) {
            holds = holds && statement.holds(expectation, object)?;
        }
        if holds {
            held.insert(namespace(object).to_owned());
        }
    }
    let exempt = &context.cluster.settings.pod_security.exempt_namespaces;
    let mut looked_at = 0;
    let mut broken = Vec::new();
    for (_, object) in objects(context, &with(None))? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let system = name == "default" || SYSTEM.contains(&name) || exempt.iter().any(|one| one == name);
        if system {
            continue;
        }
        looked_at += 1;
        if !held.contains(name) {
            broken.push(format!("Namespace {name}"));
        }
    }
    let parts: Vec<String> = statements
        .iter()
        .zip(&expectations)
        .map(|(what, how)| format!("{} with {}", what.at, how.words()))
        .collect();
    Ok(outcome(
        &format!("a {} in every namespace of users: {}", wanted.kind, parts.join(", ")),
        looked_at,
        broken,
    ))
}

/// Who made a pod: `DaemonSet/cilium`, `Deployment/coredns` (through its ReplicaSet), `Node/etcd` for static pods.
fn owner(pod: &Value) -> Option<String> {
    let owners = pod["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let (kind, name) = (owner["kind"].as_str()?, owner["name"].as_str()?);
    match kind {
        "ReplicaSet" => {
            let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str()?;
            let deployment = name.strip_suffix(hash)?.strip_suffix('-')?;
            Some(format!("Deployment/{deployment}"))
        }
        "Node" => {
            let pod = pod["metadata"]["name"].as_str()?;
            Some(format!("Node/{}", pod.strip_suffix(name)?.strip_suffix('-')?))
        }
        _ => Some(format!("{kind}/{name}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owners_are_followed_to_what_people_write() {
        let pod = |name: &str, kind: &str, owner: &str| {
            json!({"metadata": {"name": name, "labels": {"pod-template-hash": "abc"},
                "ownerReferences": [{"kind": kind, "name": owner, "controller": true}]}})
        };
        assert_eq!(
            owner(&pod("coredns-abc-1", "ReplicaSet", "coredns-abc")).as_deref(),
            Some("Deployment/coredns")
        );
        assert_eq!(owner(&pod("etcd-cp1", "Node", "cp1")).as_deref(), Some("Node/etcd"));
        assert_eq!(owner(&pod("cilium-x", "DaemonSet", "cilium")).as_deref(), Some("DaemonSet/cilium"));
        assert_eq!(owner(&json!({"metadata": {"name": "stray"}})), None);
    }
}
