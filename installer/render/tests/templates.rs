//! The shipped templates, rendered for the sample cluster.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use kubezt_model::SecretText;
use kubezt_model::desired::{
    CertificateKind, Cluster, DesiredCertificate, DesiredNode, LeafSpec, OnChange, Sensitivity,
};
use kubezt_model::settings::Argument;
use kubezt_model::yaml;
use kubezt_render::{Input, RenderError, Secrets, Templates, chart_values, render_manifests, render_node};
use kubezt_testkit::{sample_cluster, sample_images};
use serde_json::{Value, json};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn shipped() -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs_err::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files
}

fn templates() -> Templates {
    Templates::load(shipped()).unwrap_or_else(|errors| panic!("{}", RenderError::Several(errors)))
}

fn with<T>(cluster: &Cluster, act: impl FnOnce(&Input<'_>) -> T) -> T {
    let images = sample_images();
    let secrets = Secrets { encryption_key: SecretText::new(KEY.to_owned()) };
    act(&Input { cluster, images: &images, secrets: &secrets })
}

fn render(cluster: &Cluster, node: usize) -> Result<DesiredNode, RenderError> {
    with(cluster, |input| render_node(&templates(), input, &cluster.nodes[node]))
}

fn rendered(cluster: &Cluster, node: usize) -> DesiredNode {
    render(cluster, node).unwrap_or_else(|error| panic!("{error}"))
}

fn body<'a>(node: &'a DesiredNode, path: &str) -> &'a str {
    let file = node.files.iter().find(|file| file.path == path);
    file.unwrap_or_else(|| panic!("no {path}")).body.expose()
}

fn document(node: &DesiredNode, path: &str) -> Value {
    yaml::read(path, body(node, path)).unwrap()
}

fn command(node: &DesiredNode, pod: &str) -> Vec<String> {
    let document = document(node, &format!("/etc/kubernetes/manifests/{pod}.yaml"));
    serde_json::from_value(document.pointer("/spec/containers/0/command").unwrap().clone()).unwrap()
}

#[test]
fn roles_get_their_files() {
    let cluster = sample_cluster();
    let (control_plane, worker) = (rendered(&cluster, 0), rendered(&cluster, 1));
    let paths = |node: &DesiredNode| node.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    for pod in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        assert!(paths(&control_plane).contains(&format!("/etc/kubernetes/manifests/{pod}.yaml")));
    }
    assert!(!paths(&worker).iter().any(|path| path.contains("manifests") || path.contains("encryption")));
    for path in
        ["/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf", "/etc/containerd/config.toml"]
    {
        assert!(paths(&worker).contains(&path.to_owned()), "{path}");
    }
    assert!(document(&control_plane, "/var/lib/kubelet/config.yaml").get("staticPodPath").is_some());
    assert!(document(&worker, "/var/lib/kubelet/config.yaml").get("staticPodPath").is_none());
}

#[test]
fn equal_input_gives_equal_bytes() {
    let mut cluster = sample_cluster();
    let many = (0..40).map(|number| (format!("net.test.k{number}"), number.to_string()));
    cluster.settings.host.sysctls.extend(many);
    for _ in 0..5 {
        assert_eq!(rendered(&cluster, 0), rendered(&cluster, 0));
        with(&cluster, |input| {
            assert_eq!(
                render_manifests(&templates(), input).unwrap(),
                render_manifests(&templates(), input).unwrap()
            );
        });
    }
}

#[test]
fn arguments_are_sorted_once_each_and_settings_win() {
    let mut cluster = sample_cluster();
    let settings = &mut cluster.settings.api_server.arguments;
    settings.insert("anonymous-auth".to_owned(), Argument::Switch(false));
    settings.insert(
        "enable-admission-plugins".to_owned(),
        Argument::List(vec!["NodeRestriction".to_owned(), "EventRateLimit".to_owned()]),
    );
    let command = command(&rendered(&cluster, 0), "kube-apiserver");
    assert_eq!(command[0], "kube-apiserver");
    assert!(command.contains(&"--anonymous-auth=false".to_owned()));
    assert!(command.contains(&"--enable-admission-plugins=NodeRestriction,EventRateLimit".to_owned()));
    let names: Vec<&str> = command[1..].iter().filter_map(|word| word.split('=').next()).collect();
    assert!(names.is_sorted());
    assert_eq!(names.len(), names.iter().collect::<std::collections::BTreeSet<_>>().len());
    cluster.settings.scheduler.arguments.insert("--profiling".to_owned(), Argument::Switch(false));
    let error = render(&cluster, 0).unwrap_err();
    assert!(
        error.to_string().contains("kube-scheduler") && error.to_string().contains("--profiling"),
        "{error}"
    );
}

