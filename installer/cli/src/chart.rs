//! The CNI's chart, rendered by Helm on the operator's machine. Nothing of Helm reaches the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kubezt_artifacts::Tool;
use kubezt_model::desired::ManifestSet;
use kubezt_model::yaml;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::failure::Failure;

/// A chart renders in a second; a minute means that something hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Namespace the chart's objects go to.
const NAMESPACE: &str = "kube-system";

/// Definitions come before everything that Helm renders from templates.
const DEFINITION: &str = "CustomResourceDefinition";

/// Kinds without a namespace that charts of network plug-ins hold.
const CLUSTER_WIDE: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    DEFINITION,
    "GatewayClass",
    "IngressClass",
    "Namespace",
    "PriorityClass",
    "ValidatingWebhookConfiguration",
];

/// Renders a chart for a Kubernetes version.
pub async fn render(
    helm: &Path,
    chart: &Tool,
    name: &str,
    kubernetes_version: &semver::Version,
    values: &Value,
) -> Result<ManifestSet, Failure> {
    let idle = idle(&chart.idle_init_containers, values);
    let values = yaml::write(values).map_err(Failure::usage)?;
    let failed = |why: String| Failure::environment(format!("the chart of {name} does not render: {why}"));
    let mut child = Command::new(helm)
        .args(["template", name])
        .arg(&chart.path)
        .args(["--include-crds", "--namespace", NAMESPACE, "--values", "-", "--kube-version"])
        .arg(format!("v{kubernetes_version}"))
        // It ends within a fraction of a second: collecting garbage costs it a third of that.
        .env("GOGC", "off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", helm.display())))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(values.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("nothing within {} s", TIMEOUT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))?;
    let mut objects = yaml::read_all(&format!("chart of {name}"), &text).map_err(Failure::environment)?;
    for object in &mut objects {
        name_namespace(object);
        label_definition(object, &chart.definition_labels);
        leave_out(object, &idle);
    }
    // What a definition defines may be in the same chart; the sort is stable, so Helm's order holds otherwise.
    objects.sort_by_key(|object| !is_definition(object));
    Ok(ManifestSet { name: name.to_owned(), objects, absent: Vec::new() })
}

/// Charts may leave the namespace to the installer; our objects always name theirs.
fn name_namespace(object: &mut Value) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if CLUSTER_WIDE.contains(&kind) {
        return;
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.entry("namespace").or_insert_with(|| Value::from(NAMESPACE));
    }
}

/// Init containers for which no value has work.
fn idle(containers: &BTreeMap<String, BTreeSet<String>>, values: &Value) -> BTreeSet<String> {
    let is_true = |name: &String| values.get(name).and_then(Value::as_bool) == Some(true);
    let idle = containers.iter().filter(|(_, work)| !work.iter().any(is_true));
    idle.map(|(name, _)| name.clone()).collect()
}

/// Takes init containers of these names out of a workload.
fn leave_out(object: &mut Value, names: &BTreeSet<String>) {
    let containers = object.pointer_mut("/spec/template/spec/initContainers").and_then(Value::as_array_mut);
    if let Some(containers) = containers {
        containers.retain(|container| {
            !container.get("name").and_then(Value::as_str).is_some_and(|name| names.contains(name))
        });
    }
}

fn is_definition(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some(DEFINITION)
}

/// Gives a definition the labels by which the component's own programs know that it is current.
fn label_definition(object: &mut Value, labels: &BTreeMap<String, String>) {
    if labels.is_empty() || !is_definition(object) {
        return;
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let entry = metadata.entry("labels").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(known) = entry.as_object_mut() {
            known.extend(labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_without_a_namespace_get_one() {
        let mut object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
        name_namespace(&mut object);
        assert_eq!(object["metadata"]["namespace"], "kube-system");
        let mut object = json!({"kind": "ClusterRole", "metadata": {"name": "a"}});
        name_namespace(&mut object);
        assert!(object["metadata"].get("namespace").is_none());
    }

    #[test]
    fn init_containers_without_work_are_left_out() {
        let containers = BTreeMap::from([("clean".to_owned(), BTreeSet::from(["cleanState".to_owned()]))]);
        let render = |values: Value| {
            let mut object = json!({"kind": "DaemonSet", "spec": {"template": {"spec": {
                "initContainers": [{"name": "clean"}, {"name": "install"}], "containers": [{"name": "clean"}]}}}});
            leave_out(&mut object, &idle(&containers, &values));
            let spec = &object["spec"]["template"]["spec"];
            assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
            spec["initContainers"].as_array().unwrap().len()
        };
        assert_eq!(render(json!({})), 1);
        assert_eq!(render(json!({"cleanState": false})), 1);
        assert_eq!(render(json!({"cleanState": true})), 2);
    }

    #[test]
    fn definitions_alone_are_labelled_and_keep_their_own_labels() {
        let labels = BTreeMap::from([("schema".to_owned(), "1.2.3".to_owned())]);
        let mut object = json!({"kind": DEFINITION, "metadata": {"name": "a", "labels": {"own": "b"}}});
        label_definition(&mut object, &labels);
        assert_eq!(object["metadata"]["labels"], json!({"own": "b", "schema": "1.2.3"}));
        let mut object = json!({"kind": DEFINITION, "metadata": {"name": "a"}});
        label_definition(&mut object, &labels);
        assert_eq!(object["metadata"]["labels"], json!({"schema": "1.2.3"}));
        let mut object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
        label_definition(&mut object, &labels);
        assert!(object["metadata"].get("labels").is_none());
    }
}
