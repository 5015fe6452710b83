//! A profile: which requirements hold, and which settings differ.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A named choice of requirements and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Name, equal to the file's.
    pub name: String,
    /// What it is for, in one sentence.
    pub title: String,
    /// The profile it adds to.
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
    /// Settings that differ, by dotted path; they win over what requirements set.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// File it was read from.
    #[serde(skip)]
    pub place: String,
}

/// A requirement that is left out of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exclusion {
    /// Requirement id.
    pub id: String,
    /// Why.
    pub reason: String,
}
