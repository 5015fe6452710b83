//! Behaviour tried for real. Every probe also tries what must succeed, so that a refusal means something.
//!
//! | module | what is tried |
//! |---|---|
//! | [`anonymous`] | a request without credentials |
//! | [`tls`] | old protocols and weak suites |
//! | [`admission`] | a privileged pod, a namespace that asks for less Pod Security |
//! | [`quota`] | what no quota covers, in a namespace made a second ago |
//! | [`at_rest`] | a Secret, read raw from etcd |
//! | [`audit`] | the record of a call just made |
//! | [`firewall`] | a node's ports, from a machine that is none |
//! | [`data_path`] | pods in a namespace made a second ago, and DNS |

pub mod admission;
pub mod anonymous;
pub mod at_rest;
pub mod audit;
pub mod data_path;
pub mod firewall;
pub mod hello;
pub mod pods;
pub mod quota;
pub mod tls;

/// What a probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// The behaviour is as wanted; what was seen.
    Held {
        /// One line.
        evidence: String,
    },
    /// It is not.
    Broken {
        /// What was wanted.
        wanted: String,
        /// What was seen.
        got: String,
    },
    /// It cannot be tried from here, and nothing is known.
    NotApplicable {
        /// Why.
        reason: String,
    },
}

impl ProbeResult {
    pub(crate) fn held(evidence: impl Into<String>) -> Self {
        Self::Held { evidence: evidence.into() }
    }

    pub(crate) fn broken(wanted: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Broken { wanted: wanted.into(), got: got.into() }
    }
}
