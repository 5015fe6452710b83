//! The shipped profiles add up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeSet;

use kubezt_controls::Library;
use kubezt_controls::check::Check;
use support::{library, profile_files};

#[test]
fn every_rule_of_the_stig_is_answered_in_the_stig_profile() {
    let library = library();
    let catalogue = library.catalogue("stig").unwrap();
    assert_eq!(catalogue.rules.len(), 92);
    let selected = library.requirements_of("stig");
    let answered: BTreeSet<&String> =
        selected.iter().filter_map(|requirement| requirement.controls.get("stig")).flatten().collect();
    let missing: Vec<&str> = catalogue
        .rules
        .iter()
        .map(|rule| rule.id.as_str())
        .filter(|id| !answered.contains(&(*id).to_owned()))
        .collect();
    assert!(missing.is_empty(), "rules without requirement: {missing:?}");
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
    assert!(errors[0].contains("did you mean `api-anonymous`"), "{errors:?}");
    let errors = broken("profiles/stig.yaml", "extends: baseline", "extends: stig");
    assert!(errors.iter().any(|error| error.contains("extends itself")), "{errors:?}");
    let errors = broken("profiles/requirements/api-server.yaml", "severity: high", "sevrity: high");
    assert!(errors[0].contains("api-server.yaml:") && errors[0].contains("sevrity"), "{errors:?}");
    let errors =
        broken("profiles/requirements/files.yaml", "files.manifestMode: \"0600\"", "files.manifestMode: rw");
    assert!(errors[0].contains("files.manifestMode") && errors[0].contains("octal"), "{errors:?}");
}
