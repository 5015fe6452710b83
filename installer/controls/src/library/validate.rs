//! What no single file can know: that the files agree with each other.

use kubezt_model::systems::{self, SYSTEMS};
use serde_json::Value;

use super::{Library, LoadError, Profile, Requirement, weakening};
use crate::nearest::nearest;
use crate::resolve::merge;

/// Every disagreement in the library.
pub fn problems(library: &Library) -> Vec<LoadError> {
    let mut errors = Vec::new();
    for requirement in library.requirements.values() {
        requirement_problems(library, requirement, &mut errors);
    }
    for found in library.profiles.values() {
        profile(library, found, true, &mut errors);
    }
    errors
}

/// What is wrong with one profile. Whether its base is there is only looked at where `base_known`.
pub fn profile(library: &Library, profile: &Profile, base_known: bool, errors: &mut Vec<LoadError>) {
    let source = profile.source();
    let requirements = || library.requirements.keys().map(String::as_str);
    if let Some(base) = &profile.extends
        && base_known
    {
        let place = source.find("extends", base);
        if !library.profiles.contains_key(base) {
            errors.push(unknown(&place, "profile", base, library.profiles.keys().map(String::as_str)));
        } else if goes_round(library, &profile.name) {
            let chain: Vec<&str> =
                library.lineage(&profile.name).iter().rev().map(|one| one.name.as_str()).collect();
            let problem = format!("profile `{}` extends itself: {}", profile.name, chain.join(" → "));
            errors.push(LoadError::invalid(&place, problem));
        }
    }
    for framework in &profile.frameworks {
        if !library.catalogues.contains_key(framework) {
            let place = source.find("frameworks", framework);
            errors.push(unknown(
                &place,
                "framework",
                framework,
                library.catalogues.keys().map(String::as_str),
            ));
        }
    }
    for id in profile.requirements.iter().filter(|id| !library.requirements.contains_key(*id)) {
        errors.push(unknown(&source.find("requirements", id), "requirement", id, requirements()));
    }
    for exclusion in &profile.exclude {
        let place = source.find("exclude", &exclusion.id);
        for id in [Some(&exclusion.id), exclusion.instead.as_ref()].into_iter().flatten() {
            if !library.requirements.contains_key(id) {
                errors.push(unknown(&source.find("exclude", id), "requirement", id, requirements()));
            }
        }
        if exclusion.reason.trim().is_empty() {
            let problem = format!("the exclusion of `{}` needs a reason", exclusion.id);
            errors.push(LoadError::invalid(&place, problem));
        }
    }
    for loosening in &profile.loosen {
        let id = &loosening.requirement;
        let place = source.find("loosen", id);
        if !library.requirements.contains_key(id) {
            errors.push(unknown(&place, "requirement", id, requirements()));
        }
        if loosening.reason.trim().is_empty() {
            errors.push(LoadError::invalid(&place, format!("loosening `{id}` needs a reason")));
        }
        if loosening.settings.is_empty() {
            let problem = format!("loosening `{id}` needs the settings that differ");
            errors.push(LoadError::invalid(&place, problem));
        }
        settings_problems(library, |path| source.setting_in("loosen", path), &loosening.settings, errors);
    }
    settings_problems(library, |path| source.setting(path), &profile.settings, errors);
    // What a chain adds up to is only known where it is complete.
    if base_known && library.lineage(&profile.name).first().is_some_and(|first| first.extends.is_none()) {
        what_is_not_there(library, profile, errors);
        silently_weaker(library, profile, errors);
    }
}

/// Whether the chain of bases comes back to where it was; one that ends in a name nobody has does not.
fn goes_round(library: &Library, profile: &str) -> bool {
    let first = library.lineage(profile).first().and_then(|first| first.extends.as_ref());
    first.is_some_and(|base| library.profiles.contains_key(base))
}

/// Exclusions, replacements and loosenings of requirements that the profile does not have.
fn what_is_not_there(library: &Library, profile: &Profile, errors: &mut Vec<LoadError>) {
    let source = profile.source();
    let selected = library.requirements_of(&profile.name);
    let has = |id: &String| selected.iter().any(|requirement| requirement.id == *id);
    let known = |id: &&String| library.requirements.contains_key(*id);
    let not_in = |id: &String, what: &str| {
        format!("profile `{}` does not have requirement `{id}`, so that {what}", profile.name)
    };
    for id in profile.exclude.iter().filter_map(|exclusion| exclusion.instead.as_ref()).filter(known) {
        if !has(id) {
            let problem = not_in(id, "it cannot take another one's place; name it under `requirements`");
            errors.push(LoadError::invalid(&source.find("exclude", id), problem));
        }
    }
    for id in profile.loosen.iter().map(|loosening| &loosening.requirement).filter(known) {
        if !has(id) {
            errors.push(LoadError::invalid(&source.find("loosen", id), not_in(id, "nothing is loosened")));
        }
    }
}

/// Settings that undo what a requirement of the profile sets, where the requirement would see it, without a
/// word why.
fn silently_weaker(library: &Library, profile: &Profile, errors: &mut Vec<LoadError>) {
    let source = profile.source();
    let loosened: Vec<&str> = library
        .loosenings_of(&profile.name)
        .iter()
        .map(|(_, loosening)| loosening.requirement.as_str())
        .collect();
    for entry in merge::flatten(&profile.settings) {
        for requirement in library.requirements_of(&profile.name) {
            let set = merge::flatten(&requirement.set);
            let Some(wanted) = set.iter().find(|wanted| wanted.keys == entry.keys) else { continue };
            if loosened.contains(&requirement.id.as_str()) || weakening::keeps(requirement, wanted, &entry) {
                continue;
            }
            errors.push(LoadError::invalid(
                &source.setting(&entry.path()),
                format!(
                    "setting `{}`: requirement `{}` sets {}, and {} is not known to be as strict; say why under `loosen` \
                     (requirement, settings, reason), or exclude the requirement with a reason",
                    entry.path(),
                    requirement.id,
                    wanted.value,
                    entry.value
                ),
            ));
        }
    }
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
    for name in requirement.applies.os.iter().filter(|name| systems::named(name).is_none()) {
        errors.push(unknown(place, "operating system", name, SYSTEMS.iter().map(|system| system.name)));
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
    settings_problems(library, |_| place.to_owned(), &requirement.set, errors);
}

fn settings_problems(
    library: &Library,
    place: impl Fn(&str) -> String,
    settings: &serde_json::Map<String, Value>,
    errors: &mut Vec<LoadError>,
) {
    for problem in merge::problems(&library.defaults, settings) {
        errors.push(LoadError::invalid(&place(problem.path()), problem.to_string()));
    }
}

fn unknown<'a>(place: &str, what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> LoadError {
    let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    LoadError::invalid(place, format!("there is no {what} `{name}`{hint}"))
}
