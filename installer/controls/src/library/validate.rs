//! What no single file can know: that the files agree with each other.

use serde_json::Value;

use super::{Library, LoadError, Requirement};
use crate::nearest::nearest;
use crate::resolve::merge;

/// Every disagreement in the library.
pub fn problems(library: &Library) -> Vec<LoadError> {
    let mut errors = Vec::new();
    for requirement in library.requirements.values() {
        requirement_problems(library, requirement, &mut errors);
    }
    for profile in library.profiles.values() {
        let place = profile.place.as_str();
        if let Some(base) = &profile.extends
            && !library.profiles.contains_key(base)
        {
            errors.push(unknown(place, "profile", base, library.profiles.keys().map(String::as_str)));
        }
        if library.lineage(&profile.name).first().is_some_and(|first| first.extends.is_some()) {
            errors.push(LoadError::invalid(place, format!("profile `{}` extends itself", profile.name)));
        }
        for id in profile.requirements.iter().chain(profile.exclude.iter().map(|excluded| &excluded.id)) {
            if !library.requirements.contains_key(id) {
                errors.push(unknown(
                    place,
                    "requirement",
                    id,
                    library.requirements.keys().map(String::as_str),
                ));
            }
        }
        for framework in &profile.frameworks {
            if !library.catalogues.contains_key(framework) {
                errors.push(unknown(
                    place,
                    "framework",
                    framework,
                    library.catalogues.keys().map(String::as_str),
                ));
            }
        }
        settings_problems(library, place, &profile.settings, &mut errors);
    }
    errors
}

fn requirement_problems(library: &Library, requirement: &Requirement, errors: &mut Vec<LoadError>) {
    let place = requirement.place.as_str();
    if requirement.check.is_empty() && requirement.probe.is_none() {
        errors.push(LoadError::invalid(
            place,
            format!(
                "requirement `{}` has neither check nor probe, so nobody could tell whether it holds",
                requirement.id
            ),
        ));
    }
    for (index, check) in requirement.check.iter().enumerate() {
        if let Err(problem) = check.validate() {
            errors.push(LoadError::invalid(
                place,
                format!("`{}` check {}: {problem}", requirement.id, index + 1),
            ));
        }
    }
    for (framework, ids) in &requirement.controls {
        // NIST SP 800-53 is a vocabulary here, not a list of rules that kubezt answers one by one.
        if framework == "nist" {
            continue;
        }
        let Some(catalogue) = library.catalogues.get(framework) else {
            errors.push(unknown(
                place,
                "framework",
                framework,
                library.catalogues.keys().map(String::as_str),
            ));
            continue;
        };
        for id in ids {
            if catalogue.rule(id).is_none() {
                let known = catalogue.rules.iter().map(|rule| rule.id.as_str());
                errors.push(unknown(place, &format!("{framework} rule"), id, known));
            }
        }
    }
    settings_problems(library, place, &requirement.set, errors);
}

fn settings_problems(
    library: &Library,
    place: &str,
    settings: &serde_json::Map<String, Value>,
    errors: &mut Vec<LoadError>,
) {
    for problem in merge::problems(&library.defaults, settings) {
        errors.push(LoadError::invalid(place, problem.to_string()));
    }
}

fn unknown<'a>(place: &str, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> LoadError {
    let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    LoadError::invalid(place, format!("there is no {what} `{name}`{hint}"))
}
