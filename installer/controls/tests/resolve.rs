//! Resolving: what adds up, and how mistakes are told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use kubezt_controls::{Library, resolve};
use kubezt_model::cluster;
use kubezt_model::settings::{Argument, AuditPolicy, EncryptionProvider};
use support::{CLUSTER, library, profile_files, resolved};

fn errors(library: &Library, text: &str, profile: Option<&str>) -> Vec<String> {
    let file = cluster::parse("cluster.yaml", text).unwrap();
    resolve(library, &file, text, "cluster.yaml", profile)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_last_word_is_the_clusters() {
    let library = library();
    let baseline = resolved(&library, CLUSTER, "baseline");
    assert_eq!(baseline.settings.audit.policy, AuditPolicy::Tiered);
    assert_eq!(baseline.settings.encryption.provider, EncryptionProvider::Secretbox);
    let stig = resolved(&library, CLUSTER, "stig");
    assert_eq!(stig.settings.audit.policy, AuditPolicy::Everything);
    assert_eq!(stig.settings.encryption.provider, EncryptionProvider::Aescbc);
    assert_eq!(stig.settings.api_server.arguments["anonymous-auth"], Argument::Switch(false));
    let Argument::List(plugins) = &stig.settings.api_server.arguments["enable-admission-plugins"] else {
        panic!()
    };
    assert!(
        plugins.contains(&"NodeRestriction".to_owned()) && plugins.contains(&"EventRateLimit".to_owned()),
        "{plugins:?}"
    );
    assert!(!plugins.contains(&"AlwaysPullImages".to_owned()));
    let text = format!(
        "{CLUSTER}  settings:
    kubelet.configuration.failCgroupV1: false
    kubelet:
      configuration:
        evictionHard: {{memory.available: 10Mi}}
        podPidsLimit: null
    host.sysctls.kernel.panic: 20
    apiServer.arguments.audit-log-maxage: 60
    containerd.systemdCgroup: false
"
    );
    let cluster = resolved(&library, &text, "stig");
    let kubelet = &cluster.settings.kubelet.configuration;
    assert_eq!(kubelet["failCgroupV1"], false);
    assert_eq!(kubelet["evictionHard"]["memory.available"], "10Mi");
    assert_eq!(kubelet["evictionHard"]["nodefs.available"], "10%");
    assert!(!kubelet.contains_key("podPidsLimit"));
    assert_eq!(cluster.settings.host.sysctls["kernel.panic"], "20");
    assert_eq!(cluster.settings.api_server.arguments["audit-log-maxage"], Argument::Number(60));
    assert!(!cluster.settings.containerd.systemd_cgroup);
    assert_eq!(cluster.endpoint.name, "api.demo.internal");
    assert_eq!(cluster.networks.dns_service.to_string(), "10.96.0.10");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let library = library();
    let text = CLUSTER.replace("spec:", "spec:\n  profile: stig");
    let file = cluster::parse("cluster.yaml", &text).unwrap();
    assert_eq!(resolve(&library, &file, &text, "cluster.yaml", None).unwrap().profile, "stig");
    assert_eq!(
        resolve(&library, &file, &text, "cluster.yaml", Some("baseline")).unwrap().profile,
        "baseline"
    );
    let found = errors(&library, &text.replace("stig", "stigg"), None);
    assert!(
        found[0].starts_with("cluster.yaml:6: there is no profile `stigg`")
            && found[0].contains("did you mean `stig`"),
        "{found:?}"
    );
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let library = library();
    let text = "
apiVersion: kubezt.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  endpoint: {port: 10250}
  networks: {pods: [10.96.0.0/12]}
  nodes:
    - {name: cp1, role: control-plane, addresses: [10.0.0.11]}
    - {name: cp2, role: control-plane, addresses: [10.0.0.11]}
    - {name: w1, role: worker, addresses: [10.97.0.1], taints: [{key: a, effect: NoSchedul}]}
    - {name: w1, role: worker, addresses: []}
  settings:
    kubelet.configuraton.failCgroupV1: false
    podSecurity.enforce: 7
  waivers:
    - {requirement: api-anonymus, nodes: [gone], reason: '', owner: me, expires: 2027-01-01}
  artifacts:
    source: oci
    directory: /media
";
    let found = errors(&library, text, None);
    let expected = [
        ("cluster.yaml:14: there is no setting `kubelet.configuraton.failCgroupV1`; did you mean `kubelet.configuration.failCgroupV1`?"),
        ("cluster.yaml:15: setting `podSecurity.enforce`"),
        ("2 control-plane nodes"),
        ("cluster.yaml:9: nodes `cp1` and `cp2` share the address 10.0.0.11"),
        ("cluster.yaml:11: node `w1`: 10.97.0.1 lies in the cluster's own network 10.96.0.0/12"),
        ("cluster.yaml:11: node `w1`: taint effect `NoSchedul`"),
        ("two nodes are named `w1`"),
        ("node `w1` has no address"),
        ("pod network 10.96.0.0/12 and service network 10.96.0.0/16 overlap"),
        ("cluster.yaml:6: `endpoint.port: 10250` belongs to kubelet"),
        ("cluster.yaml:17: a waiver names requirement `api-anonymus`, which does not exist; did you mean `api-anonymous`?"),
        ("cluster.yaml:17: the waiver of `api-anonymus` names node `gone`"),
        ("needs a reason and an owner"),
        ("cluster.yaml:19: `source: oci` needs `artifacts.registry`"),
        ("cluster.yaml:20: `artifacts.directory` is for `source: directory`, and the source is `oci`"),
    ];
    for wanted in expected {
        assert!(found.iter().any(|error| error.contains(wanted)), "missing: {wanted}\n{}", found.join("\n"));
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let library = library();
    let text =
        format!("{CLUSTER}  settings: {{podSecurity.enforce: strict, etcd.uid: 0, pki.leafLifetime: 14m}}\n");
    let found = errors(&library, &text, None);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("`strict` is not a level"), "{found:?}");
}

#[test]
fn where_etcds_data_is_cannot_be_set() {
    let text = format!(
        "{CLUSTER}  settings: {{etcd.arguments.wal-dir: /var/log/etcd, etcd.arguments.quota-backend-bytes: \"1\"}}\n"
    );
    let found = errors(&library(), &text, None);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("setting `etcd.arguments.wal-dir`: where etcd's data is"), "{found:?}");
}

#[test]
fn requirements_that_contradict_each_other_are_both_named() {
    let files = profile_files().into_iter().map(|(name, text)| {
        // Without the exclusion the STIG's audit policy meets the one of the baseline.
        let text = if name.ends_with("/stig.yaml") && !name.contains("controls") {
            text.replace("id: api-audit-content-tiered", "id: api-alwayspull")
        } else {
            text
        };
        (name, text)
    });
    let library = Library::load(files.collect::<Vec<_>>()).unwrap();
    let found = errors(&library, CLUSTER, Some("stig"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("`api-audit-content`") && found[0].contains("`api-audit-content-tiered`"),
        "{found:?}"
    );
}
