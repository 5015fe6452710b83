//! Findings for people and for programs.

pub mod comparison;
pub mod deviations;
pub mod explain;
pub mod json;
pub mod profile;
pub mod table;

use kubezt_model::desired::Cluster;
use kubezt_model::finding::{Finding, Verdict};
use serde::{Deserialize, Serialize};

use crate::library::{Library, Requirement};

/// The result as text, worst first; with `all` also what passed, and all evidence.
pub fn table(library: &Library, cluster: &Cluster, findings: &[Finding], all: bool) -> String {
    let detail = if all { table::Detail::All } else { table::Detail::Findings };
    table::write(library, cluster, findings, detail)
}

/// The result as one JSON text (see [`json::Document`]).
pub fn json(library: &Library, cluster: &Cluster, findings: &[Finding], at: jiff::Timestamp) -> String {
    let document = json::document(library, cluster, findings, at);
    // Every key of the document is text and every value finite, so that it can be written.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// A requirement in words.
pub fn explain(requirement: &Requirement) -> String {
    explain::write(None, requirement)
}

/// How many findings there are of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Holds.
    pub pass: usize,
    /// Does not hold.
    pub fail: usize,
    /// Could not be judged.
    pub error: usize,
    /// Does not hold and is accepted.
    pub accepted: usize,
    /// A person decides.
    pub manual: usize,
    /// Cannot apply.
    pub not_applicable: usize,
}

impl Counts {
    /// Counts findings.
    pub fn of(findings: &[Finding]) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            *match finding.verdict {
                Verdict::Pass => &mut counts.pass,
                Verdict::Fail { .. } => &mut counts.fail,
                Verdict::Error { .. } => &mut counts.error,
                Verdict::Accepted { .. } => &mut counts.accepted,
                Verdict::Manual { .. } => &mut counts.manual,
                Verdict::NotApplicable { .. } => &mut counts.not_applicable,
            } += 1;
        }
        counts
    }

    /// Whether nothing failed and everything could be judged.
    pub const fn is_compliant(&self) -> bool {
        self.fail == 0 && self.error == 0
    }
}

/// The worst verdict among findings; `None` where there are none.
pub fn worst<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Option<&'a Verdict> {
    findings.into_iter().map(|finding| &finding.verdict).max_by_key(|verdict| verdict.badness())
}
