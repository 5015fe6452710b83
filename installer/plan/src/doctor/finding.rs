//! What was found, what it means, what to do about it, and what it follows from.

use std::cmp::Reverse;

use kubezt_model::NodeName;
use serde::Serialize;

use super::rules::Rule;
use crate::preflight::Severity;

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Id of the rule.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Nodes it concerns; none for the cluster as a whole.
    pub nodes: Vec<NodeName>,
    /// What was seen.
    pub what: String,
    /// What that means.
    pub means: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What units and containers said last, redacted.
    pub said: Vec<String>,
    /// Whether every node suffers from it, and not only those where it was seen.
    pub everywhere: bool,
    /// Position of the finding it follows from; `None` for a cause.
    pub because: Option<usize>,
}

/// A sign as a rule sees it, which does not repeat who the rule is.
#[derive(Debug)]
pub(super) struct Sign {
    pub severity: Severity,
    pub nodes: Vec<NodeName>,
    pub what: String,
    pub said: Vec<String>,
    pub everywhere: bool,
}

impl Sign {
    /// Something is wrong here.
    pub fn error<'a>(nodes: impl IntoIterator<Item = &'a NodeName>, what: impl Into<String>) -> Self {
        let nodes = nodes.into_iter().cloned().collect();
        Self { severity: Severity::Error, nodes, what: what.into(), said: Vec::new(), everywhere: false }
    }

    pub fn warning<'a>(nodes: impl IntoIterator<Item = &'a NodeName>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(nodes, what) }
    }

    pub fn note<'a>(nodes: impl IntoIterator<Item = &'a NodeName>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(nodes, what) }
    }

    pub fn saying(self, said: Vec<String>) -> Self {
        Self { said, ..self }
    }

    pub fn everywhere(self) -> Self {
        Self { everywhere: true, ..self }
    }
}

impl Finding {
    pub(super) fn of(rule: &Rule, sign: Sign) -> Self {
        let Sign { severity, nodes, what, said, everywhere } = sign;
        let (id, means, remedy) = (rule.id, rule.means, rule.remedy);
        Self { id, severity, nodes, what, means, remedy, said, everywhere, because: None }
    }

    /// Which of the earlier findings brings this one about: of the rules it follows from, the first that was found on one of the
    /// same nodes, or that every node suffers from.
    pub(super) fn cause(&self, earlier: &[Self], rule: &Rule) -> Option<usize> {
        let concerns = |cause: &Self| {
            let same = || self.nodes.iter().any(|node| cause.nodes.contains(node));
            cause.severity != Severity::Note && (cause.everywhere || self.nodes.is_empty() || same())
        };
        let of = |id: &&str| earlier.iter().position(|cause| cause.id == *id && concerns(cause));
        rule.follows.iter().find_map(of)
    }
}

/// Causes by how bad they are and how much follows from them, each with all that does, in the order of the rules.
pub(super) fn ordered(findings: Vec<Finding>) -> Vec<Finding> {
    // Only earlier ones are causes, so this ends.
    let root = |mut at: usize| {
        while let Some(cause) = findings[at].because {
            at = cause;
        }
        at
    };
    let roots: Vec<usize> = (0..findings.len()).map(root).collect();
    let followers = |root: usize| roots.iter().filter(|one| **one == root).count();
    let mut order: Vec<usize> = (0..findings.len()).collect();
    order.sort_by_key(|at| {
        let root = roots[*at];
        (findings[root].severity, Reverse(followers(root)), root, *at)
    });
    let place = |at: usize| order.iter().position(|one| *one == at);
    order
        .iter()
        .map(|at| Finding { because: findings[*at].because.and_then(place), ..findings[*at].clone() })
        .collect()
}
