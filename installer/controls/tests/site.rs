//! Profiles of the site: what they may say, how mistakes are told, and what verify says of their deviations.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;

use kubezt_controls::compare::compare;
use kubezt_controls::report::{comparison, json, profile, table};
use kubezt_controls::{Library, judge, resolve};
use kubezt_model::cluster;
use kubezt_model::desired::Cluster;
use kubezt_model::finding::Verdict;
use kubezt_model::node::{Read, Reading};
use kubezt_model::settings::Argument;
use support::{CLUSTER, green, library, node};

const GOOD: &str = "\
name: acme
title: What Acme runs
extends: stig
requirements: [rbac-wildcards]
exclude:
  - id: ppsm
    reason: Acme has no PPSM registry.
loosen:
  - requirement: api-audit-maxage
    settings: {apiServer.arguments.audit-log-maxage: 7}
    reason: Logs are shipped within the hour.
  - requirement: api-eventratelimit
    settings: {admission.eventRateQps: 500, admission.eventRateBurst: 1000}
    reason: The batch system floods.
settings:
  apiServer.arguments.request-timeout: 60s
  kubelet.configuration.podPidsLimit: 1024
  files.kubeletMode: \"0400\"
  apiServer.arguments.enable-admission-plugins+: [ExtendedResourceToleration]
  pki.leafLifetime: 24h
";

/// Adds the profile `site.yaml` of these files.
fn added(files: &[(&str, &str)]) -> Result<(Library, String), Vec<String>> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let mut library = library();
    let read = |path: &str| {
        files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| format!("no file `{path}`"))
    };
    match library.add_site_profile("./site.yaml", "cluster.yaml:6", read) {
        Ok(name) => Ok((library, name)),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
    match added(files) {
        Ok((_, name)) => panic!("{name} was taken"),
        Err(errors) => errors,
    }
}

fn resolved(library: &Library, name: &str) -> Cluster {
    let file = cluster::parse("cluster.yaml", CLUSTER).unwrap();
    resolve(library, &file, CLUSTER, "cluster.yaml", Some(name)).unwrap()
}

