//! The whole result as one JSON document.

use std::collections::BTreeMap;

use kubezt_model::desired::Cluster;
use kubezt_model::finding::{Finding, Verdict};
use serde::{Deserialize, Serialize};

use super::deviations::{self, Deviation};
use super::{Counts, worst};
use crate::library::{Library, Severity};

/// Verdict of a rule for which the profile excludes a requirement.
pub const EXCLUDED: &str = "excluded";

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
    /// What the profile leaves out or meets less than fully, and why.
    pub deviations: Vec<Deviation>,
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
    /// The worst verdict of its requirements, as a word; `excluded` where the profile leaves out a
    /// requirement it needs and nothing worse was seen, `not-reviewed` where no requirement of the profile
    /// maps to it.
    pub verdict: String,
    /// Why it is excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
    let controls = library
        .frameworks_of(&cluster.profile)
        .into_iter()
        .map(|name| (name.to_owned(), control_results(library, cluster, findings, name)));
    Document {
        cluster: cluster.name.to_string(),
        kubernetes: cluster.kubernetes_version.to_string(),
        profile: cluster.profile.clone(),
        at,
        counts,
        compliant: counts.is_compliant(),
        deviations: deviations::of(library, &cluster.profile),
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
            let worst = worst(mine);
            // What failed is worse than what nobody looked at.
            let excluded = library
                .excluded_rule(&cluster.profile, framework, &rule.id)
                .filter(|_| !worst.is_some_and(Verdict::is_failure));
            let verdict = match excluded {
                Some(_) => EXCLUDED,
                None => worst.map_or("not-reviewed", Verdict::word),
            };
            ControlResult {
                id: rule.id.clone(),
                title: rule.title.clone(),
                verdict: verdict.to_owned(),
                reason: excluded.map(|(_, exclusion)| exclusion.reason.trim().to_owned()),
                requirements,
            }
        })
        .collect()
}
