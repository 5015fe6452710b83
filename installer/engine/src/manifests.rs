//! Applying and removing objects, and finding which of them differ from what the API holds.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kubezt_model::NodeName;
use kubezt_plan::Due;
use kubezt_plan::assess::object_name;
use serde_json::Value;

use crate::api::{ApiClient, ApiError, FIELD_MANAGER, object_path, text};
use crate::applied;
use crate::gates::WORKLOADS;

/// Objects looked at side by side; they share one HTTP/2 connection.
const CONCURRENCY: usize = 16;

/// How long an apply is tried again while the API does not know a kind yet, or does not yet grant what was just
/// bound: custom resources are registered by the CNI's own operator, and RBAC is read from a cache.
const SETTLING: Duration = Duration::from_secs(240);

/// Which of these objects would change if they were applied: told from the objects themselves where that can be, and by the
/// server's own dry run otherwise.
///
/// # Errors
/// The API does not answer.
pub async fn drift(client: &ApiClient, objects: &[Value]) -> Result<Vec<Due>, ApiError> {
    let results: Vec<Result<Option<Due>, ApiError>> = futures::stream::iter(objects)
        .map(|object| object_drift(client, object))
        .buffered(CONCURRENCY)
        .collect()
        .await;
    results.into_iter().filter_map(Result::transpose).collect()
}

/// Which of these objects the API holds, although they must not exist.
///
/// # Errors
/// The API does not answer.
pub async fn left_over(client: &ApiClient, absent: &[Value]) -> Result<Vec<Due>, ApiError> {
    let results: Vec<Result<Option<Due>, ApiError>> = futures::stream::iter(absent)
        .map(|object| async move {
            let held = client.read(&object_path(object)?).await?.is_some();
            Ok(held.then(|| Due { subject: object_name(object), why: "switched off".to_owned() }))
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    results.into_iter().filter_map(Result::transpose).collect()
}

/// Whether an object stands for one of these nodes.
pub fn is_of(object: &Value, nodes: &BTreeSet<NodeName>) -> bool {
    text(object, "/kind") == "Node"
        && nodes.iter().any(|node| node.as_str() == text(object, "/metadata/name"))
}

/// Removes objects that must not exist.
///
/// # Errors
/// The first object that is not let go, with its name.
pub async fn remove(client: &ApiClient, absent: &[Value]) -> Result<(), String> {
    for object in absent {
        let failed = |error: ApiError| format!("remove {}: {error}", object_name(object));
        client.delete(&object_path(object).map_err(failed)?).await.map_err(failed)?;
    }
    Ok(())
}

async fn object_drift(client: &ApiClient, object: &Value) -> Result<Option<Due>, ApiError> {
    let due = |why: &str| Ok(Some(Due { subject: object_name(object), why: why.to_owned() }));
    let Some(live) = client.read(&object_path(object)?).await? else { return due("missing") };
    if applied::stays(&live, object, FIELD_MANAGER) {
        return Ok(None);
    }
    match client.apply(object, true).await {
        Ok(wanted) => {
            let difference = first_difference(&strip(live), &strip(wanted), "");
            match difference {
                Some(place) => due(&place),
                None => Ok(None),
            }
        }
        Err(ApiError::Refused { message, .. }) => due(&message),
        Err(error) => Err(error),
    }
}

/// Fields that change with every write and say nothing about what is wanted.
fn strip(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    // Somebody else's report, and it moves while we look.
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    object
}

/// Path of the first field that differs.
fn first_difference(live: &Value, wanted: &Value, path: &str) -> Option<String> {
    if live == wanted {
        return None;
    }
    if let (Value::Object(live), Value::Object(wanted)) = (live, wanted) {
        for key in live.keys().chain(wanted.keys()) {
            let (one, other) =
                (live.get(key).unwrap_or(&Value::Null), wanted.get(key).unwrap_or(&Value::Null));
            if let Some(place) = first_difference(one, other, &format!("{path}.{key}")) {
                return Some(place);
            }
        }
    }
    Some(format!("{} differs", path.trim_start_matches('.')))
}

/// Applies objects side by side: first what pods are refused or stuck without, then workloads, since they take longest to
/// start, and beside them the rest.
///
/// # Errors
/// The first object that is refused for a reason that does not settle, with its name.
pub async fn apply(
    client: &ApiClient,
    objects: &[Value],
    waiting: &(dyn Fn(String) + Sync),
) -> Result<(), String> {
    let kind = |object: &&Value| object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (needed, mut others): (Vec<&Value>, Vec<&Value>) =
        objects.iter().partition(|object| NEEDED_BY_PODS.contains(&kind(object).as_str()));
    others.sort_by_key(|object| !WORKLOADS.contains(&kind(object).as_str()));
    for stage in [needed, others] {
        let applied: Vec<_> = stage.into_iter().map(|object| apply_one(client, object, waiting)).collect();
        futures::stream::iter(applied).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    }
    Ok(())
}

/// Without these, pods are refused, or wait for longer and longer until they are looked for again.
const NEEDED_BY_PODS: [&str; 9] = [
    "Namespace",
    "ServiceAccount",
    "ConfigMap",
    "Secret",
    "PriorityClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
];

async fn apply_one(
    client: &ApiClient,
    object: &Value,
    waiting: &(dyn Fn(String) + Sync),
) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + SETTLING;
    loop {
        match client.apply(object, false).await {
            Ok(_) => return Ok(()),
            Err(error) if settles(&error) && tokio::time::Instant::now() < deadline => {
                waiting(format!("{}: {error}", object_name(object)));
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(format!("apply {}: {error}", object_name(object))),
        }
    }
}

fn settles(error: &ApiError) -> bool {
    match error {
        // 403: a binding made a moment ago; 404: a kind not registered yet; 409: somebody wrote in between;
        // 429 and 5xx: the server is busy or starting.
        ApiError::Refused { code, .. } => matches!(code, 403 | 404 | 409 | 429 | 500..),
        ApiError::Unreachable { .. } => true,
        ApiError::Setup(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drift_names_the_field() {
        let live = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1, "same": 1}});
        let wanted = json!({"metadata": {"resourceVersion": "2"}, "spec": {"replicas": 2, "same": 1}});
        assert_eq!(first_difference(&strip(live), &strip(wanted), "").unwrap(), "spec.replicas differs");
    }
}
