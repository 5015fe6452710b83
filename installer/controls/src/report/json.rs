//! The whole result as one JSON document.

use std::collections::BTreeMap;

use kubezt_model::desired::Cluster;
use kubezt_model::finding::Finding;
use serde::{Deserialize, Serialize};

use super::{Counts, worst};
use crate::library::{Library, Severity};

/// A result that programs can read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Cluster name.
    pub cluster: String,
    /// Kubernetes version that was asked for.
    pub kubernetes: String,
    /// Profile.
    pub profile: String,
    /// When it was judged.
    pub at: jiff::Timestamp,
    /// Counts over all findings.
    pub counts: Counts,
    /// Whether nothing failed and everything could be judged.
    pub compliant: bool,
    /// What requirements are about.
    pub requirements: BTreeMap<String, About>,
    /// Every rule of the profile's frameworks with its worst verdict.
    pub controls: BTreeMap<String, Vec<ControlResult>>,
    /// All findings.
    pub findings: Vec<Finding>,
}

/// What a requirement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The statement.
    pub title: String,
    /// How bad it is otherwise.
    pub severity: Severity,
    /// Rules it satisfies.
    pub controls: BTreeMap<String, Vec<String>>,
}

/// What a rule of a framework came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlResult {
    /// The framework's id.
    pub id: String,
    /// What it asks for.
    pub title: String,
    /// The worst verdict of its requirements, as a word; `not-reviewed` where no requirement of the profile maps to it.
    pub verdict: String,
    /// Requirements it was judged by.
    pub requirements: Vec<String>,
}

/// Puts the document together.
pub fn document(library: &Library, cluster: &Cluster, findings: &[Finding], at: jiff::Timestamp) -> Document {
    let counts = Counts::of(findings);
    let selected = library.selected(cluster);
    let requirements = selected
        .iter()
        .map(|requirement| {
            let about = About {
                title: requirement.title.clone(),
                severity: requirement.severity,
                controls: requirement.controls.clone(),
            };
            (requirement.id.clone(), about)
        })
        .collect();
    let frameworks: Vec<String> = library
        .lineage(&cluster.profile)
        .into_iter()
        .flat_map(|profile| profile.frameworks.clone())
        .collect();
    let controls =
        frameworks.into_iter().map(|name| (name.clone(), control_results(library, cluster, findings, &name)));
    Document {
        cluster: cluster.name.to_string(),
        kubernetes: cluster.kubernetes_version.to_string(),
        profile: cluster.profile.clone(),
        at,
        counts,
        compliant: counts.is_compliant(),
        requirements,
        controls: controls.collect(),
        findings: findings.to_vec(),
    }
}

/// Every rule of a framework with the worst verdict of the requirements that map to it.
pub fn control_results(
    library: &Library,
    cluster: &Cluster,
    findings: &[Finding],
    framework: &str,
) -> Vec<ControlResult> {
    let selected = library.selected(cluster);
    let rules = library.catalogue(framework).map(|catalogue| catalogue.rules.as_slice()).unwrap_or_default();
    rules
        .iter()
        .map(|rule| {
            let maps = |id: &[String]| id.contains(&rule.id);
            let requirements: Vec<String> = selected
                .iter()
                .filter(|requirement| requirement.controls.get(framework).is_some_and(|ids| maps(ids)))
                .map(|requirement| requirement.id.clone())
                .collect();
            let mine = findings.iter().filter(|finding| requirements.contains(&finding.requirement));
            ControlResult {
                id: rule.id.clone(),
                title: rule.title.clone(),
                verdict: worst(mine).map_or("not-reviewed", |verdict| verdict.word()).to_owned(),
                requirements,
            }
        })
        .collect()
}
