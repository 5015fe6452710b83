//! One thing broken on a node or in the API.

use std::time::Duration;

use kubezt_controls::report::table;
use kubezt_controls::{Evidence, ProbeResult, judge};
use kubezt_model::finding::Verdict;
use kubezt_model::node::{LastRun, Read, Reading};
use kubezt_model::survey::SubjectReading;
use serde_json::json;

use crate::editing::{
    Tamper, both, edit_arguments, edit_manifest, edit_objects, edit_text, facts, firewall, tree_mode,
};
use crate::{red, setup, support};

/// What is seen of a leaf, spoiled.
fn leaf(evidence: &mut Evidence, node: &str, path: &str, spoil: impl Fn(&mut SubjectReading)) {
    let read = Read::Subjects { path: path.to_owned() };
    let Some(Reading::Subjects(seen)) = facts(evidence, node).readings.get_mut(&read) else {
        panic!("nobody looks at {read:?}")
    };
    spoil(&mut seen[0]);
}

fn renewal(evidence: &mut Evidence, ended: Option<LastRun>) {
    let read = Read::Unit { name: "kubezt-renew.service".to_owned() };
    let Some(Reading::Unit(unit)) = facts(evidence, "worker1").readings.get_mut(&read) else {
        panic!("nobody looks at {read:?}")
    };
    unit.last_run = ended;
}

