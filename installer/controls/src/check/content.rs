//! Values inside a YAML or JSON file on a node.

use kubezt_model::cluster::Role;
use kubezt_model::node::Read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::op::show;
use super::{Expectation, Judged, NodeContext, Op, Terms, ValuePath, command_line};

/// What is wanted of a file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContentCheck {
    /// Absolute path; `${…}` refers to a setting.
    pub path: String,
    /// Statements about its values; all must hold.
    pub values: Vec<Statement>,
    /// Whether the file holds secrets: then values never appear as evidence, only key names and counts.
    #[serde(default)]
    pub secret: bool,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// A statement about the values a path leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// Where the values are.
    pub at: ValuePath,
    /// How each is compared.
    pub op: Op,
    /// With what.
    #[serde(default)]
    pub value: Option<Value>,
    /// Whether no value at all holds as well.
    #[serde(default)]
    pub optional: bool,
}

impl Statement {
    /// Whether operator and value fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        Expectation::new(self.op, self.value.as_ref())
            .map(drop)
            .map_err(|error| format!("`{}`: {error}", self.at))
    }

    pub(super) fn expectation(&self, terms: &Terms) -> Result<Expectation, String> {
        let value = self.value.as_ref().map(|value| terms.value(value)).transpose()?;
        Expectation::new(self.op, value.as_ref())
    }

    /// Whether every value the path leads to holds.
    pub(super) fn holds(&self, expectation: &Expectation, root: &Value) -> Result<bool, String> {
        let values = self.at.select(root);
        if values.is_empty() {
            return if self.optional { Ok(true) } else { expectation.holds(None) };
        }
        for value in &values {
            if !expectation.holds(Some(value))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values in words; hidden where they could be secret.
    pub(super) fn seen(&self, root: &Value, secret: bool) -> String {
        let values = self.at.select(root);
        if values.is_empty() {
            "not there".to_owned()
        } else if secret && !self.at.shows_no_values() {
            "(hidden)".to_owned()
        } else {
            values.iter().map(|value| show(value)).collect::<Vec<_>>().join(" and ")
        }
    }
}

impl ContentCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.values.is_empty() {
            return Err("a content check needs `values`".to_owned());
        }
        self.values.iter().try_for_each(Statement::validate)
    }

    /// The file with its text.
    pub fn reads(&self, terms: &Terms) -> Vec<Read> {
        let path = terms.text(&self.path);
        path.map(|path| vec![Read::File { path, text: true }]).unwrap_or_default()
    }

    /// Judges every statement.
    ///
    /// # Errors
    /// The file could not be read or parsed, or values cannot be compared.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let path = context.terms.text(&self.path)?;
        let document = command_line::parsed_file(context, &Read::File { path: path.clone(), text: true })?;
        let mut judged = Vec::new();
        for statement in &self.values {
            let expectation = statement.expectation(context.terms)?;
            let holds = statement.holds(&expectation, &document).map_err(|error| {
                if self.secret {
                    format!("{path}: {} cannot be compared", statement.at)
                } else {
                    format!("{path}: {error}")
                }
            })?;
            judged.push(Judged::of(
                holds,
                format!("{} with {} in {path}", statement.at, expectation.words()),
                format!("{path}: {} {}", statement.at, statement.seen(&document, self.secret)),
            ));
        }
        Ok(Judged::all(judged))
    }
}
