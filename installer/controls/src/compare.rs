//! What changes from one profile to another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::library::Library;
use crate::report::deviations::{self, Deviation};
use crate::resolve::{ResolveError, profile_settings};

/// What changes from one profile to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Profile that is left.
    pub from: String,
    /// Profile that is taken up.
    pub to: String,
    /// Settings that differ, by dotted path.
    pub settings: Vec<SettingChange>,
    /// Requirements.
    pub requirements: Changes,
    /// Rules of each framework that the requirements satisfy in full.
    pub controls: BTreeMap<String, Changes>,
    /// What the profile that is taken up leaves out or loosens, and the one that is left does not.
    pub deviations: Vec<Deviation>,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingChange {
    /// Dotted path.
    pub path: String,
    /// Value before; `None` where it is not set.
    pub from: Option<Value>,
    /// Value after; `None` where it is not set.
    pub to: Option<Value>,
}

/// What is there after and not before, and the other way round; in the order of the library.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// There after and not before.
    pub won: Vec<String>,
    /// There before and not after.
    pub lost: Vec<String>,
}

impl Changes {
    fn between<'a>(all: impl Iterator<Item = &'a str>, from: &BTreeSet<&str>, to: &BTreeSet<&str>) -> Self {
        let mut changes = Self::default();
        for id in all {
            match (from.contains(id), to.contains(id)) {
                (false, true) => changes.won.push(id.to_owned()),
                (true, false) => changes.lost.push(id.to_owned()),
                _ => {}
            }
        }
        changes
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.won.is_empty() && self.lost.is_empty()
    }
}

/// Compares two profiles of the library, for a cluster of this version and network plug-in.
///
/// # Errors
/// A profile whose requirements contradict each other.
pub fn compare(
    library: &Library,
    from: &str,
    to: &str,
    kubernetes: &semver::Version,
    cni: &str,
) -> Result<Comparison, Vec<ResolveError>> {
    let before = profile_settings(library, from, kubernetes, cni)?;
    let after = profile_settings(library, to, kubernetes, cni)?;
    let ids = |profile: &str| -> BTreeSet<&str> {
        library.requirements_of(profile).into_iter().map(|requirement| requirement.id.as_str()).collect()
    };
    let controls = library
        .catalogues()
        .map(|catalogue| {
            let rules = || catalogue.rules.iter().map(|rule| rule.id.as_str());
            let met = |profile: &str| satisfied(library, profile, &catalogue.framework);
            (catalogue.framework.clone(), Changes::between(rules(), &met(from), &met(to)))
        })
        .collect();
    let known = deviations::of(library, from);
    Ok(Comparison {
        from: from.to_owned(),
        to: to.to_owned(),
        settings: setting_changes(&before, &after),
        requirements: Changes::between(
            library.requirements().map(|requirement| requirement.id.as_str()),
            &ids(from),
            &ids(to),
        ),
        controls,
        deviations: deviations::of(library, to).into_iter().filter(|one| !known.contains(one)).collect(),
    })
}

/// Rules of a framework that requirements of the profile satisfy; not those it excludes or loosens a
/// requirement of.
fn satisfied<'a>(library: &'a Library, profile: &str, framework: &str) -> BTreeSet<&'a str> {
    let selected = library.requirements_of(profile);
    let loosenings = library.loosenings_of(profile);
    let is_loosened = |id: &str| loosenings.iter().any(|(_, loosening)| loosening.requirement == id);
    let mut met = BTreeSet::new();
    let mut weaker = BTreeSet::new();
    for requirement in selected {
        let rules = requirement.controls.get(framework).into_iter().flatten().map(String::as_str);
        if is_loosened(&requirement.id) { weaker.extend(rules) } else { met.extend(rules) }
    }
    met.retain(|rule| !weaker.contains(rule) && library.excluded_rule(profile, framework, rule).is_none());
    met
}

/// Every value that differs, by dotted path; lists are values.
fn setting_changes(before: &Value, after: &Value) -> Vec<SettingChange> {
    let (before, after) = (leaves(before), leaves(after));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| SettingChange {
            path: path.clone(),
            from: before.get(path).map(|value| (*value).clone()),
            to: after.get(path).map(|value| (*value).clone()),
        })
        .collect()
}

fn leaves(settings: &Value) -> BTreeMap<String, &Value> {
    fn walk<'a>(path: &str, value: &'a Value, found: &mut BTreeMap<String, &'a Value>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, inner, found);
                }
            }
            value => {
                found.insert(path.to_owned(), value);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", settings, &mut found);
    found
}
