//! What checks may refer to instead of repeating it: `${apiServer.arguments.audit-policy-file}` is the setting,
//! `${cluster.kubernetesVersion}` a fact of the cluster.

use kubezt_model::desired::Cluster;
use serde_json::Value;

use super::op::show;
use crate::settings_path::{lookup, split};

/// Settings and cluster, ready to be looked up.
#[derive(Debug, Clone)]
pub struct Terms {
    settings: Value,
    cluster: Value,
}

impl Terms {
    /// The terms of this cluster.
    pub fn new(cluster: &Cluster) -> Self {
        // A value that cannot be expressed becomes null, and every reference to it an error.
        Self {
            settings: serde_json::to_value(&cluster.settings).unwrap_or_default(),
            cluster: serde_json::to_value(cluster).unwrap_or_default(),
        }
    }

    /// Terms of nothing, for tests of checks that refer to nothing.
    #[cfg(test)]
    pub fn empty() -> Self {
        Self { settings: Value::Null, cluster: Value::Null }
    }

    fn resolve(&self, name: &str) -> Result<&Value, String> {
        let found = match name.strip_prefix("cluster.") {
            Some(path) => lookup(&self.cluster, &split(path)),
            None => lookup(&self.settings, &split(name)),
        };
        found.filter(|value| !value.is_null()).ok_or_else(|| format!("setting `{name}` has no value here"))
    }

    /// A text with every `${…}` replaced.
    ///
    /// # Errors
    /// A reference to something that has no value, or that is not closed.
    pub fn text(&self, template: &str) -> Result<String, String> {
        let mut result = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) =
                after.split_once('}').ok_or_else(|| format!("`{template}` has a `${{` without `}}`"))?;
            result.push_str(before);
            result.push_str(&show(self.resolve(name)?));
            rest = tail;
        }
        Ok(result + rest)
    }

    /// A value; where it is nothing but one reference, the referred value with its type.
    ///
    /// # Errors
    /// As [`Terms::text`].
    pub fn value(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !name.contains("${") => self.resolve(name).cloned(),
                _ => self.text(text).map(Value::String),
            },
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            other => Ok(other.clone()),
        }
    }
}
