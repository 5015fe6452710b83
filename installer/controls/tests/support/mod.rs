//! The shipped profiles, a small cluster, and evidence of that cluster as it should be.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use kubezt_controls::{
    ApiRead, Evidence, Library, Probe, ProbeOutcome, ProbeResult, api_reads, reads, resolve,
};
use kubezt_model::cluster::{self, Role};
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::node::{
    Facts, FileKind, FileReading, HostReading, LastRun, ProcessReading, Read, Reading, UnitReading,
};
use kubezt_model::settings::Argument;
use kubezt_model::survey::SubjectReading;
use kubezt_model::{Digest, Lifetime, Mode, NodeName, Owner, SecretText};
use serde_json::{Value, json};

pub const CLUSTER: &str = "
apiVersion: kubezt.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  nodes:
    - {name: cp1, role: control-plane, addresses: [10.0.0.11]}
    - {name: worker1, role: worker, addresses: [10.0.0.21]}
";

/// Every file below `profiles/`.
pub fn profile_files() -> Vec<(String, String)> {
    let files = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles"));
    files.into_iter().map(|(path, text)| (format!("profiles/{path}"), text)).collect()
}

/// Every file below a folder, by its path there.
pub fn files_below(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, fs_err::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

pub fn library() -> Library {
    Library::load(profile_files()).unwrap_or_else(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

pub fn resolved(library: &Library, text: &str, profile: &str) -> Cluster {
    let file = cluster::parse("cluster.yaml", text).unwrap();
    resolve(library, &file, text, "cluster.yaml", Some(profile)).unwrap_or_else(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// Evidence of a cluster that is exactly as its settings say.
pub fn green(library: &Library, cluster: &Cluster) -> Evidence {
    let facts =
        cluster.nodes.iter().map(|node| (node.name.clone(), node_facts(library, cluster, node))).collect();
    let objects = api_reads(library, cluster)
        .into_iter()
        .map(|read| (read.clone(), Ok(objects(cluster, &read))))
        .collect();
    let probed = |probe: &Option<Probe>| probe.is_some();
    Evidence {
        facts,
        objects,
        probes: library
            .selected(cluster)
            .into_iter()
            .filter(|requirement| probed(&requirement.probe))
            .map(|requirement| ProbeOutcome {
                requirement: requirement.id.clone(),
                node: None,
                result: ProbeResult::Held { evidence: vec!["as wanted".to_owned()] },
            })
            .collect(),
        today: "2026-11-24".parse().unwrap(),
        server_version: Some(format!("v{}", cluster.kubernetes_version)),
    }
}

/// What nft prints of the firewall of a node.
fn table(cluster: &Cluster, control_plane: bool) -> String {
    let nodes: Vec<String> =
        cluster.nodes.iter().flat_map(|node| &node.addresses).map(ToString::to_string).collect();
    let etcd = if control_plane { "\t\ttcp dport 2379 drop\n\t\ttcp dport 2380 drop\n" } else { "" };
    format!(
        "table inet kubezt {{\n\tset nodes4 {{\n\t\ttype ipv4_addr\n\t\telements = {{ {} }}\n\t}}\n\n\tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\t\tiifname \"lo\" accept\n\
         \t\tct state established,related accept\n\t\tip saddr @nodes4 accept\n\
         \t\tip saddr {} tcp dport 10250 accept\n{etcd}\t\ttcp dport 10250 drop\n\t\ttcp dport 7444 drop\n\t\ttcp dport 4240 drop\n\
         \t\tudp dport 8472 drop\n\t\tudp dport 51871 drop\n\t}}\n}}\n",
        nodes.join(", "),
        cluster.networks.pods[0]
    )
}

fn node_facts(library: &Library, cluster: &Cluster, node: &Node) -> Facts {
    let readings = reads(library, cluster, node)
        .into_iter()
        .map(|read| (read.clone(), reading(cluster, node, &read)))
        .collect();
    Facts { node: node.name.clone(), at: 0, readings }
}

fn reading(cluster: &Cluster, node: &Node, read: &Read) -> Reading {
    match read {
        Read::Process { name } => Reading::Processes(vec![ProcessReading {
            pid: 1,
            arguments: [name.clone()].into_iter().chain(arguments(cluster, name)).collect(),
            uid: if name == "etcd" { cluster.settings.etcd.uid } else { 0 },
            started: 1,
            capabilities: "0000000000000000".to_owned(),
            seccomp: 2,
        }]),
        Read::File { path, text } => file_reading(cluster, node, path, *text),
        Read::Tree { path } => Reading::Tree(tree(path)),
        Read::Unit { name } => Reading::Unit(UnitReading {
            active: if name.starts_with("ssh") { "inactive" } else { "active" }.to_owned(),
            enabled: if name.starts_with("ssh") { "disabled" } else { "enabled" }.to_owned(),
            started: 0,
            needs_reload: false,
            last_run: Some(LastRun { succeeded: true, seconds_ago: 20 }),
        }),
        Read::Sysctl { key } => Reading::Text(cluster.settings.host.sysctls[key].clone()),
        Read::Firewall => Reading::Text(table(cluster, node.role == Role::ControlPlane)),
        Read::Version { program, .. } => Reading::Text(match program.rsplit('/').next().unwrap() {
            "containerd" => "containerd github.com/containerd/containerd/v2 v2.3.4 abcdef".to_owned(),
            "runc" => "runc version 1.4.3\ncommit: v1.4.3-0-gabcdef\nspec: 1.3.0".to_owned(),
            _ => format!("{{\"gitVersion\": \"v{}\"}}", cluster.kubernetes_version),
        }),
        Read::Subjects { path } => {
            let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
            Reading::Subjects(vec![SubjectReading {
                common_name: path.clone(),
                organizations: Vec::new(),
                fingerprint: Digest::of(path.as_bytes()),
                not_before: now - Lifetime::BACKDATE,
                not_after: now + cluster.settings.pki.leaf_lifetime.duration(),
            }])
        }
        // Workers run another system than the control plane.
        Read::Host => Reading::Host(Box::new(HostReading {
            os_id: "debian".to_owned(),
            os_version: if node.role == Role::ControlPlane { "12" } else { "13" }.to_owned(),
            ..HostReading::default()
        })),
        other => panic!("no reading for {other:?}"),
    }
}

/// Arguments from settings, and the ones that follow from the cluster's shape.
pub fn arguments(cluster: &Cluster, component: &str) -> Vec<String> {
    let settings = &cluster.settings;
    let mut arguments: BTreeMap<String, Argument> = match component {
        "kube-apiserver" => settings.api_server.arguments.clone(),
        "kube-controller-manager" => settings.controller_manager.arguments.clone(),
        "kube-scheduler" => settings.scheduler.arguments.clone(),
        "etcd" => settings.etcd.arguments.clone(),
        _ => settings.kubelet.arguments.clone(),
    };
    let mut add = |name: &str, value: &str| {
        arguments.entry(name.to_owned()).or_insert_with(|| Argument::Text(value.to_owned()));
    };
    match component {
        "kube-apiserver" => {
            add("secure-port", "6443");
            add("audit-log-path", &format!("{}/audit.log", settings.audit.log_directory));
        }
        "kubelet" => add("config", "/var/lib/kubelet/config.yaml"),
        "etcd" => {
            add("listen-client-urls", "https://10.0.0.11:2379,https://127.0.0.1:2379");
            add("listen-peer-urls", "https://10.0.0.11:2380");
        }
        _ => {}
    }
    arguments.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn file_reading(cluster: &Cluster, node: &Node, path: &str, text: bool) -> Reading {
    let gone = path.ends_with("admin.conf") || path.ends_with("kube-proxy.conf");
    if gone {
        return Reading::Missing;
    }
    let mode = if path.ends_with(".crt") { 0o644 } else { 0o600 };
    let journal = path == "/var/log/journal";
    let directory = journal || path == cluster.settings.audit.log_directory;
    let mode = if journal {
        0o2755
    } else if directory {
        0o700
    } else {
        mode
    };
    Reading::File(FileReading {
        path: path.to_owned(),
        kind: if directory { FileKind::Directory } else { FileKind::File },
        mode: Mode::new(mode),
        owner: Owner::root(),
        size: 1,
        digest: None,
        text: text.then(|| SecretText::new(content(cluster, node, path))),
        changed: 0,
    })
}

pub fn content(cluster: &Cluster, node: &Node, path: &str) -> String {
    let settings = &cluster.settings;
    let name = path.rsplit('/').next().unwrap();
    let value = match name {
        "config.yaml" if path.starts_with("/var/lib/kubelet") => {
            let mut configuration = settings.kubelet.configuration.clone();
            if node.role == Role::ControlPlane {
                configuration.extend(settings.kubelet.control_plane.clone());
            }
            configuration.insert("kind".to_owned(), json!("KubeletConfiguration"));
            Value::Object(configuration)
        }
        "config.yaml" if path.contains("encryption") => json!({
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": settings.encryption.resources, "providers": [
                {settings_word(&settings.encryption.provider): {"keys": [{"name": "k", "secret": "do-not-show"}]}},
                {"identity": {}}
            ]}]
        }),
        "config.yaml" if path.contains("authentication") => json!({
            "kind": "AuthenticationConfiguration",
            "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}]}
        }),
        "config.yaml" => json!({
            "kind": "AdmissionConfiguration",
            "plugins": [
                {"name": "PodSecurity", "path": "/etc/kubernetes/admission/podsecurity.yaml"},
                {"name": "EventRateLimit", "path": "/etc/kubernetes/admission/eventratelimit.yaml"},
                {"name": "ResourceQuota", "path": "/etc/kubernetes/admission/resourcequota.yaml"}
            ]
        }),
        "podsecurity.yaml" => json!({
            "kind": "PodSecurityConfiguration",
            "defaults": {"enforce": settings.pod_security.enforce},
            "exemptions": {"namespaces": settings.pod_security.exempt_namespaces, "usernames": [], "runtimeClasses": []}
        }),
        "eventratelimit.yaml" => json!({
            "limits": [{"type": "Server", "qps": settings.admission.event_rate_qps, "burst": settings.admission.event_rate_burst}]
        }),
        "resourcequota.yaml" => json!({
            "kind": "ResourceQuotaConfiguration",
            "limitedResources": [
                {"resource": "pods", "matchContains": ["count/pods"], "matchScopes": [
                    {"scopeName": "PriorityClass", "values": ["system-cluster-critical", "system-node-critical"]}]},
                {"resource": "services", "matchContains": ["services.nodeports", "services.loadbalancers"]}
            ]
        }),
        "policy.yaml" => match settings_word(&settings.audit.policy).as_str() {
            "everything" => {
                json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]})
            }
            _ => json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
                {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "configmaps"]}]},
                {"level": "RequestResponse", "verbs": ["create"]},
                {"level": "Metadata"}
            ]}),
        },
        manifest => {
            let component = manifest.trim_end_matches(".yaml");
            let command: Vec<String> =
                [component.to_owned()].into_iter().chain(arguments(cluster, component)).collect();
            json!({"kind": "Pod", "spec": {"containers": [{"name": component, "command": command}]}})
        }
    };
    value.to_string()
}

