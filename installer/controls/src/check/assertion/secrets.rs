//! Secrets that reach containers through their environment.

use serde_json::Value;

use super::super::api::{ApiRead, object_name, objects, outcome};
use super::super::{ClusterContext, Judged};
use super::pods;

/// Pods and everything that makes pods.
pub fn pod_owners() -> Vec<ApiRead> {
    vec![
        pods(),
        ApiRead::all("apps/v1", "Deployment", "deployments"),
        ApiRead::all("apps/v1", "StatefulSet", "statefulsets"),
        ApiRead::all("apps/v1", "DaemonSet", "daemonsets"),
        ApiRead::all("batch/v1", "Job", "jobs"),
        ApiRead::all("batch/v1", "CronJob", "cronjobs"),
    ]
}

/// No `secretKeyRef` and no `secretRef` in any container of any kind.
pub fn environment(context: &ClusterContext<'_>) -> Result<Judged, String> {
    let reads = pod_owners();
    let found = objects(context, &reads)?;
    let mut broken = Vec::new();
    for (kind, object) in &found {
        let spec = pod_spec(kind, object);
        for field in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec[field].as_array().into_iter().flatten() {
                if takes_secret(container) {
                    let name = container["name"].as_str().unwrap_or_default();
                    broken.push(format!("{} container {name}", object_name(kind, object)));
                }
            }
        }
    }
    Ok(outcome("no container with a Secret in its environment", found.len(), broken))
}

fn pod_spec<'a>(kind: &str, object: &'a Value) -> &'a Value {
    match kind {
        "Pod" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => &object["spec"]["template"]["spec"],
    }
}

fn takes_secret(container: &Value) -> bool {
    let items = |field: &str| container[field].as_array().into_iter().flatten();
    items("env").any(|variable| !variable["valueFrom"]["secretKeyRef"].is_null())
        || items("envFrom").any(|source| !source["secretRef"].is_null())
}
