//! Evidence of a good cluster is green; breaking one thing turns exactly its requirement red; what is not known is
//! never green.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use kubezt_controls::report::{explain, json, table};
use kubezt_controls::{Evidence, Library, ProbeResult, judge, reads};
use kubezt_model::Mode;
use kubezt_model::desired::Cluster;
use kubezt_model::finding::{Finding, Method, Verdict};
use kubezt_model::node::{Facts, Read, Reading};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{CLUSTER, green, library, node, resolved};

fn red(findings: &[Finding]) -> BTreeSet<&str> {
    findings
        .iter()
        .filter(|finding| finding.verdict.is_failure())
        .map(|finding| finding.requirement.as_str())
        .collect()
}

fn setup(profile: &str) -> (Library, Cluster, Evidence) {
    let library = library();
    let cluster = resolved(&library, CLUSTER, profile);
    let evidence = green(&library, &cluster);
    (library, cluster, evidence)
}

#[test]
fn a_good_cluster_is_green_under_every_profile() {
    let library = library();
    let names: Vec<String> = library.profiles().map(|profile| profile.name.clone()).collect();
    for profile in names {
        let cluster = resolved(&library, CLUSTER, &profile);
        let findings = judge(&library, &cluster, &green(&library, &cluster));
        let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
        assert!(red(&findings).is_empty(), "{profile}\n{text}");
        assert!(findings.len() >= library.requirements_of(&profile).len(), "{profile}");
    }
}

#[test]
fn secrets_never_reach_evidence() {
    let (library, cluster, mut evidence) = setup("stig");
    edit_text(&mut evidence, "cp1", "/etc/kubernetes/encryption/config.yaml", |document| {
        document["resources"][0]["providers"][0] = json!({"identity": "do-not-show"});
    });
    let findings = judge(&library, &cluster, &evidence);
    assert!(!format!("{findings:?}").contains("do-not-show"));
    assert_eq!(red(&findings), BTreeSet::from(["api-encryption-provider"]));
}

fn facts<'a>(evidence: &'a mut Evidence, name: &str) -> &'a mut Facts {
    evidence.facts.get_mut(&node(name)).unwrap()
}

fn edit_text(evidence: &mut Evidence, name: &str, path: &str, change: impl Fn(&mut Value)) {
    let read = Read::File { path: path.to_owned(), text: true };
    let Some(Reading::File(file)) = facts(evidence, name).readings.get_mut(&read) else {
        panic!("{path} was not read")
    };
    let mut document: Value = serde_json::from_str(file.text.as_ref().unwrap().expose()).unwrap();
    change(&mut document);
    file.text = Some(kubezt_model::SecretText::new(document.to_string()));
}

fn edit_arguments(evidence: &mut Evidence, name: &str, process: &str, from: &str, to: &str) {
    let read = Read::Process { name: process.to_owned() };
    let Some(Reading::Processes(processes)) = facts(evidence, name).readings.get_mut(&read) else {
        panic!("{process}")
    };
    replace(&mut processes[0].arguments, from, to);
}

fn replace(arguments: &mut Vec<String>, from: &str, to: &str) {
    match arguments.iter().position(|argument| argument == from) {
        Some(at) => arguments[at] = to.to_owned(),
        None if from.is_empty() => arguments.push(to.to_owned()),
        None => panic!("{from} is not among {arguments:?}"),
    }
    arguments.retain(|argument| !argument.is_empty());
}

fn edit_manifest(evidence: &mut Evidence, component: &str, from: &str, to: &str) {
    edit_text(evidence, "cp1", &format!("/etc/kubernetes/manifests/{component}.yaml"), |document| {
        let command = &mut document["spec"]["containers"][0]["command"];
        let mut arguments: Vec<String> = serde_json::from_value(command.clone()).unwrap();
        replace(&mut arguments, from, to);
        *command = json!(arguments);
    });
}

fn both(evidence: &mut Evidence, component: &str, from: &str, to: &str) {
    edit_arguments(evidence, "cp1", component, from, to);
    edit_manifest(evidence, component, from, to);
}

