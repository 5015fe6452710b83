//! A field of kubelet's configuration file, and the deprecated flag of the same meaning, which would win over it.

use kubezt_model::cluster::Role;
use kubezt_model::node::Read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command_line::{self, CommandLine};
use super::op::show;
use super::{Component, Expectation, Judged, NodeContext, Op};

/// Where kubelet's configuration lies; the place kubeadm chose and the STIG names.
pub const CONFIGURATION: &str = "/var/lib/kubelet/config.yaml";

/// What is wanted of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeletCheck {
    /// Dotted path in `KubeletConfiguration`; none where only the flag exists.
    #[serde(default)]
    pub field: Option<String>,
    /// How it is compared.
    pub op: Op,
    /// With what.
    #[serde(default)]
    pub value: Option<Value>,
    /// The flag of the same meaning, without dashes.
    #[serde(default)]
    pub cli_flag: Option<String>,
    /// What is to be said of that flag.
    #[serde(default)]
    pub cli: FlagRule,
    /// Whether a missing field passes because kubelet's own default complies.
    #[serde(default)]
    pub absent_ok: bool,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// What is to be said of a flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlagRule {
    /// It must not be given.
    #[default]
    Forbidden,
    /// It must be given, with a value that complies.
    Required,
    /// It may be given, with a value that complies.
    Allowed,
}

/// The configuration file and the process.
pub fn reads() -> Vec<Read> {
    vec![configuration_read(), Component::Kubelet.process_read()]
}

pub(super) fn configuration_read() -> Read {
    Read::File { path: CONFIGURATION.to_owned(), text: true }
}

/// The parsed configuration of the kubelet that is running.
///
/// # Errors
/// It could not be read, or the running kubelet takes its settings from elsewhere as well, so that the file alone
/// does not tell what holds.
pub(super) fn configuration(context: &NodeContext<'_>, lines: &[CommandLine]) -> Result<Value, String> {
    for line in lines {
        match line.value("config", false)? {
            Some(Value::String(path)) if path == CONFIGURATION => {}
            Some(path) => {
                return Err(format!("the running kubelet reads {} instead of {CONFIGURATION}", show(&path)));
            }
            None => return Err("the running kubelet has no --config".to_owned()),
        }
        if let Some(directory) = line.value("config-dir", false)? {
            return Err(format!(
                "the running kubelet merges files of {}, which are not judged",
                show(&directory)
            ));
        }
    }
    let document = command_line::parsed_file(context, &configuration_read())?;
    if document["kind"] != "KubeletConfiguration" {
        return Err(format!("{CONFIGURATION} does not hold a KubeletConfiguration"));
    }
    Ok(document)
}

pub(super) fn lines(context: &NodeContext<'_>) -> Result<Vec<CommandLine>, String> {
    let processes = command_line::processes(context, Component::Kubelet)?;
    Ok(processes.iter().map(command_line::of_process).collect())
}

impl KubeletCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.field.is_none() && self.cli_flag.is_none() {
            return Err("a kubelet check needs `field` or `cliFlag`".to_owned());
        }
        Expectation::new(self.op, self.value.as_ref()).map(drop)
    }

    /// Judges the field and the flag.
    ///
    /// # Errors
    /// Something could not be read or compared.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let value = self.value.as_ref().map(|value| context.terms.value(value)).transpose()?;
        let expectation = Expectation::new(self.op, value.as_ref())?;
        let lines = lines(context)?;
        let document = configuration(context, &lines)?;
        let mut judged = Vec::new();
        if let Some(field) = &self.field {
            let got = field
                .split('.')
                .try_fold(&document, |value, key| value.get(key))
                .filter(|value| !value.is_null());
            let holds = if got.is_none() && self.absent_ok { true } else { expectation.holds(got)? };
            let written = got.map_or_else(|| "not set".to_owned(), |value| format!("= {}", show(value)));
            judged.push(Judged::of(
                holds,
                format!("{field} with {} in {CONFIGURATION}", expectation.words()),
                format!("{CONFIGURATION}: {field} {written}"),
            ));
        }
        if let Some(flag) = &self.cli_flag {
            for line in &lines {
                judged.push(self.judge_flag(flag, &expectation, line)?);
            }
        }
        Ok(Judged::all(judged))
    }

    fn judge_flag(
        &self,
        flag: &str,
        expectation: &Expectation,
        line: &CommandLine,
    ) -> Result<Judged, String> {
        let value = line.value(flag, expectation.wants_switch())?;
        Ok(match (&value, self.cli) {
            (None, FlagRule::Required) => Judged::fail(
                format!("--{flag} with {}", expectation.words()),
                format!("running kubelet: --{flag} not given"),
            ),
            (None, _) => Judged::pass(format!("running kubelet: --{flag} not given")),
            (Some(value), FlagRule::Forbidden) => Judged::fail(
                format!("--{flag} not given"),
                format!("running kubelet: --{flag} = {}", show(value)),
            ),
            (Some(value), _) => Judged::of(
                expectation.holds(Some(value))?,
                format!("--{flag} with {}", expectation.words()),
                format!("running kubelet: --{flag} = {}", show(value)),
            ),
        })
    }
}
