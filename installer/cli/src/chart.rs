//! The CNI's chart, rendered by Helm on the operator's machine. Nothing of Helm reaches the cluster.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

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

/// Kinds without a namespace that charts of network plug-ins hold.
const CLUSTER_WIDE: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "GatewayClass",
    "IngressClass",
    "Namespace",
    "PriorityClass",
    "ValidatingWebhookConfiguration",
];

/// Renders a chart for a Kubernetes version.
pub async fn render(
    helm: &Path,
    chart: &Path,
    name: &str,
    kubernetes_version: &semver::Version,
    values: &Value,
) -> Result<ManifestSet, Failure> {
    let values = yaml::write(values).map_err(Failure::usage)?;
    let failed = |why: String| Failure::environment(format!("the chart of {name} does not render: {why}"));
    let mut child = Command::new(helm)
        .args(["template", name])
        .arg(chart)
        .args(["--namespace", NAMESPACE, "--values", "-", "--kube-version"])
        .arg(format!("v{kubernetes_version}"))
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
    objects.iter_mut().for_each(name_namespace);
    Ok(ManifestSet { name: name.to_owned(), objects })
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
}
