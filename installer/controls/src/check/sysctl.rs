//! Kernel parameters as they are now.

use kubezt_model::node::{Read, Reading};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::op::show;
use super::{Judged, NodeContext, unexpected};

/// What is wanted of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SysctlCheck {
    /// Name with dots.
    pub key: String,
    /// The value it must have.
    pub value: Value,
}

impl SysctlCheck {
    /// The parameter.
    pub fn reads(&self) -> Vec<Read> {
        vec![Read::Sysctl { key: self.key.clone() }]
    }

    /// Judges it.
    ///
    /// # Errors
    /// It could not be read.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let read = Read::Sysctl { key: self.key.clone() };
        let wanted = show(&context.terms.value(&self.value)?);
        let got = match context.reading(&read)? {
            // Several numbers are separated by tabs in /proc.
            Reading::Text(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Reading::Missing => return Err(format!("this kernel has no parameter {}", self.key)),
            _ => return Err(unexpected(&read)),
        };
        Ok(Judged::of(got == wanted, format!("{} = {wanted}", self.key), format!("{} = {got}", self.key)))
    }
}
