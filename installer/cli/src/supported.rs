//! What a cluster file asks for that this release has not: versions and network plug-ins are those it was built with.

use kubezt_controls::nearest::nearest;
use kubezt_controls::place_of;
use kubezt_model::cluster::ClusterSpec;

use crate::assemble;
use crate::embedded;
use crate::failure::Failure;

/// Component whose version is the cluster's.
const KUBERNETES: &str = "kubernetes";

/// Everything that this release cannot do, each with file and line.
///
/// # Errors
/// The embedded recipes cannot be read, which is a mistake of kubezt.
pub fn problems(spec: &ClusterSpec, name: &str, text: &str) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    let catalogue = assemble::catalogue()?;
    if let Some(version) = catalogue.version(KUBERNETES)
        && version.to_string() != spec.kubernetes_version.to_string()
    {
        let wanted = &spec.kubernetes_version;
        let place = place_of(name, text, "kubernetesVersion", "kubernetesVersion");
        problems.push(format!("{place}: this release installs Kubernetes {version}, and {wanted} is asked for; leave the key out, or take the release of kubezt that has it"));
    }
    let networks: Vec<String> = networks();
    let wanted = spec.cni.name.as_str();
    if !networks.iter().any(|known| known == wanted) {
        let place = place_of(name, text, "cni", wanted);
        let known = networks.join(", ");
        let likely = nearest(wanted, networks.iter().map(String::as_str));
        let likely = likely.map(|likely| format!("; did you mean `{likely}`?")).unwrap_or_default();
        problems.push(format!("{place}: there is no network plug-in `{wanted}`; there are {known}{likely}"));
    }
    Ok(problems)
}

/// Names of the network plug-ins: folders with values for a chart.
fn networks() -> Vec<String> {
    let templates = embedded::templates();
    let names = templates.into_iter().filter_map(|(path, _)| {
        Some(path.strip_prefix("cni/")?.strip_suffix("/values.yaml.tera")?.to_owned())
    });
    names.collect()
}