fn tree_mode(evidence: &mut Evidence, name: &str, tree: &str, file: &str, mode: u32) {
    let Some(Reading::Tree(files)) =
        facts(evidence, name).readings.get_mut(&Read::Tree { path: tree.to_owned() })
    else {
        panic!("{tree}")
    };
    files.iter_mut().find(|entry| entry.path == format!("{tree}{file}")).unwrap().mode = Mode::new(mode);
}

fn edit_objects(evidence: &mut Evidence, kind: &str, change: impl Fn(&mut Vec<Value>)) {
    for (read, list) in &mut evidence.objects {
        if read.kind == kind {
            change(list.as_mut().unwrap());
        }
    }
}

type Tamper = fn(&mut Evidence);

#[test]
fn breaking_one_thing_turns_exactly_its_requirement_red() {
    const CONFIG: &str = "/var/lib/kubelet/config.yaml";
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
                list[0]["spec"]["validationActions"] = json!(["Warn"])
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

fn pod(list: &mut [Value]) -> &mut Value {
    list.iter_mut().find(|pod| pod["metadata"]["namespace"] == "app").unwrap()
}

/// Gives somebody a role that allows one thing.
fn grant(evidence: &mut Evidence, group: &str, resource: &str, verb: &str) {
    edit_objects(evidence, "ClusterRole", |list| {
        list.push(json!({"metadata": {"name": "extra"},
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]}));
    });
    edit_objects(evidence, "ClusterRoleBinding", |list| {
        list.push(support::binding("extra", "extra", json!({"kind": "User", "name": "eve"})));
    });
}

