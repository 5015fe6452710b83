//! What a profile leaves out or meets less than fully, with the reasons it gives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::library::{Library, Requirement};

/// One requirement that a profile does not meet in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deviation {
    /// What is done with it.
    pub kind: Kind,
    /// Requirement id.
    pub requirement: String,
    /// The profile that says so: the judged one or one that it extends.
    pub profile: String,
    /// Why.
    pub reason: String,
    /// The requirement that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// Settings that are weaker, by dotted path.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// Rules of the profile's frameworks that are not met because of it, or less than fully.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Vec<String>>,
}

/// What a profile does with a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is left out.
    Excluded,
    /// It is met less than fully.
    Loosened,
}

impl Kind {
    /// The word used in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::Loosened => "loosened",
        }
    }
}

impl Deviation {
    /// Whether somebody has to know: not where another requirement takes the place and no rule is lost.
    pub fn is_worth_a_look(&self) -> bool {
        self.instead.is_none() || !self.rules.is_empty()
    }

    /// What is said of it: the reason and its author, what takes its place, what it is loosened to, which
    /// rules are lost.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("profile {}: {}", self.profile, self.reason)];
        lines.extend(self.instead.iter().map(|id| format!("instead: {id}")));
        lines.extend(self.settings.iter().map(|(path, value)| format!("set to: {path}: {value}")));
        let named = self.rules.iter().map(|(framework, ids)| format!("{framework} {}", ids.join(", ")));
        let rules: Vec<String> = named.collect();
        if !rules.is_empty() {
            let what = match self.kind {
                Kind::Excluded => "not met",
                Kind::Loosened => "weaker than asked",
            };
            lines.push(format!("{what}: {}", rules.join("; ")));
        }
        lines
    }
}

/// Every deviation of a profile: what it leaves out, then what it loosens.
pub fn of(library: &Library, profile: &str) -> Vec<Deviation> {
    let excluded = library.exclusions_of(profile).into_iter().map(|(author, exclusion)| Deviation {
        kind: Kind::Excluded,
        requirement: exclusion.id.clone(),
        profile: author.name.clone(),
        reason: exclusion.reason.trim().to_owned(),
        instead: exclusion.instead.clone(),
        settings: Map::new(),
        rules: lost_rules(library, profile, &exclusion.id),
    });
    let loosened = library.loosenings_of(profile).into_iter().map(|(author, loosening)| Deviation {
        kind: Kind::Loosened,
        requirement: loosening.requirement.clone(),
        profile: author.name.clone(),
        reason: loosening.reason.trim().to_owned(),
        instead: None,
        settings: loosening.settings.clone(),
        rules: framework_rules(library, profile, library.requirement(&loosening.requirement)),
    });
    excluded.chain(loosened).collect()
}

/// Rules of the profile's frameworks that this requirement maps to.
fn framework_rules(
    library: &Library,
    profile: &str,
    requirement: Option<&Requirement>,
) -> BTreeMap<String, Vec<String>> {
    let Some(requirement) = requirement else { return BTreeMap::new() };
    let frameworks = library.frameworks_of(profile).into_iter();
    frameworks
        .filter_map(|name| Some((name.to_owned(), requirement.controls.get(name)?.clone())))
        .filter(|(_, ids)| !ids.is_empty())
        .collect()
}

/// Of those, the ones that nothing in its place satisfies.
fn lost_rules(library: &Library, profile: &str, id: &str) -> BTreeMap<String, Vec<String>> {
    let mut rules = framework_rules(library, profile, library.requirement(id));
    for (framework, ids) in &mut rules {
        ids.retain(|rule| library.excluded_rule(profile, framework, rule).is_some());
    }
    rules.retain(|_, ids| !ids.is_empty());
    rules
}