#[test]
fn breaking_one_thing_turns_exactly_its_requirement_red() {
    const CONFIG: &str = "/var/lib/kubelet/config.yaml";
    const QUOTA: &str = "/etc/kubernetes/admission/resourcequota.yaml";
    let cases: &[(&str, &[&str], Tamper)] = &[
        ("argument changed", &["api-anonymous"], |e| {
            both(e, "kube-apiserver", "--anonymous-auth=false", "--anonymous-auth=true")
        }),
        ("argument without its value", &["api-anonymous"], |e| {
            both(e, "kube-apiserver", "--anonymous-auth=false", "--anonymous-auth")
        }),
        ("argument left out", &["etcd-auto-tls"], |e| both(e, "etcd", "--auto-tls=false", "")),
        ("manifest only", &["kcm-profiling"], |e| {
            edit_manifest(e, "kube-controller-manager", "--profiling=false", "--profiling=true")
        }),
        ("process only", &["sch-bind"], |e| {
            edit_arguments(e, "cp1", "kube-scheduler", "--bind-address=127.0.0.1", "--bind-address=0.0.0.0")
        }),
        ("both good but different", &["api-tls-min"], |e| {
            edit_manifest(
                e,
                "kube-apiserver",
                "--tls-min-version=VersionTLS12",
                "--tls-min-version=VersionTLS13",
            )
        }),
        ("argument added", &["api-static-token"], |e| {
            both(e, "kube-apiserver", "", "--token-auth-file=/tokens")
        }),
        ("argument given twice", &["api-timeout"], |e| both(e, "kube-apiserver", "", "--request-timeout=0s")),
        ("one suite missing", &["api-ciphers"], |e| {
            both(
                e,
                "kube-apiserver",
                "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            )
        }),
        ("retention too short", &["api-audit-maxage"], |e| {
            both(e, "kube-apiserver", "--audit-log-maxage=30", "--audit-log-maxage=29")
        }),
        ("gate", &["api-alpha"], |e| both(e, "kube-apiserver", "", "--feature-gates=X=true,AllAlpha=true")),
        ("gate on the command line", &["api-dynaudit", "kubelet-cli"], |e| {
            edit_arguments(e, "worker1", "kubelet", "", "--feature-gates=X=true")
        }),
        ("kubelet field", &["kubelet-anonymous"], |e| {
            edit_text(e, "worker1", CONFIG, |d| d["authentication"]["anonymous"]["enabled"] = json!(true))
        }),
        ("kubelet field missing", &["kubelet-streaming"], |e| {
            edit_text(e, "cp1", CONFIG, |d| {
                d.as_object_mut().unwrap().remove("streamingConnectionIdleTimeout");
            })
        }),
        ("kubelet timeout too short", &["kubelet-streaming"], |e| {
            edit_text(e, "cp1", CONFIG, |d| d["streamingConnectionIdleTimeout"] = json!("299s"))
        }),
        ("static pods on a worker", &["kubelet-static-pods"], |e| {
            edit_text(e, "worker1", CONFIG, |d| d["staticPodPath"] = json!("/x"))
        }),
        ("forbidden flag", &["kubelet-hostname", "kubelet-cli"], |e| {
            edit_arguments(e, "worker1", "kubelet", "", "--hostname-override=x")
        }),
        ("required flag missing", &["kubelet-authz-flag"], |e| {
            edit_arguments(e, "worker1", "kubelet", "--authorization-mode=Webhook", "")
        }),
        ("kernel parameter", &["kubelet-kernel"], |e| {
            facts(e, "worker1")
                .readings
                .insert(Read::Sysctl { key: "kernel.panic".to_owned() }, Reading::Text("0\n".to_owned()));
        }),
        ("firewall not loaded", &["node-firewall"], |e| firewall(e, |_| None)),
        ("a port of the firewall open", &["node-firewall"], |e| {
            firewall(e, |table| Some(table.replace("\t\ttcp dport 2380 drop\n", "")))
        }),
        ("a rule that lets in everybody", &["node-firewall"], |e| {
            firewall(e, |table| {
                Some(table.replace("\t\ttcp dport 2379 drop\n", "\t\taccept\n\t\ttcp dport 2379 drop\n"))
            })
        }),
        ("a stranger among the nodes", &["node-firewall"], |e| {
            firewall(e, |table| Some(table.replace("10.0.0.21", "10.0.0.21, 192.0.2.1")))
        }),
        ("pods at etcd", &["node-firewall"], |e| {
            firewall(e, |table| Some(table.replace("dport 10250 accept", "dport 2379 accept")))
        }),
        ("a table that is switched off", &["node-firewall"], |e| {
            firewall(e, |table| Some(table.replacen("\tset", "\tflags dormant\n\tset", 1)))
        }),
        ("a chain that looks elsewhere", &["node-firewall"], |e| {
            firewall(e, |table| Some(table.replace("hook input", "hook output")))
        }),
        ("renewal fails", &["pki-renewal"], |e| {
            renewal(e, Some(LastRun { succeeded: false, seconds_ago: 9 }))
        }),
        ("renewal is long ago", &["pki-renewal"], |e| {
            renewal(e, Some(LastRun { succeeded: true, seconds_ago: 301 }))
        }),
        ("renewal never ran", &["pki-renewal"], |e| renewal(e, None)),
        ("a leaf that lives a second too long", &["pki-renewal"], |e| {
            leaf(e, "cp1", "/etc/etcd/pki/peer.crt", |seen| seen.not_after += Duration::from_secs(1))
        }),
        ("a leaf that is as old as a year", &["pki-renewal"], |e| {
            let year = Duration::from_secs(365 * 86_400);
            leaf(e, "worker1", "/var/lib/kubelet/pki/kubelet.crt", |seen| seen.not_before -= year)
        }),
        ("a leaf that is gone", &["pki-renewal"], |e| {
            let read = Read::Subjects { path: "/etc/kubezt/pki/balancer.crt".to_owned() };
            assert!(facts(e, "worker1").readings.insert(read, Reading::Missing).is_some());
        }),
        ("key too open", &["pki-key-mode"], |e| tree_mode(e, "cp1", "/etc/kubernetes/pki", "/a.key", 0o640)),
        ("certificate writable", &["pki-crt-mode"], |e| {
            tree_mode(e, "cp1", "/etc/kubernetes/pki", "/a.crt", 0o664)
        }),
        ("data directory open", &["etcd-dir-mode"], |e| tree_mode(e, "cp1", "/var/lib/etcd", "/deep", 0o755)),
        ("audit rule with an exception", &["api-audit-content"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/audit/policy.yaml", |d| {
                d["rules"][0]["omitStages"] = json!(["RequestReceived"])
            })
        }),
        ("weaker pod security", &["api-psa", "pod-security-restricted"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/admission/podsecurity.yaml", |d| {
                d["defaults"]["enforce"] = json!("privileged")
            })
        }),
        ("more exemptions", &["api-psa"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/admission/podsecurity.yaml", |d| {
                d["exemptions"]["namespaces"] = json!(["kube-system", "app"])
            })
        }),
        ("namespace opened", &["api-psa"], |e| {
            edit_objects(e, "Namespace", |list| {
                list[1]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged")
            })
        }),
        ("another provider", &["api-encryption-provider"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/encryption/config.yaml", |d| {
                d["resources"][0]["providers"] = json!([{"identity": {}}])
            })
        }),
        ("capabilities", &["control-plane-privileges"], |e| {
            let Some(Reading::Processes(list)) =
                facts(e, "cp1").readings.get_mut(&Read::Process { name: "kube-apiserver".to_owned() })
            else {
                panic!()
            };
            list[0].capabilities = "0000000000000400".to_owned();
        }),
        ("sshd running", &["node-sshd"], |e| {
            let Some(Reading::Unit(unit)) =
                facts(e, "worker1").readings.get_mut(&Read::Unit { name: "ssh.service".to_owned() })
            else {
                panic!()
            };
            unit.active = "active".to_owned();
        }),
        ("old kubectl", &["node-kubectl"], |e| {
            for (read, reading) in &mut facts(e, "cp1").readings {
                if matches!(read, Read::Version { .. }) {
                    *reading = Reading::Text("v1.12.8".to_owned());
                }
            }
        }),
        ("pod in default", &["ns-default-empty"], |e| {
            edit_objects(e, "Pod", |list| {
                list.push(support::pod("default", "x-abc-1", ("ReplicaSet", "x-abc"), "example.org/x:1"))
            })
        }),
        ("stray pod in kube-system", &["ns-system-clean"], |e| {
            edit_objects(e, "Pod", |list| {
                list.push(support::pod("kube-system", "miner-1", ("DaemonSet", "miner"), "example.org/x:1"))
            })
        }),
        ("dashboard", &["dashboard"], |e| {
            edit_objects(e, "Pod", |list| {
                list[2]["metadata"]["labels"]["k8s-app"] = json!("kubernetes-dashboard")
            })
        }),
        ("low host port", &["hostports-privileged"], |e| {
            edit_objects(e, "Pod", |list| {
                list[2]["spec"]["containers"][0]["ports"] = json!([{"hostPort": 8080}, {"hostPort": 80}])
            })
        }),
        ("secret in environment", &["env-secrets"], |e| {
            edit_objects(e, "Pod", |list| {
                list[2]["spec"]["initContainers"] = json!([{"name": "i", "image": "example.org/i:1", "envFrom": [{"secretRef": {"name": "s"}}]}])
            })
        }),
        ("two versions", &["image-versions"], |e| {
            edit_objects(e, "Pod", |list| {
                list.push(support::pod("app", "web-abc-x2", ("ReplicaSet", "web-abc"), "example.org/web:2"))
            })
        }),
        ("secret reader", &["secret-access"], |e| {
            edit_objects(e, "ClusterRoleBinding", |list| {
                list.push(support::binding("b", "reader", json!({"kind": "User", "name": "eve"})))
            })
        }),
        ("secret readers everywhere", &["secret-access"], |e| {
            edit_objects(e, "ClusterRoleBinding", |list| {
                list.push(support::binding(
                    "b",
                    "reader",
                    json!({"kind": "Group", "name": "system:authenticated"}),
                ))
            })
        }),
        ("anonymous binding", &["rbac-anonymous"], |e| {
            edit_objects(e, "ClusterRoleBinding", |list| {
                list.push(support::binding("b", "view", json!({"kind": "User", "name": "system:anonymous"})))
            })
        }),
        ("cluster-admin", &["rbac-cluster-admin", "secret-access"], |e| {
            edit_objects(e, "ClusterRoleBinding", |list| {
                list.push(support::binding("b", "cluster-admin", json!({"kind": "User", "name": "eve"})))
            })
        }),
        ("kubelet too old", &["versions-supported"], |e| {
            edit_objects(e, "Node", |list| list[1]["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.32.0"))
        }),
        ("untainted control plane", &["node-cp-access"], |e| {
            edit_objects(e, "Node", |list| list[0]["spec"]["taints"] = json!([]))
        }),
        ("pods without a quota", &["ns-quota-first"], |e| {
            edit_text(e, "cp1", QUOTA, |d| d["limitedResources"][0]["matchContains"] = json!(["pods"]))
        }),
        ("node ports without a quota", &["ns-exposure-quota"], |e| {
            edit_text(e, "cp1", QUOTA, |d| {
                d["limitedResources"][1]["matchContains"] = json!(["services.loadbalancers"])
            })
        }),
        ("classes of the system for everybody", &["ns-system-priority"], |e| {
            edit_text(e, "cp1", QUOTA, |d| {
                d["limitedResources"][0]["matchScopes"][0]["values"] = json!(["system-node-critical"])
            })
        }),
        ("quotas without their file", &["ns-exposure-quota", "ns-quota-first", "ns-system-priority"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/admission/config.yaml", |d| {
                d["plugins"][2]["path"] = json!("x")
            })
        }),
        ("no quota for the system", &["ns-quota-first"], |e| {
            edit_objects(e, "ResourceQuota", |list| {
                list.retain(|quota| quota["metadata"]["name"] != "kubezt-system")
            })
        }),
        ("no quota for the system's classes", &["ns-system-priority"], |e| {
            edit_objects(e, "ResourceQuota", |list| list[2]["spec"]["scopeSelector"] = json!({}))
        }),
        ("labels of namespaces only audited", &["ns-security-labels"], |e| {
            edit_objects(e, "ValidatingAdmissionPolicyBinding", |list| {
                let labels =
                    list.iter_mut().find(|one| one["metadata"]["name"] == "kubezt-pod-security-labels");
                labels.unwrap()["spec"]["validationActions"] = json!(["Audit"]);
            })
        }),
        ("default deny deleted", &["ns-network-defaults"], |e| {
            edit_objects(e, "CiliumClusterwideNetworkPolicy", |list| drop(list.remove(0)))
        }),
        ("default deny that lets the outside in", &["ns-network-defaults"], |e| {
            edit_objects(e, "CiliumClusterwideNetworkPolicy", |list| {
                list[0]["spec"]["ingress"] = json!([{"fromEntities": ["world"]}])
            })
        }),
        ("names for some only", &["ns-network-defaults"], |e| {
            edit_objects(e, "CiliumClusterwideNetworkPolicy", |list| {
                list[1]["spec"]["endpointSelector"] = json!({"matchLabels": {"app": "a"}})
            })
        }),
        ("name servers that nobody may ask", &["ns-network-defaults"], |e| {
            edit_objects(e, "CiliumClusterwideNetworkPolicy", |list| list.truncate(2))
        }),
        ("no policy enforcement", &["net-policies"], |e| {
            edit_objects(e, "ConfigMap", |list| list[0]["data"]["enable-policy"] = json!("default"))
        }),
        ("policy taken away", &["env-secrets"], |e| {
            edit_objects(e, "ValidatingAdmissionPolicyBinding", |list| {
                list.retain(|object| object["metadata"]["name"] != "kubezt-no-secret-environment")
            })
        }),
        ("policy only warns", &["hostports-privileged"], |e| {
            edit_objects(e, "ValidatingAdmissionPolicyBinding", |list| {
                let ports =
                    list.iter_mut().find(|one| one["metadata"]["name"] == "kubezt-no-privileged-host-ports");
                ports.unwrap()["spec"]["validationActions"] = json!(["Warn"]);
            })
        }),
        ("another namespace's setting", &["net-policies"], |e| {
            edit_objects(e, "ConfigMap", |list| list[0]["metadata"]["namespace"] = json!("app"))
        }),
        ("probe", &["net-dns"], |e| {
            e.probes.iter_mut().find(|outcome| outcome.requirement == "net-dns").unwrap().result =
                ProbeResult::Broken { wanted: "an answer".to_owned(), got: "SERVFAIL".to_owned() }
        }),
    ];
    let (library, cluster, good) = setup("stig");
    for (name, expected, tamper) in cases {
        let mut evidence = good.clone();
        tamper(&mut evidence);
        let findings = judge(&library, &cluster, &evidence);
        let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
        assert_eq!(red(&findings), expected.iter().copied().collect(), "{name}\n{text}");
        let fails = findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Fail { .. }));
        assert!(fails.count() >= expected.len(), "{name} should be a failure, not an error\n{text}");
    }
}