#[test]
fn what_pods_and_people_may_do_is_judged_one_by_one() {
    let cases: &[(&str, &str, &[&str], Tamper)] = &[
        ("nsa", "privileged", &["pss-privileged"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["securityContext"]["privileged"] = json!(true)
            })
        }),
        ("nsa", "host processes", &["pss-host-ns"], |e| {
            edit_objects(e, "Pod", |l| pod(l)["spec"]["hostPID"] = json!(true))
        }),
        ("cis", "host network", &["pss-host-net"], |e| {
            edit_objects(e, "Pod", |l| pod(l)["spec"]["hostNetwork"] = json!(true))
        }),
        ("cis", "root", &["pss-nonroot"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0)
            })
        }),
        ("cis", "root in one of two containers", &["pss-nonroot"], |e| {
            edit_objects(e, "Pod", |l| {
                let mut second = pod(l)["spec"]["containers"][0].clone();
                second["securityContext"]["runAsNonRoot"] = json!(false);
                pod(l)["spec"]["initContainers"] = json!([second]);
            })
        }),
        ("cis", "a capability", &["pss-capabilities"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] =
                    json!(["NET_BIND_SERVICE", "NET_RAW"]);
            })
        }),
        ("nsa", "a host path", &["pss-hostpath"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["volumes"] =
                    json!([{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]);
            })
        }),
        ("nsa", "a host port", &["pss-host-ports"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["ports"] = json!([{"containerPort": 1}, {"hostPort": 8080}]);
            })
        }),
        ("cis", "no seccomp", &["pss-seccomp"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["securityContext"]["seccompProfile"]["type"] = json!("Unconfined")
            })
        }),
        ("cis", "a namespace that asks for less", &["pss-context"], |e| {
            edit_objects(e, "Namespace", |l| {
                l[1]["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "baseline"});
            })
        }),
        ("nsa", "a root file system that can be written", &["pod-readonly-root"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = json!(false);
            })
        }),
        ("nsa", "a group of root", &["pod-groups"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["securityContext"]["supplementalGroups"] = json!([5, 0])
            })
        }),
        ("nsa", "no limit", &["pod-limits"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}})
            })
        }),
        ("nsa", "no limit range", &["ns-limit-range"], |e| edit_objects(e, "LimitRange", Vec::clear)),
        ("nsa", "a quota for half", &["ns-quota"], |e| {
            edit_objects(e, "ResourceQuota", |l| l[0]["spec"]["hard"] = json!({"limits.cpu": "1"}))
        }),
        ("nsa", "a quota elsewhere", &["ns-quota"], |e| {
            edit_objects(e, "ResourceQuota", |l| l[0]["metadata"]["namespace"] = json!("other"))
        }),
        ("cis", "a token nobody asked for", &["sa-automount"], |e| {
            edit_objects(e, "Pod", |l| {
                let spec = &mut pod(l)["spec"];
                spec["serviceAccountName"] = json!("web");
                spec["automountServiceAccountToken"] = Value::Null;
                spec["volumes"] = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
            })
        }),
        ("cis", "a wildcard", &["rbac-wildcards"], |e| {
            edit_objects(e, "ClusterRole", |l| {
                l.push(json!({"metadata": {"name": "w"}, "rules": [{"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get"]}]}));
            })
        }),
        ("cis", "escalation", &["rbac-escalation"], |e| {
            grant(e, "rbac.authorization.k8s.io", "roles", "escalate")
        }),
        ("cis", "pods", &["rbac-pods"], |e| grant(e, "", "pods", "create")),
        ("nsa", "a command in a pod", &["rbac-exec"], |e| grant(e, "", "*/exec", "create")),
        ("cis", "volumes", &["rbac-pv"], |e| grant(e, "", "persistentvolumes", "create")),
        ("cis", "nodes", &["rbac-node-proxy"], |e| grant(e, "", "nodes/proxy", "get")),
        ("cis", "approval", &["rbac-csr"], |e| {
            grant(e, "certificates.k8s.io", "certificatesigningrequests/approval", "update")
        }),
        ("cis", "webhooks", &["rbac-webhooks"], |e| {
            grant(e, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "patch")
        }),
        ("cis", "tokens", &["rbac-token"], |e| grant(e, "", "serviceaccounts/token", "create")),
        ("nsa", "metadata of a cloud", &["net-metadata"], |e| {
            edit_objects(e, "NetworkPolicy", |l| {
                l.push(json!({"metadata": {"namespace": "app", "name": "out"},
                    "spec": {"egress": [{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]}}));
            })
        }),
        ("nsa", "another path without a credential", &["api-anonymous-health"], |e| {
            edit_text(e, "cp1", "/etc/kubernetes/authentication/config.yaml", |d| {
                d["anonymous"]["conditions"][2]["path"] = json!("/version");
            })
        }),
        ("nsa", "an unconfined profile", &["node-lsm"], |e| {
            edit_objects(e, "Pod", |l| {
                pod(l)["spec"]["securityContext"]["appArmorProfile"] = json!({"type": "Unconfined"});
            })
        }),
    ];
    let good: BTreeMap<&str, _> = ["cis", "nsa"].map(|profile| (profile, setup(profile))).into();
    for (profile, name, expected, tamper) in cases {
        let (library, cluster, evidence) = &good[profile];
        let mut evidence = evidence.clone();
        tamper(&mut evidence);
        let findings = judge(library, cluster, &evidence);
        let text = table::write(library, cluster, &findings, table::Detail::Findings);
        assert_eq!(red(&findings), expected.iter().copied().collect(), "{name}\n{text}");
        let fails = findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Fail { .. }));
        assert!(fails.count() >= expected.len(), "{name} should be a failure, not an error\n{text}");
    }
}

