//! What pods are and what people may do.

use std::collections::BTreeMap;

use kubezt_controls::report::table;
use kubezt_controls::{Evidence, judge};
use kubezt_model::finding::Verdict;
use serde_json::{Value, json};

use crate::editing::{Tamper, edit_objects, edit_text};
use crate::{red, setup, support};

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
