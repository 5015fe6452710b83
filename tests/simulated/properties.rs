//! What holds on random clusters.

use kubezt_model::desired::DesiredNode;
use kubezt_model::yaml;
use proptest::prelude::*;
use serde_json::Value;

use crate::{assembly, assert_complete, bare, cluster, install, lint, plan};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// On random clusters: rendering is deterministic, and after the plan was done there is nothing to do, at first and
    /// after a change.
    #[test]
    fn a_plan_after_its_apply_is_empty(spec in cluster::spec(), settings in cluster::settings()) {
        let desired = cluster::resolve(&spec).unwrap();
        prop_assert_eq!(&desired, &cluster::resolve(&spec).unwrap());
        let world = bare(desired);
        prop_assert_eq!(lint::told(&plan(&world), assembly::PLANTED_KEY), [""; 0]);
        assert_complete(&world, &install(&world), "at first");
        let changed = cluster::resolve(&spec.with(settings)).unwrap();
        let world = world.fork(changed, None);
        assert_complete(&world, &install(&world), "after a change");
    }

    /// Whatever a label or an argument says, it arrives as it was written.
    #[test]
    fn labels_and_arguments_arrive_as_written(spec in cluster::spec()) {
        let desired = cluster::resolve(&spec).unwrap();
        if let Some(nasty) = spec.nasty_argument() {
            let pod = document(&desired.nodes[0], "/etc/kubernetes/manifests/kube-scheduler.yaml");
            let command = pod["spec"]["containers"][0]["command"].as_array().unwrap();
            let wanted = Value::from(format!("--nasty={nasty}"));
            prop_assert!(command.contains(&wanted), "{} in {:?}", wanted, command);
        }
        for (labels, object) in spec.labels().zip(&desired.manifests.last().unwrap().objects) {
            for (key, value) in labels {
                prop_assert_eq!(object["metadata"]["labels"].get(key), Some(&Value::from(value.as_str())));
            }
        }
    }

    /// Whatever a taint says, kubelet registers its node with it.
    #[test]
    fn taints_arrive_as_written(spec in cluster::spec()) {
        let desired = cluster::resolve(&spec).unwrap();
        for (taints, node) in spec.taints().zip(&desired.nodes) {
            let kubelet = document(node, "/var/lib/kubelet/config.yaml");
            let registered = kubelet["registerWithTaints"].as_array().cloned().unwrap_or_default();
            for taint in taints {
                prop_assert!(registered.contains(&taint), "{} in {:?}", taint, registered);
            }
        }
    }
}

/// A rendered file, read as YAML.
fn document(node: &DesiredNode, path: &str) -> Value {
    let file = node.files.iter().find(|file| file.path == path).unwrap();
    yaml::read(path, file.body.expose()).unwrap()
}