#[test]
fn a_site_adds_tightens_loosens_and_excludes() {
    let (library, name) = added(&[("site.yaml", GOOD)]).unwrap();
    assert_eq!(name, "acme");
    let settings = resolved(&library, &name).settings;
    assert_eq!(settings.api_server.arguments["audit-log-maxage"], Argument::Number(7));
    assert_eq!(settings.api_server.arguments["request-timeout"], Argument::Text("60s".to_owned()));
    assert_eq!(settings.admission.event_rate_qps, 500);
    assert_eq!(settings.kubelet.configuration["podPidsLimit"], 1024);
    assert_eq!(settings.files.kubelet_mode.bits(), 0o400);
    let Argument::List(plugins) = &settings.api_server.arguments["enable-admission-plugins"] else {
        panic!()
    };
    assert!(plugins.contains(&"ExtendedResourceToleration".to_owned()), "{plugins:?}");
    assert!(plugins.contains(&"NodeRestriction".to_owned()), "{plugins:?}");
    let ids: Vec<&str> = library.requirements_of(&name).iter().map(|one| one.id.as_str()).collect();
    assert!(ids.contains(&"rbac-wildcards") && ids.contains(&"api-audit-content") && !ids.contains(&"ppsm"));
    let text = profile::write(&library, library.profile(&name).unwrap());
    for wanted in [
        "acme: What Acme runs\nextends stig, which extends baseline\n",
        "excluded ppsm\n    profile acme: Acme has no PPSM registry.\n    not met: stig V-242410, V-242411, V-242412, V-242413\n",
        "loosened api-audit-maxage\n    profile acme: Logs are shipped within the hour.\n",
        "set to: apiServer.arguments.audit-log-maxage: 7",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn what_a_site_loosens_and_excludes_is_lost_in_the_comparison() {
    let (library, name) = added(&[("site.yaml", GOOD)]).unwrap();
    let kubernetes = "1.36.3".parse().unwrap();
    let difference = compare(&library, "stig", &name, &kubernetes, "cilium").unwrap();
    let lost = ["V-242410", "V-242411", "V-242412", "V-242413", "V-242464"];
    assert_eq!(difference.controls["stig"].lost, lost);
    assert_eq!((difference.requirements.won.len(), difference.requirements.lost.len()), (1, 1));
    let text = comparison::write(&library, &difference);
    for wanted in [
        "  apiServer.arguments.audit-log-maxage: 30 → 7\n",
        "  apiServer.arguments.enable-admission-plugins: +ExtendedResourceToleration\n",
        "  - ppsm: Ports, protocols and services are registered\n      profile acme: Acme has no PPSM registry.\n",
        "  ~ api-audit-maxage: Audit logs are kept for at least 30 days\n      profile acme: Logs are shipped",
        "      weaker than asked: stig V-242464\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let back = compare(&library, &name, "stig", &kubernetes, "cilium").unwrap();
    assert!(back.deviations.is_empty(), "{:?}", back.deviations);
}

#[test]
fn a_chain_of_files_ends_in_a_profile_of_kubezt() {
    let base = "name: all-of-acme\ntitle: t\nextends: cis\nsettings: {pki.leafLifetime: 48h}\n";
    let site = "name: acme\ntitle: t\nextends: base/acme.yaml\nsettings: {pki.leafLifetime: 24h}\n";
    let (library, name) = added(&[("site.yaml", site), ("base/acme.yaml", base)]).unwrap();
    let lineage: Vec<&str> = library.lineage(&name).iter().map(|one| one.name.as_str()).collect();
    assert_eq!(lineage, ["baseline", "cis", "all-of-acme", "acme"]);
    assert_eq!(resolved(&library, &name).settings.pki.leaf_lifetime.seconds(), 24 * 3600);
    assert_eq!(library.frameworks_of(&name), ["cis"]);
}

#[test]
fn every_mistake_of_a_site_is_told_at_once_with_its_line() {
    let text = "\
name: acme
title: What Acme runs
extends: stgi
frameworks: [csi]
requirements:
  - rbac-wildcard
exclude:
  - id: ppms
    reason: none
  - {id: dashboard, reason: '', instead: dashbord}
loosen:
  - requirement: api-audit-maxag
    settings: {apiServer.argumnts.audit-log-maxage: 7}
    reason: r
  - requirement: api-profiling
    settings: {}
    reason: ' '
settings:
  files.kubeletMode: rw
  podSecurty.enforce: restricted
";
    let found = mistakes(&[("site.yaml", text)]);
    for wanted in [
        "site.yaml:3: there is no profile `stgi`; did you mean `stig`?",
        "site.yaml:4: there is no framework `csi`; did you mean `cis`?",
        "site.yaml:6: there is no requirement `rbac-wildcard`; did you mean `rbac-wildcards`?",
        "site.yaml:8: there is no requirement `ppms`; did you mean `ppsm`?",
        "site.yaml:10: there is no requirement `dashbord`; did you mean `dashboard`?",
        "site.yaml:10: the exclusion of `dashboard` needs a reason",
        "site.yaml:12: there is no requirement `api-audit-maxag`; did you mean `api-audit-maxage`?",
        "site.yaml:13: there is no setting `apiServer.argumnts.audit-log-maxage`; did you mean `apiServer.arguments.audit-log-maxage`?",
        "site.yaml:15: loosening `api-profiling` needs a reason",
        "site.yaml:15: loosening `api-profiling` needs the settings that differ",
        "site.yaml:19: setting `files.kubeletMode`",
        "site.yaml:20: there is no setting `podSecurty.enforce`; did you mean `podSecurity.enforce`?",
    ] {
        assert!(found.iter().any(|error| error.contains(wanted)), "missing: {wanted}\n{}", found.join("\n"));
    }
    let found = mistakes(&[("site.yaml", "name: acme\ntitle: t\nextend: stig\n")]);
    assert!(found[0].starts_with("site.yaml:3") && found[0].contains("extend"), "{found:?}");
}

#[test]
fn a_setting_is_not_loosened_without_a_word() {
    let site = |settings: &str| format!("name: acme\ntitle: t\nextends: stig\nsettings:\n  {settings}\n");
    for (weaker, requirement) in [
        ("apiServer.arguments.audit-log-maxage: 29", "api-audit-maxage"),
        ("apiServer.arguments.profiling: true", "api-profiling"),
        ("apiServer.arguments.anonymous-auth: null", "api-anonymous"),
        ("apiServer.arguments.authorization-mode+: [AlwaysAllow]", "api-authz"),
        ("apiServer.arguments.enable-admission-plugins: [NodeRestriction]", "api-psa"),
        ("kubelet.configuration.readOnlyPort: 10255", "kubelet-readonly"),
        ("host.sysctls.kernel.panic: 0", "kubelet-kernel"),
        ("podSecurity.enforce: baseline", "pod-security-restricted"),
        ("audit.policy: tiered", "api-audit-content"),
        ("files.manifestMode: \"0644\"", "file-manifests-mode"),
        ("admission.policies: []", "hostports-privileged"),
        ("podSecurity.exemptNamespaces+: [app]", "api-psa"),
    ] {
        let found = mistakes(&[("site.yaml", &site(weaker))]);
        let told =
            |error: &String| error.starts_with("site.yaml:5: setting ") && error.contains("under `loosen`");
        assert!(found.iter().all(told), "{weaker}: {found:?}");
        let named = requirement == "api-psa" || found.iter().any(|error| error.contains(requirement));
        assert!(named, "{weaker}: {found:?}");
    }
    for as_strict in [
        "apiServer.arguments.audit-log-maxage: 400",
        "apiServer.arguments.tls-min-version: VersionTLS13",
        "kubelet.configuration.streamingConnectionIdleTimeout: 10m",
        "files.manifestMode: \"0400\"",
        "admission.policies+: [read-only-root]",
        "podSecurity.exemptNamespaces: []",
        "pki.leafLifetime: 24h",
    ] {
        assert!(added(&[("site.yaml", &site(as_strict))]).is_ok(), "{as_strict}");
    }
}

#[test]
fn circles_missing_files_and_taken_names_are_told() {
    let extends = |name: &str, base: &str| format!("name: {name}\ntitle: t\nextends: {base}\n");
    let found =
        mistakes(&[("site.yaml", &extends("a", "./b.yaml")), ("b.yaml", &extends("b", "./site.yaml"))]);
    assert_eq!(found, ["b.yaml:3: profile `site.yaml` extends itself: site.yaml → b.yaml → site.yaml"]);
    let found = mistakes(&[("site.yaml", &extends("a", "./b.yaml")), ("b.yaml", &extends("b", "stgi"))]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("b.yaml:3: there is no profile `stgi`; did you mean `stig`?"), "{found:?}");
    let found = mistakes(&[("site.yaml", &extends("a", "sub/gone.yaml"))]);
    assert_eq!(found, ["site.yaml:3: the profile cannot be read: no file `sub/gone.yaml`"]);
    let found = mistakes(&[]);
    assert_eq!(found, ["cluster.yaml:6: the profile cannot be read: no file `site.yaml`"]);
    let found = mistakes(&[("site.yaml", &extends("stig", "baseline"))]);
    assert_eq!(found, ["site.yaml:1: the name `stig` is taken by a profile that comes with kubezt"]);
    // A mistake in the base does not hide those of the file that extends it.
    let site = "name: a\ntitle: t\nextends: ./b.yaml\nrequirements: [api-anonymus]\n";
    let found = mistakes(&[("site.yaml", site), ("b.yaml", "name: b\ntitle: [\n")]);
    assert!(found.iter().any(|error| error.starts_with("b.yaml:")), "{found:?}");
    assert!(found.iter().any(|error| error.contains("did you mean `api-anonymous`")), "{found:?}");
    let found = mistakes(&[(
        "site.yaml",
        "name: a\ntitle: t\nextends: stig\nloosen:\n  - {requirement: rbac-exec, settings: {pki.leafLifetime: 1h}, reason: r}\n",
    )]);
    assert_eq!(
        found,
        ["site.yaml:5: profile `a` does not have requirement `rbac-exec`, so that nothing is loosened"]
    );
}

#[test]
fn what_is_loosened_is_accepted_as_it_was_loosened_and_no_further() {
    let (library, name) = added(&[("site.yaml", GOOD)]).unwrap();
    let cluster = resolved(&library, &name);
    let mut evidence = green(&library, &cluster);
    let verdict = |evidence: &_| {
        let findings = judge(&library, &cluster, evidence);
        findings.into_iter().find(|finding| finding.requirement == "api-audit-maxage").unwrap().verdict
    };
    let Verdict::Accepted { reason, owner, expires, got, .. } = verdict(&evidence) else { panic!() };
    assert_eq!((reason.as_str(), owner.as_str()), ("Logs are shipped within the hour.", "profile acme"));
    assert!(expires.is_none() && got.contains("= 7"), "{got}");
    let findings = judge(&library, &cluster, &evidence);
    let text = table::write(&library, &cluster, &findings, table::Detail::Findings);
    for wanted in [
        "accepted medium api-audit-maxage",
        "Logs are shipped within the hour. (profile acme); got",
        "loosened low    api-eventratelimit",
        "profile acme: The batch system floods.",
        "excluded medium ppsm",
        "not met: stig V-242410, V-242411, V-242412, V-242413",
        "compliant, but for 4 rules that the profile excludes",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let document = json::document(&library, &cluster, &findings, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(document.profile, "acme");
    let said: Vec<(&str, &str)> =
        document.deviations.iter().map(|one| (one.kind.word(), one.requirement.as_str())).collect();
    assert_eq!(
        said,
        [
            ("excluded", "api-audit-content-tiered"),
            ("excluded", "ppsm"),
            ("loosened", "api-audit-maxage"),
            ("loosened", "api-eventratelimit")
        ]
    );
    let rule =
        |id: &str| document.controls["stig"].iter().find(|rule| rule.id == id).unwrap().verdict.clone();
    assert_eq!((rule("V-242464").as_str(), rule("V-242410").as_str()), ("accepted", "excluded"));
    // Somebody loosened it further by hand.
    let read = Read::Process { name: "kube-apiserver".to_owned() };
    let Some(Reading::Processes(processes)) =
        evidence.facts.get_mut(&node("cp1")).unwrap().readings.get_mut(&read)
    else {
        panic!()
    };
    for argument in &mut processes[0].arguments {
        if argument == "--audit-log-maxage=7" {
            *argument = "--audit-log-maxage=1".to_owned();
        }
    }
    let Verdict::Fail { got, .. } = verdict(&evidence) else { panic!() };
    assert!(got.contains("profile `acme` loosens it, but not to this"), "{got}");
    evidence.facts.clear();
    assert!(matches!(verdict(&evidence), Verdict::Error { .. }));
}
