//! The privileges of a running process.

use kubezt_model::node::{ProcessReading, Read};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Component, Judged, NodeContext, command_line};

/// What is wanted of a component's processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessCheck {
    /// Whose process.
    pub component: Component,
    /// The user id it must run as; `${etcd.uid}` refers to a setting.
    #[serde(default)]
    pub uid: Option<Value>,
    /// Whether it must hold no capability at all.
    #[serde(default)]
    pub no_capabilities: bool,
    /// Whether a seccomp filter must confine it.
    #[serde(default)]
    pub seccomp: bool,
}

/// Seccomp mode 2: a filter is loaded (proc_pid_status(5)).
const FILTERED: u8 = 2;

impl ProcessCheck {
    /// Whether it says anything.
    ///
    /// # Errors
    /// It does not.
    pub fn validate(&self) -> Result<(), String> {
        if self.uid.is_none() && !self.no_capabilities && !self.seccomp {
            return Err("a process check needs `uid`, `noCapabilities` or `seccomp`".to_owned());
        }
        Ok(())
    }

    /// The processes.
    pub fn reads(&self) -> Vec<Read> {
        vec![self.component.process_read()]
    }

    /// Judges every process of the component.
    ///
    /// # Errors
    /// None was read or none runs.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let uid = self.uid.as_ref().map(|uid| context.terms.value(uid)).transpose()?;
        let mut judged = Vec::new();
        for process in command_line::processes(context, self.component)? {
            judged.extend(self.judge_process(process, uid.as_ref())?);
        }
        Ok(Judged::all(judged))
    }

    fn judge_process(&self, process: &ProcessReading, uid: Option<&Value>) -> Result<Vec<Judged>, String> {
        let name = self.component.name();
        let mut judged = Vec::new();
        if let Some(uid) = uid {
            let wanted = uid.as_u64().ok_or_else(|| format!("{uid} is not a user id"))?;
            judged.push(Judged::of(
                u64::from(process.uid) == wanted,
                format!("{name} running as user {wanted}"),
                format!("{name} runs as user {}", process.uid),
            ));
        }
        if self.no_capabilities {
            let mask = process.capabilities.trim();
            let bits =
                u64::from_str_radix(mask, 16).map_err(|_| format!("`{mask}` is not a capability mask"))?;
            judged.push(Judged::of(
                bits == 0,
                format!("{name} without capabilities"),
                format!("{name} holds capabilities {bits:016x}"),
            ));
        }
        if self.seccomp {
            judged.push(Judged::of(
                process.seccomp == FILTERED,
                format!("{name} under a seccomp filter"),
                format!("{name} has seccomp mode {}", process.seccomp),
            ));
        }
        Ok(judged)
    }
}
