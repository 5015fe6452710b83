//! Hardening by kubeadm's own means: extra arguments and files of the components, with the values that kubezt renders for the same
//! cluster file.

use anyhow::{Context, Result};
use serde_yaml::{Mapping, Value};

/// Folder of a control-plane node that its API server reads, or writes where it is not `read_only`.
pub struct Volume {
    pub name: &'static str,
    pub path: &'static str,
    pub read_only: bool,
}

/// All of them.
pub const VOLUMES: [Volume; 4] = [
    Volume { name: "admission", path: "/etc/kubernetes/admission", read_only: true },
    Volume { name: "audit", path: "/etc/kubernetes/audit", read_only: true },
    Volume { name: "encryption", path: "/etc/kubernetes/encryption", read_only: true },
    Volume { name: "audit-log", path: "/var/log/kubernetes/audit", read_only: false },
];

/// Where the API server finds what encrypts Secrets.
pub const ENCRYPTION: &str = "/etc/kubernetes/encryption/config.yaml";

/// A component of the control plane, and which of its rendered flags kubeadm is given; kubeadm decides the others itself.
/// `anonymous-auth` stays on: a node that joins is not known yet when it asks for `cluster-info`, and kubeadm's probes are nobody's.
pub struct Component {
    /// Static pod whose rendered manifest has the flags.
    pub pod: &'static str,
    /// Path of its arguments in `ClusterConfiguration`.
    pub key: &'static [&'static str],
    pub flags: &'static [&'static str],
}

/// All of them.
pub const COMPONENTS: [Component; 4] = [
    Component {
        pod: "kube-apiserver",
        key: &["apiServer"],
        flags: &[
            "admission-control-config-file",
            "audit-log-maxage",
            "audit-log-maxbackup",
            "audit-log-maxsize",
            "audit-log-path",
            "audit-policy-file",
            "enable-admission-plugins",
            "encryption-provider-config",
            "profiling",
            "request-timeout",
            "service-account-extend-token-expiration",
            "tls-cipher-suites",
            "tls-min-version",
        ],
    },
    Component {
        pod: "kube-controller-manager",
        key: &["controllerManager"],
        flags: &["profiling", "terminated-pod-gc-threshold", "tls-min-version"],
    },
    Component { pod: "kube-scheduler", key: &["scheduler"], flags: &["profiling", "tls-min-version"] },
    Component { pod: "etcd", key: &["etcd", "local"], flags: &["cipher-suites", "tls-min-version"] },
];

/// Adds a component's arguments to a `ClusterConfiguration`.
///
/// # Errors
/// The rendered manifest has no such flag: then the profile does not harden what this claims.
pub fn add_arguments(cluster: &mut Value, component: &Component, manifest: &str) -> Result<()> {
    let manifest: Value = serde_yaml::from_str(manifest)?;
    let command = manifest["spec"]["containers"][0]["command"].as_sequence();
    let command = command.with_context(|| format!("{} has no command", component.pod))?;
    let arguments: Result<Vec<Value>> = component
        .flags
        .iter()
        .map(|flag| {
            let value = command
                .iter()
                .filter_map(Value::as_str)
                .find_map(|word| word.strip_prefix("--")?.strip_prefix(flag)?.strip_prefix('='))
                .with_context(|| format!("{} is rendered without --{flag}", component.pod))?;
            Ok(mapping([("name", (*flag).into()), ("value", value.into())]))
        })
        .collect();
    let mut place = cluster;
    for key in component.key {
        let entries = place.as_mapping_mut().context("a component's settings are not a mapping")?;
        place = entries.entry((*key).into()).or_insert_with(|| Mapping::new().into());
    }
    place.as_mapping_mut().context("not a mapping")?.insert("extraArgs".into(), arguments?.into());
    Ok(())
}

/// `extraVolumes` of the API server.
pub fn volumes() -> Value {
    let volume = |volume: &Volume| {
        mapping([
            ("name", volume.name.into()),
            ("hostPath", volume.path.into()),
            ("mountPath", volume.path.into()),
            ("readOnly", volume.read_only.into()),
            ("pathType", if volume.read_only { "Directory" } else { "DirectoryOrCreate" }.into()),
        ])
    };
    VOLUMES.iter().map(volume).collect::<Vec<_>>().into()
}

/// kubelet's rendered configuration but for its certificate, which kubelet makes itself under kubeadm.
///
/// # Errors
/// It is no mapping.
pub fn kubelet_configuration(rendered: &str) -> Result<Value> {
    let mut configuration: Mapping = serde_yaml::from_str(rendered)?;
    for own in ["tlsCertFile", "tlsPrivateKeyFile"] {
        configuration.remove(own).with_context(|| format!("kubelet is rendered without {own}"))?;
    }
    Ok(configuration.into())
}

/// Encryption of Secrets with a key, in base64 of 32 bytes.
pub fn encryption(key: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers:\n  \
         - secretbox: {{keys: [{{name: bench, secret: {key}}}]}}\n  - identity: {{}}\n"
    )
}

/// A mapping of these entries, in this order.
pub fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Mapping>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_that_are_rendered() {
        let manifest =
            "spec: {containers: [{command: [etcd, --cipher-suites=A, --tls-min-version=TLS1.2, --name=x]}]}";
        let mut cluster: Value = serde_yaml::from_str("{etcd: {local: {imageTag: '3'}}}").unwrap();
        add_arguments(&mut cluster, &COMPONENTS[3], manifest).unwrap();
        let local = &cluster["etcd"]["local"];
        assert_eq!(local["imageTag"], "3");
        assert_eq!(local["extraArgs"].as_sequence().unwrap().len(), 2);
        assert_eq!(local["extraArgs"][1]["value"], "TLS1.2");

        let bare = "spec: {containers: [{command: [etcd, --cipher-suites=A]}]}";
        let error = add_arguments(&mut cluster, &COMPONENTS[3], bare).unwrap_err();
        assert_eq!(error.to_string(), "etcd is rendered without --tls-min-version");
    }

    #[test]
    fn encryption_is_one_document() {
        let encryption: Value = serde_yaml::from_str(&encryption("a2V5")).unwrap();
        assert_eq!(encryption["resources"][0]["providers"][0]["secretbox"]["keys"][0]["secret"], "a2V5");
    }
}
