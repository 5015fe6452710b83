//! What a run reports while it happens. Bars, plain lines, JSON and the journal all read this one stream.

use serde::{Deserialize, Serialize};

use crate::names::NodeName;
use crate::plan::StepId;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// How many steps it has.
        steps: usize,
        /// Who began it: `user@host`; empty in journals of before it was written down.
        #[serde(default)]
        operator: String,
    },
    /// A step began.
    StepStarted {
        /// Step.
        step: StepId,
        /// Its node.
        node: Option<NodeName>,
        /// What it does.
        title: String,
    },
    /// Something inside a step went on; may be dropped without loss.
    Progress {
        /// Step.
        step: StepId,
        /// Its node.
        node: Option<NodeName>,
        /// What is being done or waited for.
        message: String,
    },
    /// A step ended.
    StepFinished {
        /// Step.
        step: StepId,
        /// Its node.
        node: Option<NodeName>,
        /// How.
        result: StepResult,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// What the units and containers of a failed step said last, redacted.
    LastWords {
        /// Step.
        step: StepId,
        /// Its node.
        node: Option<NodeName>,
        /// Who, and what it said, a line each.
        lines: Vec<String>,
    },
    /// Something a person should know.
    Warning {
        /// Node it concerns.
        node: Option<NodeName>,
        /// What.
        message: String,
    },
    /// What a node cost on the wire, the program that was brought to it included.
    NodeCost {
        /// Node.
        node: NodeName,
        /// Bytes sent to it, before SSH's own additions.
        bytes_sent: u64,
        /// Bytes received from it.
        bytes_received: u64,
        /// Questions that were waited for.
        round_trips: u64,
    },
    /// The run ended.
    RunFinished {
        /// Steps that changed something.
        changed: usize,
        /// Steps that failed.
        failed: usize,
        /// Steps that did not run because another failed.
        skipped: usize,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// It changed this many things.
    Changed(usize),
    /// All was so already.
    Unchanged,
    /// It failed: cause chain, outermost first.
    Failed(String),
    /// It did not run, because this step failed.
    Skipped(StepId),
}