#[test]
fn kubelet_settings_are_merged_over_the_shape() {
    let mut cluster = sample_cluster();
    let kubelet = &mut cluster.settings.kubelet;
    kubelet.configuration.insert("authentication".to_owned(), json!({"anonymous": {"enabled": true}}));
    kubelet.configuration.insert("readOnlyPort".to_owned(), json!(0));
    kubelet.control_plane.insert("maxPods".to_owned(), json!(50));
    let (control_plane, worker) = (rendered(&cluster, 0), rendered(&cluster, 2));
    let file = document(&control_plane, "/var/lib/kubelet/config.yaml");
    assert_eq!(file.pointer("/authentication/anonymous/enabled"), Some(&json!(true)));
    assert_eq!(file.pointer("/authentication/webhook/enabled"), Some(&json!(true)));
    assert_eq!((&file["readOnlyPort"], &file["maxPods"]), (&json!(0), &json!(50)));
    assert_eq!(
        file.pointer("/registerWithTaints/0/key"),
        Some(&json!("node-role.kubernetes.io/control-plane"))
    );
    let file = document(&worker, "/var/lib/kubelet/config.yaml");
    assert_eq!(file.get("maxPods"), None);
    assert_eq!(file.pointer("/registerWithTaints/0/value"), Some(&json!("batch")));
}

#[test]
fn the_key_is_only_in_the_secret_file() {
    let node = rendered(&sample_cluster(), 0);
    for file in &node.files {
        let secret = file.path == "/etc/kubernetes/encryption/config.yaml";
        assert_eq!(file.body.expose().contains(KEY), secret, "{}", file.path);
        assert_eq!(file.sensitivity == Sensitivity::Secret, secret, "{}", file.path);
    }
    assert!(!format!("{node:?}").contains(KEY));
}

#[test]
fn a_changed_configuration_changes_the_pod_that_reads_it() {
    let mut cluster = sample_cluster();
    let manifest = |cluster: &Cluster, pod: &str| {
        body(&rendered(cluster, 0), &format!("/etc/kubernetes/manifests/{pod}.yaml")).to_owned()
    };
    let before = (manifest(&cluster, "kube-apiserver"), manifest(&cluster, "etcd"));
    cluster.settings.admission.event_rate_qps = 7;
    let after = (manifest(&cluster, "kube-apiserver"), manifest(&cluster, "etcd"));
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
}

#[test]
fn a_limit_that_is_off_leaves_no_file_and_no_plug_in() {
    let mut cluster = sample_cluster();
    cluster.settings.admission.event_rate_qps = 0;
    let node = rendered(&cluster, 0);
    assert!(!node.files.iter().any(|file| file.path.ends_with("eventratelimit.yaml")));
    let plugins = Argument::List(vec!["NodeRestriction".to_owned(), "EventRateLimit".to_owned()]);
    cluster.settings.api_server.arguments.insert("enable-admission-plugins".to_owned(), plugins);
    let error = render(&cluster, 0).unwrap_err().to_string();
    assert!(error.contains("admission.eventRateQps"), "{error}");
}

#[test]
fn what_needs_a_quota_is_what_the_settings_name() {
    use kubezt_model::settings::LimitedResource::{LoadBalancers, NodePorts, Pods, SystemPriority};
    const FILE: &str = "/etc/kubernetes/admission/resourcequota.yaml";
    let mut cluster = sample_cluster();
    let pods = |document: &Value| document.pointer("/limitedResources/0").cloned().unwrap_or_default();
    for (limited, resource, names, scoped) in [
        (vec![Pods], "pods", json!(["count/pods"]), false),
        (vec![SystemPriority], "pods", Value::Null, true),
        (vec![SystemPriority, Pods], "pods", json!(["count/pods"]), true),
        (vec![NodePorts], "services", json!(["services.nodeports"]), false),
        (
            vec![LoadBalancers, NodePorts],
            "services",
            json!(["services.nodeports", "services.loadbalancers"]),
            false,
        ),
    ] {
        cluster.settings.admission.limited_resources = limited;
        let first = pods(&document(&rendered(&cluster, 0), FILE));
        assert_eq!(first["resource"], resource);
        assert_eq!(first["matchContains"], names);
        assert_eq!(first.get("matchScopes").is_some(), scoped);
    }
    cluster.settings.admission.limited_resources.clear();
    let node = rendered(&cluster, 0);
    assert!(node.absent.contains(&FILE.to_owned()));
    assert!(!document(&node, "/etc/kubernetes/admission/config.yaml").to_string().contains("ResourceQuota"));
    let sets = with(&cluster, |input| render_manifests(&templates(), input).unwrap());
    assert_eq!(sets[0].absent.len(), 2, "the system's quotas go with the limits: {:?}", sets[0].absent);
}

