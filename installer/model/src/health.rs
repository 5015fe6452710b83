//! What is looked at where a node is not well: containers, memory, etcd, API servers.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReading {
    /// Namespace of its pod.
    pub namespace: String,
    /// Its pod, as the API names it: static pods end with the node's name.
    pub pod: String,
    /// Name in the pod.
    pub name: String,
    /// What it does now.
    pub state: ContainerState,
    /// How often it was started again.
    pub restarts: u32,
    /// Its last lines where it does not run, otherwise those of the time before it was started again; redacted.
    pub said: Vec<String>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum ContainerState {
    /// It runs.
    Running,
    /// It was made and not started.
    Created,
    /// It ended.
    Exited {
        /// Exit code; 128 and more is a signal.
        code: i32,
        /// What the runtime says, such as `OOMKilled`; empty where it says nothing.
        reason: String,
    },
    /// The runtime says it runs, and it has no process: the node was started anew, or somebody ended it.
    Gone,
    /// The runtime does not tell.
    Unknown,
}

impl fmt::Display for ContainerState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => formatter.write_str("runs"),
            Self::Created => formatter.write_str("was made and not started"),
            Self::Exited { code, reason } if reason.is_empty() => write!(formatter, "ended with code {code}"),
            Self::Exited { code, reason } => write!(formatter, "ended with code {code} ({reason})"),
            Self::Gone => formatter.write_str("has no process"),
            Self::Unknown => formatter.write_str("is in an unknown state"),
        }
    }
}

/// Memory of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReading {
    /// All of it, in bytes.
    pub total: u64,
    /// What can be had without swapping, in bytes (`MemAvailable` of proc(5)).
    pub available: u64,
    /// Processes the kernel has ended since the boot because there was none.
    pub killed: u64,
}

/// A member of etcd as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdStatusReading {
    /// Id of the leader it knows; 0 for none.
    pub leader: u64,
    /// Last entry of its log that is committed.
    pub committed: u64,
    /// Last entry it has applied.
    pub applied: u64,
    /// What it complains of, such as an alarm.
    pub errors: Vec<String>,
}

/// What an API server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServerReading {
    /// Where it was asked.
    pub address: SocketAddr,
    /// What it said.
    pub answer: ApiServerAnswer,
}

/// How an API server answered `/readyz?verbose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiServerAnswer {
    /// It is ready.
    Ready,
    /// It is not: these of its checks fail.
    Failing(Vec<String>),
    /// It answered with this status, which says nothing of its readiness.
    Refused(u16),
    /// It did not answer: why.
    Silent(String),
}

impl fmt::Display for ApiServerAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => formatter.write_str("is ready"),
            Self::Failing(checks) => write!(formatter, "is not ready: {} fails", checks.join(", ")),
            Self::Refused(status) => write!(formatter, "answers with status {status}"),
            Self::Silent(why) => write!(formatter, "does not answer: {why}"),
        }
    }
}
