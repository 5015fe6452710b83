//! What was found, and what to do about it.

use std::fmt;

use kubezt_model::NodeName;
use serde::Serialize;

use super::checks::Check;

/// How bad it is. Errors come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// An install would fail, or destroy something.
    Error,
    /// An install may go well, and somebody should know.
    Warning,
    /// It is so, and left as it is.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Id of the check.
    pub id: &'static str,
    /// What the check is about.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Nodes it concerns; none for the cluster as a whole.
    pub nodes: Vec<NodeName>,
    /// What was found.
    pub what: String,
    /// What to do about it; empty for notes.
    pub remedy: String,
}

impl Finding {
    pub(super) fn of(check: &Check, remark: Remark) -> Self {
        let Remark { severity, nodes, what, remedy } = remark;
        Self { id: check.id, title: check.title, severity, nodes, what, remedy }
    }
}

/// A finding as its check words it, which does not repeat who the check is.
#[derive(Debug)]
pub(crate) struct Remark {
    pub severity: Severity,
    pub nodes: Vec<NodeName>,
    pub what: String,
    pub remedy: String,
}

impl Remark {
    pub fn new<'a>(
        severity: Severity,
        nodes: impl IntoIterator<Item = &'a NodeName>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let nodes = nodes.into_iter().cloned().collect();
        Self { severity, nodes, what: what.into(), remedy: remedy.into() }
    }

    pub fn error(node: &NodeName, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Error, [node], what, remedy)
    }

    pub fn warning(node: &NodeName, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Severity::Warning, [node], what, remedy)
    }

    pub fn note(node: &NodeName, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, [node], what, "")
    }
}