fn settings_word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

fn tree(path: &str) -> Vec<FileReading> {
    let etcd = path.contains("etcd");
    let owner = if etcd { "etcd:etcd".parse().unwrap() } else { Owner::root() };
    let item = |name: &str, kind: FileKind, mode: u32| FileReading {
        path: format!("{path}{name}"),
        kind,
        mode: Mode::new(mode),
        owner: owner.clone(),
        size: 1,
        digest: None,
        text: None,
        changed: 0,
    };
    vec![
        item("", FileKind::Directory, 0o700),
        item("/a.crt", FileKind::File, if path.contains("/pki") { 0o644 } else { 0o600 }),
        item("/a.key", FileKind::File, 0o600),
        item("/deep", FileKind::Directory, 0o700),
    ]
}

fn objects(cluster: &Cluster, read: &ApiRead) -> Vec<Value> {
    match read.kind.as_str() {
        "Service" => vec![json!({"metadata": {"namespace": "default", "name": "kubernetes"}})],
        "Namespace" => vec![
            json!({"metadata": {"name": "kube-system", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
            json!({"metadata": {"name": "app", "labels": {}}}),
        ],
        "Pod" => vec![
            pod("kube-system", "etcd-cp1", ("Node", "cp1"), "registry.k8s.io/etcd:3.6.14-0"),
            pod("kube-system", "coredns-abc-x1", ("ReplicaSet", "coredns-abc"), "registry.k8s.io/coredns/coredns:v1.14.7"),
            pod("app", "web-abc-x1", ("ReplicaSet", "web-abc"), "example.org/web:1"),
        ],
        "Deployment" => vec![json!({"metadata": {"namespace": "kube-system", "name": "coredns"}, "status": {"readyReplicas": 2},
            "spec": {"template": {"spec": {"containers": [{"name": "coredns", "image": "i"}]}}}})],
        "ValidatingAdmissionPolicyBinding" => {
            cluster.settings.admission.policies.iter()
                .map(|name| {
                    json!({"metadata": {"name": format!("kubezt-{name}")}, "spec": {"validationActions": ["Deny", "Audit"]}})
                })
                .collect()
        }
        "LimitRange" => vec![json!({"metadata": {"namespace": "app", "name": "bounds"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "max": {"cpu": "2", "memory": "2Gi"}}]}})],
        "ResourceQuota" => vec![
            json!({"metadata": {"namespace": "app", "name": "bounds"}, "spec": {"hard": {
                "requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "2Gi"}}}),
            json!({"metadata": {"namespace": "kube-system", "name": "kubezt-system"}, "spec": {"hard": {"count/pods": "1M"}}}),
            json!({"metadata": {"namespace": "kube-system", "name": "kubezt-system-priority"}, "spec": {"scopeSelector": {
                "matchExpressions": [{"scopeName": "PriorityClass", "values": ["system-cluster-critical", "system-node-critical"]}]}}}),
        ],
        "CiliumClusterwideNetworkPolicy" => {
            let dns = json!({"k8s:k8s-app": "kube-dns"});
            vec![
                json!({"metadata": {"name": "kubezt-default-deny"}, "spec": {"endpointSelector": {}, "ingress": [{}], "egress": [{}]}}),
                json!({"metadata": {"name": "kubezt-dns"}, "spec": {"endpointSelector": {},
                    "egress": [{"toEndpoints": [{"matchLabels": dns}]}]}}),
                json!({"metadata": {"name": "kubezt-coredns"}, "spec": {"endpointSelector": {"matchLabels": dns}}}),
            ]
        }
        "ConfigMap" => vec![json!({"metadata": {"namespace": "kube-system", "name": "cilium-config"}, "data": {"enable-policy": "always"}})],
        "Node" => cluster.nodes.iter().map(|node| {
            let labels = match node.role {
                Role::ControlPlane => json!({"node-role.kubernetes.io/control-plane": ""}),
                Role::Worker => json!({}),
            };
            json!({"metadata": {"name": node.name, "labels": labels},
                "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
                "status": {"nodeInfo": {"kubeletVersion": format!("v{}", cluster.kubernetes_version)}}})
        }).collect(),
        "ClusterRole" => vec![
            json!({"metadata": {"name": "cluster-admin"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
            json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
        ],
        "ClusterRoleBinding" => vec![
            binding("cluster-admin", "cluster-admin", json!({"kind": "Group", "name": "system:masters"})),
            binding("kubezt:cluster-admins", "cluster-admin", json!({"kind": "Group", "name": "kubezt:cluster-admins"})),
            binding("system:public-info-viewer", "system:public-info-viewer", json!({"kind": "Group", "name": "system:unauthenticated"})),
        ],
        _ => Vec::new(),
    }
}

pub fn pod(namespace: &str, name: &str, owner: (&str, &str), image: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "labels": {"pod-template-hash": "abc"},
        "ownerReferences": [{"controller": true, "kind": owner.0, "name": owner.1}]},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "main", "image": image,
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]
        }, "status": {"phase": "Running"}})
}

pub fn binding(name: &str, role: &str, subject: Value) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [subject]})
}

pub fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}
