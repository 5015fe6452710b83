//! A small resolved cluster, complete and plain, for tests that need one.

use std::collections::BTreeMap;

use kubezt_model::desired::Cluster;
use kubezt_model::yaml;

const CLUSTER: &str = include_str!("sample.yaml");

/// One control-plane node and two workers, with settings as plain as they can be: no hardening argument is set.
///
/// # Panics
/// When the sample no longer fits the model.
pub fn sample_cluster() -> Cluster {
    match yaml::read("sample.yaml", CLUSTER) {
        Ok(cluster) => cluster,
        Err(error) => panic!("the sample cluster no longer fits the model: {error}"),
    }
}

/// Image references by the short names templates use.
pub fn sample_images() -> BTreeMap<String, String> {
    [
        ("agent", "quay.io/cilium/cilium:v1.20.2"),
        ("coredns", "registry.k8s.io/coredns/coredns:v1.14.7"),
        ("etcd", "registry.k8s.io/etcd:3.6.14-0"),
        ("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.36.3"),
        ("kube-controller-manager", "registry.k8s.io/kube-controller-manager:v1.36.3"),
        ("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.36.3"),
        ("operator", "quay.io/cilium/operator-generic:v1.20.2"),
        ("pause", "registry.k8s.io/pause:3.10.1"),
    ]
    .map(|(name, reference)| (name.to_owned(), reference.to_owned()))
    .into()
}
