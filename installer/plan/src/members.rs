//! Who is a member of etcd, as far as nodes tell.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::desired::Desired;
use kubezt_model::node::Facts;
use kubezt_model::{NodeName, yaml};
use serde_json::Value;

/// Manifest of etcd's static pod.
pub(crate) const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// Argument that names the members etcd is founded with.
const INITIAL_CLUSTER: &str = "--initial-cluster=";

/// Why the wanted control plane cannot be brought about: nodes were founded as a control plane of other members. Members that
/// etcd does not know of would found a second, empty cluster beside the one that is there.
pub fn refusal(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    let wanted: BTreeSet<String> =
        desired.cluster.control_plane().map(|node| node.name.to_string()).collect();
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    facts.iter().find_map(|(node, facts)| {
        let manifest = facts.file(MANIFEST)?.text.as_ref()?;
        let founded = members(manifest.expose())?;
        (founded != wanted).then(|| {
            format!(
                "{node} belongs to a control plane of {}, and the cluster file wants {}: control-plane nodes of a cluster \
                 that runs can be neither added nor removed yet",
                list(&founded),
                list(&wanted)
            )
        })
    })
}

/// Names of the members in a manifest; `None` where it is not one of ours.
fn members(manifest: &str) -> Option<BTreeSet<String>> {
    let pod: Value = yaml::read(MANIFEST, manifest).ok()?;
    let command = pod.pointer("/spec/containers/0/command")?.as_array()?;
    let list =
        command.iter().filter_map(Value::as_str).find_map(|word| word.strip_prefix(INITIAL_CLUSTER))?;
    Some(list.split(',').filter_map(|member| Some(member.split_once('=')?.0.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_of_the_argument() {
        let manifest = "spec: {containers: [{command: [etcd, '--name=a', \
                        '--initial-cluster=a=https://10.0.0.1:2380,b=https://[fd00::2]:2380', '--initial-cluster-state=new']}]}";
        assert_eq!(members(manifest).unwrap(), ["a", "b"].map(str::to_owned).into());
        for other in ["spec: {}", "spec: {containers: [{command: [etcd]}]}", "{"] {
            assert_eq!(members(other), None, "{other}");
        }
    }
}
