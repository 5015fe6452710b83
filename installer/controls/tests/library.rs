//! The shipped profiles add up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeSet;

use kubezt_controls::Library;
use kubezt_controls::check::Check;
use support::{library, profile_files};

/// Rules of a framework that no requirement of a profile answers.
fn unanswered(library: &Library, profile: &str, framework: &str) -> Vec<String> {
    let selected = library.requirements_of(profile);
    let answered: BTreeSet<&String> =
        selected.iter().filter_map(|requirement| requirement.controls.get(framework)).flatten().collect();
    let rules = library.catalogue(framework).unwrap().rules.iter().map(|rule| rule.id.clone());
    rules.filter(|id| !answered.contains(id)).collect()
}

#[test]
fn every_rule_of_a_framework_is_answered_in_its_profile() {
    let library = library();
    for (profile, framework, rules) in [("stig", "stig", 92), ("cis", "cis", 131), ("nsa", "nsa", 72)] {
        assert_eq!(library.catalogue(framework).unwrap().rules.len(), rules);
        assert_eq!(unanswered(&library, profile, framework), [""; 0], "{profile}");
        assert_eq!(library.frameworks_of(profile), [framework]);
        let excluded: Vec<_> = library
            .catalogue(framework)
            .unwrap()
            .rules
            .iter()
            .filter(|rule| library.excluded_rule(profile, framework, &rule.id).is_some())
            .collect();
        assert!(excluded.is_empty(), "{profile}: {excluded:?}");
    }
}

#[test]
fn the_tiered_stig_owns_up_to_the_one_rule_it_does_not_meet() {
    let library = library();
    assert_eq!(unanswered(&library, "stig-tiered", "stig"), ["V-242403"]);
    let (author, exclusion) = library.excluded_rule("stig-tiered", "stig", "V-242403").unwrap();
    assert_eq!((author.name.as_str(), exclusion.id.as_str()), ("stig-tiered", "api-audit-content"));
    // What the STIG profile leaves out is back, so that it is no exclusion any more.
    let left_out: Vec<&str> =
        library.exclusions_of("stig-tiered").iter().map(|(_, exclusion)| exclusion.id.as_str()).collect();
    assert_eq!(left_out, ["api-audit-content"]);
    assert!(library.excluded_rule("stig", "stig", "V-242403").is_none());
}

#[test]
fn severities_are_at_least_those_of_the_stig() {
    let library = library();
    let catalogue = library.catalogue("stig").unwrap();
    for requirement in library.requirements() {
        for id in requirement.controls.get("stig").into_iter().flatten() {
            let rule = catalogue.rule(id).unwrap();
            assert!(Some(requirement.severity) >= rule.severity, "{} is milder than {id}", requirement.id);
        }
    }
}

#[test]
fn every_requirement_says_why_and_what_to_do_and_can_fail() {
    for requirement in library().requirements() {
        assert!(requirement.why.len() > 20 && requirement.remedy.len() > 5, "{}", requirement.id);
        let only_excuses = requirement.check.iter().all(|check| matches!(check, Check::NotApplicable(_)));
        assert!(
            !only_excuses || requirement.applies.kubernetes.is_some(),
            "{} can only be excused",
            requirement.id
        );
    }
}

/// What no setting decides is asked, not passed: a requirement is judged by something that is looked at or
/// tried, or says that a person decides.
#[test]
fn every_requirement_of_every_profile_has_a_judge_or_says_that_a_person_decides() {
    let library = library();
    let cluster = support::resolved(&library, support::CLUSTER, "nsa");
    for profile in library.profiles() {
        for requirement in library.requirements_of(&profile.name) {
            let looks = |check: &Check| {
                let manual = matches!(check, Check::Manual(_) | Check::NotApplicable(_));
                let terms = kubezt_controls::check::Terms::new(&cluster);
                let reads = cluster
                    .nodes
                    .iter()
                    .any(|node| check.runs_on(node.role) && !check.reads(&terms, node).is_empty());
                manual || reads || !check.api_reads().is_empty()
            };
            let judged = requirement.check.iter().any(looks) || requirement.probe.is_some();
            assert!(judged, "{}: {} has no judge", profile.name, requirement.id);
        }
    }
}

fn broken(path: &str, from: &str, to: &str) -> Vec<String> {
    let mut found = false;
    let files = profile_files().into_iter().map(|(name, text)| {
        if name == path {
            found = text.contains(from);
            (name, text.replacen(from, to, 1))
        } else {
            (name, text)
        }
    });
    let errors = Library::load(files.collect::<Vec<_>>()).unwrap_err();
    assert!(found, "`{from}` is not in {path}");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn mistakes_are_told_with_place_and_nearest_name() {
    let errors = broken(
        "profiles/requirements/api-server.yaml",
        "apiServer.arguments.anonymous-auth",
        "apiSever.arguments.anonymous-auth",
    );
    assert!(
        errors[0].contains("api-server.yaml:2") && errors[0].contains("did you mean `apiServer"),
        "{errors:?}"
    );
    let errors = broken("profiles/requirements/api-server.yaml", "V-242390", "V-242930");
    assert!(errors[0].contains("there is no stig rule `V-242930`"), "{errors:?}");
    let errors = broken("profiles/baseline.yaml", "- api-anonymous", "- api-anonymus");
    assert!(
        errors[0].contains("baseline.yaml:4") && errors[0].contains("did you mean `api-anonymous`"),
        "{errors:?}"
    );
    let errors = broken("profiles/stig.yaml", "extends: baseline", "extends: stig");
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("profiles/stig.yaml:3: profile `stig` extends itself: stig")),
        "{errors:?}"
    );
    let errors = broken("profiles/stig.yaml", "instead: api-audit-content", "instead: api-audit-contents");
    assert!(
        errors[0].contains("stig.yaml:10") && errors[0].contains("did you mean `api-audit-content`"),
        "{errors:?}"
    );
    let errors = broken("profiles/requirements/node.yaml", "os: [debian-13]", "os: [debian-113]");
    assert!(
        errors[0].contains("there is no operating system `debian-113`; did you mean `debian-13`?"),
        "{errors:?}"
    );
    let errors = broken("profiles/cis.yaml", "frameworks: [cis]", "frameworks: [csi]");
    assert!(errors[0].contains("cis.yaml:4") && errors[0].contains("did you mean `cis`"), "{errors:?}");
    let errors = broken("profiles/requirements/api-server.yaml", "severity: high", "sevrity: high");
    assert!(errors[0].contains("api-server.yaml:") && errors[0].contains("sevrity"), "{errors:?}");
    let errors =
        broken("profiles/requirements/files.yaml", "files.manifestMode: \"0600\"", "files.manifestMode: rw");
    assert!(errors[0].contains("files.manifestMode") && errors[0].contains("octal"), "{errors:?}");
}