#[test]
fn namespaces_may_ask_for_as_much_as_is_enforced_or_more() {
    let mut cluster = sample_cluster();
    cluster.settings.admission.policies = vec!["pod-security-labels".to_owned()];
    for (level, taken) in [
        ("privileged", r#"["privileged", "baseline", "restricted"]"#),
        ("baseline", r#"["baseline", "restricted"]"#),
        ("restricted", r#"["restricted"]"#),
    ] {
        cluster.settings.pod_security.enforce = level.to_owned();
        let sets = with(&cluster, |input| render_manifests(&templates(), input).unwrap());
        let policies = &sets.iter().find(|set| set.name == "policies").unwrap().objects;
        let rule = policies[0].pointer("/spec/validations/0/expression").and_then(Value::as_str).unwrap();
        assert!(rule.starts_with(&format!("variables.level in {taken} ||")), "{level}: {rule}");
    }
}

#[test]
fn every_file_lies_in_a_folder_that_is_made() {
    // Folders every systemd host has.
    let hosts = ["/etc/systemd/system"];
    let mut cluster = sample_cluster();
    cluster.settings.audit.log_directory = "/var/log/a/b".to_owned();
    for position in 0..cluster.nodes.len() {
        let node = rendered(&cluster, position);
        let made: Vec<&str> = node.directories.iter().map(|directory| directory.path.as_str()).collect();
        let files = node.files.iter().map(|file| &file.path);
        let pairs = node.certificates.iter().flat_map(|pair| [&pair.certificate_path, &pair.key_path]);
        for path in files.chain(pairs).chain(node.bundles.iter().map(|bundle| &bundle.path)) {
            let folder = path.rsplit_once('/').unwrap().0;
            assert!(made.contains(&folder) || hosts.contains(&folder), "{path}");
        }
        let units: Vec<&str> =
            node.files.iter().filter_map(|file| file.path.strip_prefix("/etc/systemd/system/")).collect();
        assert!(node.units.iter().all(|unit| units.contains(&unit.as_str())));
    }
}

#[test]
fn consequences_name_what_exists() {
    let node = rendered(&sample_cluster(), 0);
    for file in &node.files {
        match &file.on_change {
            OnChange::Restart(unit) | OnChange::NoticedBy(unit) => {
                assert!(node.units.contains(unit), "{unit}")
            }
            OnChange::StaticPod(pod) => assert!(file.path.ends_with(&format!("/{pod}.yaml"))),
            OnChange::LoadSysctls => assert!(file.path.starts_with("/etc/sysctl.d/")),
            OnChange::ReadAtStart(pod) => {
                let manifest = OnChange::StaticPod(pod.clone());
                assert!(node.files.iter().any(|other| other.on_change == manifest), "{pod}");
            }
            OnChange::Nothing => {}
        }
    }
}

#[test]
fn nasty_names_stay_values() {
    let mut cluster = sample_cluster();
    let nasty = "x: \"y\"\n- z {{ 1 }}";
    cluster.nodes[1].taints.push(kubezt_model::cluster::Taint {
        key: "k".to_owned(),
        value: nasty.to_owned(),
        effect: "NoExecute".to_owned(),
    });
    let node = rendered(&cluster, 1);
    let file = document(&node, "/var/lib/kubelet/config.yaml");
    assert_eq!(file.pointer("/registerWithTaints/0/value"), Some(&json!(nasty)));
    cluster.settings.host.sysctls.insert("a".to_owned(), "1\nkernel.evil = 1".to_owned());
    let error = render(&cluster, 1).unwrap_err().to_string();
    assert!(error.contains("host/sysctl.conf.tera") && error.contains("one line"), "{error}");
}

#[test]
fn dual_stack_and_several_control_planes_render() {
    let mut cluster = sample_cluster();
    for (node, address) in cluster.nodes.iter_mut().zip(["fd00::11", "fd00::12", "fd00::13"]) {
        node.role = kubezt_model::cluster::Role::ControlPlane;
        node.addresses.insert(0, address.parse().unwrap());
    }
    cluster.networks.pods.push("fd01::/48".parse().unwrap());
    cluster.networks.services.push("fd02::/112".parse().unwrap());
    let node = rendered(&cluster, 0);
    let etcd = command(&node, "etcd");
    let peer = "--initial-advertise-peer-urls=https://[fd00::11]:2380".to_owned();
    assert!(etcd.contains(&peer), "{etcd:?}");
    // It is let into a cluster by kubezt and founds none by itself.
    assert!(etcd.contains(&"--initial-cluster-state=existing".to_owned()), "{etcd:?}");
    assert!(!etcd.iter().any(|word| word.starts_with("--initial-cluster=")), "{etcd:?}");
    let servers = document(&node, "/etc/kubezt/node.json");
    assert_eq!(servers.pointer("/servers/2"), Some(&json!("[fd00::13]:6443")));
}

#[test]
fn workers_reach_an_external_endpoint_and_the_control_plane_itself() {
    let mut cluster = sample_cluster();
    cluster.endpoint.external =
        vec!["198.51.100.7:443".parse().unwrap(), "[2001:db8::7]:443".parse().unwrap()];
    let servers =
        |node: usize| document(&rendered(&cluster, node), "/etc/kubezt/node.json")["servers"].clone();
    assert_eq!(servers(0), json!(["10.0.0.11:6443"]));
    assert_eq!(servers(1), json!(["198.51.100.7:443", "[2001:db8::7]:443"]));
    let node = rendered(&cluster, 0);
    fn leaf(certificate: &DesiredCertificate) -> Option<&LeafSpec> {
        match &certificate.kind {
            CertificateKind::Leaf(leaf) => Some(leaf),
            CertificateKind::Intermediate(_) => None,
        }
    }
    let is_external = |address: &IpAddr| cluster.endpoint.external.iter().any(|one| one.ip() == *address);
    let named = |leaf: &LeafSpec| leaf.ip_addresses.iter().filter(|address| is_external(address)).count();
    let leaves = node.certificates.iter().filter_map(leaf);
    let naming: Vec<(&str, usize)> =
        leaves.map(|leaf| (leaf.common_name.as_str(), named(leaf))).filter(|(_, named)| *named > 0).collect();
    assert_eq!(naming, [("kube-apiserver", 2)]);
}

#[test]
fn sets_come_in_order_with_rights_first() {
    let mut cluster = sample_cluster();
    let sets = with(&cluster, |input| render_manifests(&templates(), input).unwrap());
    let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(names, ["rbac", "namespaces", "network-policies", "coredns", "policies"]);
    cluster.settings.network.default_deny = false;
    cluster.settings.admission.policies.clear();
    let sets = with(&cluster, |input| render_manifests(&templates(), input).unwrap());
    let filled: Vec<&str> =
        sets.iter().filter(|set| !set.objects.is_empty()).map(|set| set.name.as_str()).collect();
    assert_eq!(filled, ["rbac", "namespaces", "coredns"]);
}

#[test]
fn what_is_switched_off_must_be_absent() {
    let mut cluster = sample_cluster();
    cluster.settings.host.auditd = false;
    cluster.settings.admission.event_rate_qps = 0;
    cluster.settings.admission.policies = vec!["no-secret-environment".to_owned()];
    let node = rendered(&cluster, 0);
    for path in ["/etc/audit/rules.d/kubezt.rules", "/etc/kubernetes/admission/eventratelimit.yaml"] {
        assert!(node.absent.contains(&path.to_owned()), "{path} may stay: {:?}", node.absent);
        assert!(!node.files.iter().any(|file| file.path == path));
    }
    let worker = rendered(&cluster, 1);
    assert!(!worker.absent.iter().any(|path| path.ends_with("eventratelimit.yaml")), "never was on a worker");
    let sets = with(&cluster, |input| render_manifests(&templates(), input).unwrap());
    let policies = sets.iter().find(|set| set.name == "policies").unwrap();
    let names = |objects: &[Value]| -> Vec<String> {
        objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&policies.objects), ["kubezt-no-secret-environment"; 2]);
    assert!(names(&policies.absent).contains(&"kubezt-no-privileged-host-ports".to_owned()));
    assert!(!names(&policies.absent).contains(&"kubezt-no-secret-environment".to_owned()));
    assert_eq!(
        policies.absent[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["apiVersion", "kind", "metadata"]
    );
}

#[test]
fn health_for_everybody_and_a_closed_door_exclude_each_other() {
    let mut cluster = sample_cluster();
    cluster.settings.authentication.anonymous_health = true;
    let node = rendered(&cluster, 0);
    let document = document(&node, "/etc/kubernetes/authentication/config.yaml");
    assert_eq!(document.pointer("/anonymous/conditions/2/path"), Some(&json!("/healthz")));
    cluster.settings.api_server.arguments.insert("anonymous-auth".to_owned(), Argument::Switch(false));
    let error = render(&cluster, 0).unwrap_err().to_string();
    assert!(error.contains("authentication.anonymousHealth"), "{error}");
}

#[test]
fn secrets_stay_readable_after_a_change_of_provider() {
    use kubezt_model::settings::EncryptionProvider::{Aescbc, Aesgcm, Identity, Secretbox};
    let mut cluster = sample_cluster();
    for provider in [Aescbc, Aesgcm, Secretbox, Identity] {
        cluster.settings.encryption.provider = provider;
        let node = rendered(&cluster, 0);
        let document = document(&node, "/etc/kubernetes/encryption/config.yaml");
        let providers = document["resources"][0]["providers"].as_array().unwrap();
        let names: Vec<&String> = providers.iter().flat_map(|one| one.as_object().unwrap().keys()).collect();
        assert_eq!(
            *names[0],
            serde_json::to_value(provider).unwrap().as_str().unwrap(),
            "the first one writes"
        );
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, ["aescbc", "aesgcm", "identity", "secretbox"]);
    }
}

#[test]
fn unknown_policies_and_plug_ins_are_named() {
    let mut cluster = sample_cluster();
    cluster.settings.admission.policies.push("no-such".to_owned());
    let error = with(&cluster, |input| render_manifests(&templates(), input).unwrap_err()).to_string();
    assert!(error.contains("no-such") && error.contains("no-privileged-host-ports"), "{error}");
    cluster.cni.name = "calico".to_owned();
    let error = with(&cluster, |input| chart_values(&templates(), input).unwrap_err()).to_string();
    assert!(error.contains("calico") && error.contains("cilium"), "{error}");
}

#[test]
fn chart_values_follow_settings_and_the_cluster_file_wins() {
    let mut cluster = sample_cluster();
    cluster.cni.values =
        serde_json::from_value(json!({"hubble": {"enabled": true}, "resources": null})).unwrap();
    let values = with(&cluster, |input| chart_values(&templates(), input).unwrap());
    assert_eq!(values["policyEnforcementMode"], "always");
    assert_eq!(values["k8sServicePort"], 7443);
    assert_eq!(values.pointer("/hubble/enabled"), Some(&json!(true)));
    assert_eq!(values.get("resources"), None);
}

#[test]
fn a_missing_image_is_an_error_that_names_the_template() {
    let cluster = sample_cluster();
    let images = BTreeMap::new();
    let secrets = Secrets { encryption_key: SecretText::new(KEY.to_owned()) };
    let input = Input { cluster: &cluster, images: &images, secrets: &secrets };
    let error = render_node(&templates(), &input, &cluster.nodes[0]).unwrap_err().to_string();
    assert!(
        error.contains("containerd/config.toml.tera: line 13: the value is undefined")
            && error.contains("etcd/etcd.yaml.tera"),
        "{error}"
    );
}

#[test]
fn certificates_say_who_is_who() {
    let node = rendered(&sample_cluster(), 0);
    let text = serde_json::to_value(&node.certificates).unwrap();
    let leaf = |path: &str| {
        let found = text.as_array().unwrap().iter().find(|pair| pair["certificatePath"] == path);
        found.unwrap_or_else(|| panic!("{path}"))["kind"]["leaf"].clone()
    };
    let api_server = leaf("/etc/kubernetes/pki/apiserver.crt");
    for name in ["api.sample.internal", "kubernetes.default.svc.cluster.local", "localhost", "cp1"] {
        assert!(api_server["dnsNames"].as_array().unwrap().contains(&json!(name)), "{name}");
    }
    for address in ["10.0.0.11", "10.96.0.1", "127.0.0.1", "192.0.2.10"] {
        assert!(api_server["ipAddresses"].as_array().unwrap().contains(&json!(address)), "{address}");
    }
    let kubelet = leaf("/var/lib/kubelet/pki/kubelet-client.crt");
    assert_eq!(
        (&kubelet["commonName"], &kubelet["organizations"]),
        (&json!("system:node:cp1"), &json!(["system:nodes"]))
    );
    assert!(!text.to_string().contains("system:masters"));
    assert!(node.bundles.iter().filter(|bundle| bundle.path.ends_with("ca.crt")).count() == 6);
}

/// The shipped templates with one of them changed.
fn broken(path: &str, change: impl Fn(&str) -> String) -> Vec<RenderError> {
    let files = shipped().into_iter().map(|(name, text)| {
        let text = if name == path { change(&text) } else { text };
        (name, text)
    });
    Templates::load(files).unwrap_err()
}

#[test]
fn mistakes_in_templates_are_all_shown_with_file_and_line() {
    let errors = broken("host/modules.conf.tera", |text| {
        text.replace("onChange: nothing", "onChange: nothing\nwho: me")
    });
    assert!(errors[0].to_string().contains("host/modules.conf.tera:6"), "{errors:?}");
    let errors = broken("host/modules.conf.tera", |text| text.replace("| line", "| shout"));
    let text = errors[0].to_string();
    assert!(
        text.contains("shout") && text.contains("host/modules.conf.tera") && text.contains(":10:"),
        "{text}"
    );
    let errors = broken("host/modules.conf.tera", |text| {
        text.replace("/etc/modules-load.d/kubezt.conf", "/etc/kubezt/node.json")
    });
    assert!(matches!(errors[..], [RenderError::SamePath { .. }]), "{errors:?}");
    let errors = broken("manifests/sets.yaml", |text| text.replace("- coredns\n", ""));
    assert!(errors[0].to_string().contains("coredns"), "{errors:?}");
    let files = shipped().into_iter().chain([
        ("stray.txt".to_owned(), String::new()),
        ("x/a.tera".to_owned(), "no header\n".to_owned()),
        ("x/b.tera".to_owned(), "---\nopen".to_owned()),
    ]);
    assert_eq!(Templates::load(files).unwrap_err().len(), 3);
}

#[test]
fn a_second_flag_in_a_template_is_refused() {
    let files = shipped().into_iter().map(|(name, text)| {
        let text =
            text.replace("    - kube-scheduler\n", "    - kube-scheduler\n    - --leader-elect=false\n");
        (name, text)
    });
    let templates = Templates::load(files).unwrap();
    let cluster = sample_cluster();
    let error = with(&cluster, |input| render_node(&templates, input, &cluster.nodes[0]).unwrap_err());
    assert!(
        matches!(&error, RenderError::Argument { argument, .. } if argument == "leader-elect"),
        "{error}"
    );
    let files = shipped().into_iter().map(|(name, text)| {
        let twice = if name == "etcd/arguments.yaml.tera" { format!("{text}name: b\n") } else { text };
        (name, twice)
    });
    let templates = Templates::load(files).unwrap();
    let error = with(&cluster, |input| render_node(&templates, input, &cluster.nodes[0]).unwrap_err());
    assert!(error.to_string().contains("duplicate"), "{error}");
}

#[test]
fn secrets_are_out_of_reach_of_public_files() {
    let files = shipped().into_iter().map(|(name, text)| {
        let leaking = if name == "kubelet/kubelet.conf.tera" {
            format!("{text}# {{{{ secrets.encryptionKey }}}}\n")
        } else {
            text
        };
        (name, leaking)
    });
    let templates = Templates::load(files).unwrap();
    let cluster = sample_cluster();
    let error = with(&cluster, |input| render_node(&templates, input, &cluster.nodes[1]).unwrap_err());
    assert!(error.to_string().contains("kubelet/kubelet.conf.tera"), "{error}");
}