#[test]
fn a_rule_the_profile_excludes_is_never_passed() {
    let (library, cluster, evidence) = setup("stig-tiered");
    let findings = judge(&library, &cluster, &evidence);
    let document = json::document(&library, &cluster, &findings, jiff::Timestamp::UNIX_EPOCH);
    let rule = document.controls["stig"].iter().find(|rule| rule.id == "V-242403").unwrap();
    assert_eq!((rule.verdict.as_str(), rule.requirements.len()), ("excluded", 0));
    assert!(rule.reason.as_ref().unwrap().contains("plain text"), "{rule:?}");
    let deviation = &document.deviations[0];
    assert_eq!(deviation.rules["stig"], ["V-242403"]);
    assert_eq!(deviation.instead.as_deref(), Some("api-audit-content-tiered"));
    let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
    for wanted in [
        "excluded medium api-audit-content: ",
        "profile stig-tiered: With every body in the audit log",
        "not met: stig V-242403",
        "92 rules: 1 excluded",
        "compliant, but for 1 rule that the profile excludes\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    // Under the STIG profile as it is, nothing of this is said.
    let (library, cluster, evidence) = setup("stig");
    let findings = judge(&library, &cluster, &evidence);
    let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
    assert!(!text.contains("excluded") && text.ends_with("\ncompliant\n"), "{text}");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let (library, cluster, good) = setup("stig");
    let mut evidence = good.clone();
    for reading in facts(&mut evidence, "cp1").readings.values_mut() {
        *reading = Reading::Failed("permission denied".to_owned());
    }
    for list in evidence.objects.values_mut() {
        *list = Err("connection refused".to_owned());
    }
    evidence.probes.clear();
    evidence.server_version = None;
    let findings = judge(&library, &cluster, &evidence);
    for finding in &findings {
        let elsewhere = finding.node.as_ref().is_some_and(|name| name.as_str() == "worker1");
        let question = matches!(finding.verdict, Verdict::Manual { .. });
        assert!(elsewhere || question || matches!(finding.verdict, Verdict::Error { .. }), "{finding:?}");
    }
    // Text that is not what it should be cannot be judged either.
    let mut evidence = good;
    let read = Read::File { path: "/var/lib/kubelet/config.yaml".to_owned(), text: true };
    let Some(Reading::File(file)) = facts(&mut evidence, "cp1").readings.get_mut(&read) else { panic!() };
    file.text = Some(kubezt_model::SecretText::new("a: [".to_owned()));
    let findings = judge(&library, &cluster, &evidence);
    let broken = findings
        .iter()
        .find(|finding| finding.requirement == "kubelet-readonly" && finding.verdict.is_failure());
    assert!(
        matches!(&broken.unwrap().verdict, Verdict::Error { reason } if reason.contains("not well-formed")),
        "{broken:?}"
    );
}

#[test]
fn a_kubelet_that_reads_another_file_is_not_judged_by_this_one() {
    let (library, cluster, mut evidence) = setup("stig");
    edit_arguments(
        &mut evidence,
        "cp1",
        "kubelet",
        "--config=/var/lib/kubelet/config.yaml",
        "--config=/tmp/other.yaml",
    );
    let findings = judge(&library, &cluster, &evidence);
    let finding = findings.iter().find(|finding| finding.requirement == "kubelet-readonly").unwrap();
    assert!(
        matches!(&finding.verdict, Verdict::Error { reason } if reason.contains("/tmp/other.yaml")),
        "{finding:?}"
    );
}

fn with_waivers(waivers: &str) -> String {
    format!("{CLUSTER}  waivers:\n{waivers}")
}

#[test]
fn waivers_cover_failures_until_they_expire_and_errors_never() {
    let library = library();
    let text = with_waivers(
        "    - {requirement: api-anonymous, nodes: [cp1], reason: legacy, owner: ops, expires: 2026-11-24}
    - {requirement: kubelet-readonly, nodes: [cp1], reason: legacy, owner: ops, expires: 2027-01-01}
    - {requirement: api-profiling, reason: debugging, owner: ops, expires: 2026-11-23}
    - {requirement: dashboard, nodes: [cp1], reason: x, owner: ops, expires: 2027-01-01}\n",
    );
    let cluster = resolved(&library, &text, "stig");
    let mut evidence = green(&library, &cluster);
    both(&mut evidence, "kube-apiserver", "--anonymous-auth=false", "--anonymous-auth=true");
    both(&mut evidence, "kube-apiserver", "--profiling=false", "--profiling=true");
    for name in ["cp1", "worker1"] {
        edit_text(&mut evidence, name, "/var/lib/kubelet/config.yaml", |document| {
            document["readOnlyPort"] = json!(10255)
        });
    }
    edit_objects(&mut evidence, "Pod", |list| {
        list[2]["metadata"]["labels"]["k8s-app"] = json!("kubernetes-dashboard")
    });
    let findings = judge(&library, &cluster, &evidence);
    let verdict = |id: &str, name: Option<&str>| {
        let wanted = name.map(node);
        let found = findings.iter().find(|finding| {
            finding.requirement == id && finding.node == wanted && finding.method == Method::Check
        });
        found.unwrap().verdict.clone()
    };
    assert!(
        matches!(verdict("api-anonymous", Some("cp1")), Verdict::Accepted { owner, .. } if owner == "ops")
    );
    assert!(matches!(verdict("kubelet-readonly", Some("cp1")), Verdict::Accepted { .. }));
    assert!(matches!(verdict("kubelet-readonly", Some("worker1")), Verdict::Fail { .. }));
    assert!(
        matches!(verdict("api-profiling", Some("cp1")), Verdict::Fail { got, .. } if got.contains("expired on 2026-11-23"))
    );
    // A waiver for nodes says nothing about the cluster as a whole.
    assert!(matches!(verdict("dashboard", None), Verdict::Fail { .. }));
    evidence.facts.clear();
    let findings = judge(&library, &cluster, &evidence);
    assert!(!findings.iter().any(|finding| matches!(finding.verdict, Verdict::Accepted { .. })));
}

#[test]
fn rules_about_other_versions_need_the_servers_word() {
    let (library, cluster, mut evidence) = setup("stig");
    let verdict = |evidence: &Evidence| {
        judge(&library, &cluster, evidence)
            .into_iter()
            .find(|finding| finding.requirement == "api-psa-gate")
            .unwrap()
    };
    let finding = verdict(&evidence);
    assert!(matches!(finding.verdict, Verdict::NotApplicable { .. }), "{finding:?}");
    assert!(finding.evidence.iter().any(|line| line.contains("v1.36.3")));
    for version in [None, Some("v1.24.0".to_owned()), Some("new".to_owned())] {
        evidence.server_version = version;
        assert!(matches!(verdict(&evidence).verdict, Verdict::Error { .. }));
    }
}

#[test]
fn reports_say_what_was_found() {
    let (library, cluster, mut evidence) = setup("stig");
    both(&mut evidence, "kube-apiserver", "--anonymous-auth=false", "--anonymous-auth=true");
    let findings = judge(&library, &cluster, &evidence);
    let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
    assert!(text.starts_with("fail     high   api-anonymous"), "{text}");
    assert!(text.contains("92 rules") && text.ends_with("not compliant\n"), "{text}");
    let document = json::document(&library, &cluster, &findings, jiff::Timestamp::UNIX_EPOCH);
    assert!(!document.compliant);
    let rule = document.controls["stig"].iter().find(|rule| rule.id == "V-242390").unwrap();
    assert_eq!(rule.verdict, "fail");
    assert!(!document.controls["stig"].iter().any(|rule| rule.verdict == "not-reviewed"));
    serde_json::to_string(&document).unwrap();
    let text = explain::write(Some(&library), library.requirement("api-anonymous").unwrap());
    assert!(
        text.contains("stig V-242390: ") && text.contains("apiServer.arguments.anonymous-auth: false"),
        "{text}"
    );
}

#[test]
fn each_thing_is_read_once() {
    let (library, cluster, _) = setup("stig");
    for node in &cluster.nodes {
        let list = reads(&library, &cluster, node);
        assert_eq!(list.len(), list.iter().collect::<BTreeSet<_>>().len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Taking evidence away never makes anything greener.
    #[test]
    fn less_evidence_is_never_greener(seed in proptest::collection::vec(any::<bool>(), 400), broken in any::<bool>()) {
        let (library, cluster, mut evidence) = setup("stig");
        if broken {
            both(&mut evidence, "kube-apiserver", "--anonymous-auth=false", "--anonymous-auth=true");
            tree_mode(&mut evidence, "cp1", "/etc/kubernetes/pki", "/a.key", 0o644);
            edit_objects(&mut evidence, "Pod", |list| list[2]["metadata"]["labels"]["k8s-app"] = json!("kubernetes-dashboard"));
        }
        let before = judge(&library, &cluster, &evidence);
        let mut keep = seed.iter().copied().cycle();
        for facts in evidence.facts.values_mut() {
            facts.readings.retain(|_, _| keep.next().unwrap());
        }
        evidence.objects.retain(|_, _| keep.next().unwrap());
        evidence.probes.retain(|_| keep.next().unwrap());
        let after = judge(&library, &cluster, &evidence);
        for finding in &before {
            let same = |other: &&Finding| {
                other.requirement == finding.requirement && other.node == finding.node && other.method == finding.method
            };
            let Some(other) = after.iter().find(same) else {
                prop_assert!(false, "{} {:?} vanished", finding.requirement, finding.node);
                continue;
            };
            prop_assert!(other.verdict.badness() >= finding.verdict.badness() || matches!(other.verdict, Verdict::Error { .. }),
                "{}: {:?} became {:?}", finding.requirement, finding.verdict, other.verdict);
        }
    }
}
