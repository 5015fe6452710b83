//! Evidence of a good cluster is green; breaking one thing turns exactly its requirement red; what is not known is
//! never green.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod access;
mod breaking;
mod editing;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use editing::{both, edit_arguments, edit_objects, edit_text, facts, tree_mode};
use kubezt_controls::report::{explain, json, table};
use kubezt_controls::{Evidence, Library, judge, reads};
use kubezt_model::desired::Cluster;
use kubezt_model::finding::{Finding, Method, Verdict};
use kubezt_model::node::{HostReading, Read, Reading};
use proptest::prelude::*;
use serde_json::json;
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
fn a_requirement_about_a_system_is_judged_on_nodes_that_run_it() {
    let (library, cluster, mut evidence) = setup("nsa");
    let verdicts = |evidence: &Evidence| {
        let found = judge(&library, &cluster, evidence).into_iter();
        let found = found.filter(|finding| finding.requirement == "node-audit-rules");
        found.map(|finding| (finding.node.map(|node| node.to_string()), finding.verdict)).collect::<Vec<_>>()
    };
    let worker = || Some("worker1".to_owned());
    assert_eq!(verdicts(&evidence), [(worker(), Verdict::Pass)]);
    let unit = Read::Unit { name: "audit-rules.service".to_owned() };
    let Some(Reading::Unit(found)) = facts(&mut evidence, "worker1").readings.get_mut(&unit) else {
        panic!()
    };
    found.enabled = "masked".to_owned();
    let [(node, Verdict::Fail { .. })] = &verdicts(&evidence)[..] else {
        panic!("{:?}", verdicts(&evidence))
    };
    assert_eq!(*node, worker());

    // A node that does not say what it runs is not excused.
    facts(&mut evidence, "cp1").readings.insert(Read::Host, Reading::Failed("no".to_owned()));
    assert_eq!(verdicts(&evidence).len(), 2);

    let mut moved = evidence.clone();
    for name in ["cp1", "worker1"] {
        let host =
            HostReading { os_id: "rhel".to_owned(), os_version: "9.6".to_owned(), ..HostReading::default() };
        facts(&mut moved, name).readings.insert(Read::Host, Reading::Host(Box::new(host)));
    }
    let [(None, Verdict::NotApplicable { .. })] = &verdicts(&moved)[..] else {
        panic!("{:?}", verdicts(&moved))
    };
    let text = explain(library.requirement("node-audit-rules").unwrap());
    assert!(text.contains("About nodes that run\n  Debian 13\n"), "{text}");
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
