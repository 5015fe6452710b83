//! The version a program reports of itself.

use kubezt_model::node::{Read, Reading};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Expectation, Judged, NodeContext, Op, unexpected};

/// What is wanted of a program's version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionCheck {
    /// Absolute path of the program.
    pub program: String,
    /// Arguments that make it print its version.
    pub arguments: Vec<String>,
    /// How it is compared.
    pub op: Op,
    /// With what.
    #[serde(default)]
    pub value: Option<Value>,
    /// A program that is not there does not apply.
    #[serde(default)]
    pub if_exists: bool,
}

impl VersionCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        Expectation::new(self.op, self.value.as_ref()).map(drop)
    }

    /// The program's own word.
    pub fn reads(&self) -> Vec<Read> {
        vec![Read::Version { program: self.program.clone(), arguments: self.arguments.clone() }]
    }

    /// Judges it.
    ///
    /// # Errors
    /// It could not be read, or names no version.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let read = Read::Version { program: self.program.clone(), arguments: self.arguments.clone() };
        let value = self.value.as_ref().map(|value| context.terms.value(value)).transpose()?;
        let expectation = Expectation::new(self.op, value.as_ref())?;
        let text = match context.reading(&read)? {
            Reading::Text(text) => text,
            Reading::Missing if self.if_exists => {
                return Ok(Judged::not_applicable(format!("{} is not installed", self.program)));
            }
            Reading::Missing => return Ok(Judged::fail(format!("{} installed", self.program), "it is not")),
            _ => return Err(unexpected(&read)),
        };
        let version = version_in(text).ok_or_else(|| format!("{} prints no version", self.program))?;
        let holds = expectation.holds(Some(&Value::String(version.to_string())))?;
        Ok(Judged::of(
            holds,
            format!("{} {}", self.program, expectation.words()),
            format!("{} reports {version}", self.program),
        ))
    }
}

/// The first version in a text: `Client Version: v1.36.3`, `{"gitVersion":"v1.36.3"}`.
pub(super) fn version_in(text: &str) -> Option<semver::Version> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    text.split(|c| !inside(c)).find_map(|word| semver::Version::parse(word.trim_start_matches('v')).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for text in
            ["Kubernetes v1.36.3", "{\"gitVersion\": \"v1.36.3\",\"goVersion\":\"go1.26\"}", "1.36.3\n"]
        {
            assert_eq!(version_in(text).unwrap().to_string(), "1.36.3", "{text}");
        }
        assert_eq!(version_in("none at 1.2"), None);
    }
}
