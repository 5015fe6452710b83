//! A requirement: one technical statement with its setting, checks, probe and the controls it satisfies.

use std::collections::BTreeMap;

use kubezt_model::cluster::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::Check;
use crate::probe::Probe;

/// One technical statement about a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// Stable id, such as `api-anonymous`.
    pub id: String,
    /// The statement, as a sentence about a compliant cluster.
    pub title: String,
    /// How bad it is when it does not hold.
    pub severity: Severity,
    /// What an attacker gains, or what breaks, otherwise.
    pub why: String,
    /// How to make it hold.
    pub remedy: String,
    /// Settings that make it true, by dotted path; a path that ends in `+` adds to a list.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// What is read and compared; all must hold.
    #[serde(default)]
    pub check: Vec<Check>,
    /// What is tried from outside.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// Where it applies; everywhere if left out.
    #[serde(default)]
    pub applies: Applies,
    /// Rules it satisfies, by framework (`stig`, `cis`, `nsa`, `nist`).
    pub controls: BTreeMap<String, Vec<String>>,
    /// File and line it was read from.
    #[serde(skip)]
    pub place: String,
}

/// How bad it is when a requirement does not hold; high is the STIG's CAT I.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// CAT III.
    Low,
    /// CAT II.
    Medium,
    /// CAT I.
    High,
}

impl Severity {
    /// The word used in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Where a requirement applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Applies {
    /// Node roles; empty means every node its checks make sense on.
    pub roles: Vec<Role>,
    /// Kubernetes versions, such as `>=1.25`.
    pub kubernetes: Option<semver::VersionReq>,
    /// Network plug-ins; empty means any.
    pub cni: Vec<String>,
    /// Operating systems of nodes, by the names in [`kubezt_model::systems`]; empty means any.
    pub os: Vec<String>,
    /// How images reach nodes; `None` means either way.
    pub images: Option<ImageSupply>,
}

/// How images reach nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSupply {
    /// kubezt imports them; no registry is involved. The only way of this release.
    Preload,
    /// Nodes pull them from a registry.
    Registry,
}
