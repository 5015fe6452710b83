//! A command-line argument of a component: of the running process and of the manifest on disk, which must agree.

use kubezt_model::node::Read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command_line::{self, CommandLine};
use super::op::show;
use super::{Component, Expectation, Judged, NodeContext, Op};

/// What is wanted of an argument.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArgumentCheck {
    /// Whose argument.
    pub component: Component,
    /// Name without dashes.
    pub argument: String,
    /// How it is compared.
    pub op: Op,
    /// With what.
    #[serde(default)]
    pub value: Option<Value>,
    /// Whether leaving the argument out is a finding even where the built-in default would do. Scanners and the STIG
    /// read what is written, so this is the rule.
    #[serde(default = "yes")]
    pub explicit: bool,
}

const fn yes() -> bool {
    true
}

impl ArgumentCheck {
    /// Whether operator and value fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.argument.starts_with('-') || self.argument.is_empty() {
            return Err(format!("`argument: {}` is written without dashes", self.argument));
        }
        Expectation::new(self.op, self.value.as_ref()).map(drop)
    }

    /// The process, and the manifest where there is one.
    pub fn reads(&self) -> Vec<Read> {
        [Some(self.component.process_read()), self.component.manifest_read()].into_iter().flatten().collect()
    }

    /// Judges the running process first, then the manifest, then that they agree.
    ///
    /// # Errors
    /// Something could not be read or compared.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let value = self.value.as_ref().map(|value| context.terms.value(value)).transpose()?;
        let expectation = Expectation::new(self.op, value.as_ref())?;
        let processes = command_line::processes(context, self.component)?;
        let mut judged = Vec::new();
        let mut seen = Vec::new();
        for process in processes {
            let place = format!("running {}", self.component.name());
            let (one, value) = self.judge_line(&expectation, &place, &command_line::of_process(process))?;
            judged.push(one);
            seen.push(value);
        }
        if self.component.manifest_read().is_some() {
            let line = command_line::of_manifest(context, self.component)?;
            let place = format!("manifest of {}", self.component.name());
            let (one, value) = self.judge_line(&expectation, &place, &line)?;
            judged.push(one);
            if let Some(other) = seen.iter().find(|seen| **seen != value) {
                judged.push(Judged::fail(
                    format!("--{} the same in the running process and in the manifest", self.argument),
                    format!("running {}, manifest {}", written(other.as_ref()), written(value.as_ref())),
                ));
            }
        }
        Ok(Judged::all(judged))
    }

    fn judge_line(
        &self,
        expectation: &Expectation,
        place: &str,
        line: &CommandLine,
    ) -> Result<(Judged, Option<Value>), String> {
        let wanted = format!("--{} with {}", self.argument, expectation.words());
        let value = match line.value(&self.argument, expectation.wants_switch()) {
            Ok(value) => value,
            Err(problem) => return Ok((Judged::fail(wanted, format!("{place}: {problem}")), None)),
        };
        let holds = match &value {
            None if !self.explicit => true,
            value => expectation
                .holds(value.as_ref())
                .map_err(|error| format!("{place}, --{}: {error}", self.argument))?,
        };
        let got = format!("{place}: --{} {}", self.argument, written(value.as_ref()));
        Ok((Judged::of(holds, wanted, got), value))
    }
}

fn written(value: Option<&Value>) -> String {
    value.map_or_else(|| "not given".to_owned(), |value| format!("= {}", show(value)))
}
