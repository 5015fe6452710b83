//! A profile: which requirements hold, and which settings differ.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::place::Source;

/// A named choice of requirements and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Name; of a profile that comes with kubezt equal to the file's.
    pub name: String,
    /// What it is for, in one sentence.
    pub title: String,
    /// The profile it adds to: a name, or the path of a file of the site, relative to this one.
    #[serde(default)]
    pub extends: Option<String>,
    /// Frameworks all of whose mapped requirements are in.
    #[serde(default)]
    pub frameworks: Vec<String>,
    /// Further requirements, by id.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// Requirements that are left out, and why.
    #[serde(default)]
    pub exclude: Vec<Exclusion>,
    /// Requirements that stay and are met less than fully, and why.
    #[serde(default)]
    pub loosen: Vec<Loosening>,
    /// Settings that differ, by dotted path; they win over what requirements set.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// File it was read from.
    #[serde(skip)]
    pub place: String,
    /// Text of that file, so that mistakes can be told with their line.
    #[serde(skip)]
    pub(crate) text: String,
    /// Whether it is a file of the site rather than one that comes with kubezt.
    #[serde(skip)]
    pub(crate) of_site: bool,
}

/// A requirement that is left out of a profile. Rules that only it answers are reported as excluded, never as
/// met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exclusion {
    /// Requirement id.
    pub id: String,
    /// The requirement that takes its place: rules that this one satisfies as well are judged by it.
    #[serde(default)]
    pub instead: Option<String>,
    /// Why.
    pub reason: String,
}

/// A requirement that is met less than fully. Where it fails on the loosened settings it is reported as
/// accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Loosening {
    /// Requirement id.
    pub requirement: String,
    /// Settings that are weaker than it wants, by dotted path.
    pub settings: Map<String, Value>,
    /// Why.
    pub reason: String,
}

impl Profile {
    /// Its file, to look places up in.
    pub(crate) fn source(&self) -> Source<'_> {
        Source { name: &self.place, text: &self.text }
    }
}

/// Whether a profile is named by the path of a file of the site: what has a slash or ends in `.yaml`.
pub fn is_file(reference: &str) -> bool {
    reference.contains('/') || reference.ends_with(".yaml")
}

/// The path of a file that is named in another one, relative to its folder, without `.` and superfluous `..`.
pub(super) fn beside(file: &str, reference: &str) -> String {
    let folder = Path::new(file).parent().unwrap_or_else(|| Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(reference).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(path.components().next_back(), Some(Component::Normal(_))) => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_names_and_found_beside_each_other() {
        assert!(is_file("./site.yaml") && is_file("site.yaml") && is_file("profiles/site"));
        assert!(!is_file("stig") && !is_file("stig-tiered"));
        assert_eq!(beside("a/site.yaml", "./base.yaml"), "a/base.yaml");
        assert_eq!(beside("a/b/site.yaml", "../base.yaml"), "a/base.yaml");
        assert_eq!(beside("site.yaml", "../base.yaml"), "../base.yaml");
        assert_eq!(beside("site.yaml", "/etc/base.yaml"), "/etc/base.yaml");
    }
}
