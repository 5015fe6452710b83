//! Evidence and verdicts.

use serde::{Deserialize, Serialize};

use crate::names::NodeName;

/// What a requirement came to, on one node or for the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Requirement id.
    pub requirement: String,
    /// Node, or `None` for the cluster as a whole.
    pub node: Option<NodeName>,
    /// How it was judged.
    pub method: Method,
    /// Verdict.
    pub verdict: Verdict,
    /// What the verdict rests on, in words, one line each; never a secret.
    pub evidence: Vec<String>,
}

/// How a requirement was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// State was read and compared (OSCAL: EXAMINE).
    Check,
    /// Behaviour was tried (OSCAL: TEST).
    Probe,
}

/// The verdicts, in words that do not flatter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail {
        /// What was wanted.
        wanted: String,
        /// What was seen.
        got: String,
    },
    /// It cannot apply here, and why.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// It does not hold, and somebody answers for that.
    Accepted {
        /// Why.
        reason: String,
        /// Who.
        owner: String,
        /// Last day; `None` where the profile itself accepts it, for as long as it says so.
        expires: Option<jiff::civil::Date>,
        /// What was wanted.
        wanted: String,
        /// What was seen.
        got: String,
    },
    /// A person has to decide.
    Manual {
        /// The question to answer.
        question: String,
    },
    /// It could not be judged; never green.
    Error {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Order of badness, the worst last: the verdict of a group is its worst.
    pub const fn badness(&self) -> u8 {
        match self {
            Self::NotApplicable { .. } => 0,
            Self::Pass => 1,
            Self::Manual { .. } => 2,
            Self::Accepted { .. } => 3,
            Self::Fail { .. } => 4,
            Self::Error { .. } => 5,
        }
    }

    /// Whether this verdict makes a run non-compliant.
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Fail { .. } | Self::Error { .. })
    }

    /// The word used in tables.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::NotApplicable { .. } => "n/a",
            Self::Accepted { .. } => "accepted",
            Self::Manual { .. } => "manual",
            Self::Error { .. } => "error",
        }
    }
}
