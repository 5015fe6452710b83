//! Merging settings: defaults ← requirements ← profiles ← `cluster.yaml`.

use kubezt_model::settings::Settings;
use serde_json::{Map, Value};

use crate::nearest::nearest;
use crate::settings_path::{is_free, lookup, put, split};

/// One value for one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The place.
    pub keys: Vec<String>,
    /// Whether the values are added to the list that is there.
    pub add: bool,
    /// The value.
    pub value: Value,
}

impl Entry {
    /// The place as it is written.
    pub fn path(&self) -> String {
        self.keys.join(".")
    }
}

/// Why a settings entry is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingProblem {
    /// No such setting.
    #[error("there is no setting `{path}`{}", hint(.nearest.as_deref()))]
    Unknown {
        /// As written.
        path: String,
        /// The valid name that is nearest.
        nearest: Option<String>,
    },
    /// The value does not fit.
    #[error("setting `{path}`: {message}")]
    WrongType {
        /// As written.
        path: String,
        /// What would fit.
        message: String,
    },
}

impl SettingProblem {
    /// The setting as it was written.
    pub fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. } | Self::WrongType { path, .. } => path,
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Turns written settings (dotted paths at the top, maps below) into one entry for each value.
pub fn flatten(settings: &Map<String, Value>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (written, value) in settings {
        let (path, add) = match written.strip_suffix('+') {
            Some(path) => (path, true),
            None => (written.as_str(), false),
        };
        descend(split(path), value, add, &mut entries);
    }
    entries
}

fn descend(keys: Vec<String>, value: &Value, add: bool, entries: &mut Vec<Entry>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (written, inner) in map {
                let (key, add) = match written.strip_suffix('+') {
                    Some(key) => (key, true),
                    None => (written.as_str(), add),
                };
                descend(keys.iter().cloned().chain([key.to_owned()]).collect(), inner, add, entries);
            }
        }
        _ => entries.push(Entry { value: coerced(&keys, value), keys, add }),
    }
}

/// Kernel parameters are text; writing `1` in YAML means the text `1`.
fn coerced(keys: &[String], value: &Value) -> Value {
    match value {
        Value::Number(number) if keys.first().is_some_and(|key| key == "host") && keys.len() == 3 => {
            Value::String(number.to_string())
        }
        _ => value.clone(),
    }
}

/// Applies one entry.
///
/// # Errors
/// The value of an added entry, or what it is added to, is not a list.
pub fn apply(settings: &mut Value, entry: &Entry) -> Result<(), SettingProblem> {
    if !entry.add {
        put(settings, &entry.keys, entry.value.clone());
        return Ok(());
    }
    let wrong = |message: &str| SettingProblem::WrongType { path: entry.path(), message: message.to_owned() };
    let Value::Array(added) = &entry.value else {
        return Err(wrong("a path that ends in `+` takes a list"));
    };
    let mut list = match lookup(settings, &entry.keys) {
        None => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(_) => return Err(wrong("only a list can be added to")),
    };
    for item in added {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
    put(settings, &entry.keys, Value::Array(list));
    Ok(())
}

/// What is wrong with written settings, each on its own, measured against the defaults.
pub fn problems(defaults: &Value, settings: &Map<String, Value>) -> Vec<SettingProblem> {
    let mut found = Vec::new();
    for entry in flatten(settings) {
        if let Some(problem) = unknown(defaults, &entry.keys) {
            found.push(problem);
            continue;
        }
        let mut trial = defaults.clone();
        if let Err(problem) = apply(&mut trial, &entry) {
            found.push(problem);
        } else if let Err(error) = serde_json::from_value::<Settings>(trial) {
            found.push(SettingProblem::WrongType { path: entry.path(), message: error.to_string() });
        }
    }
    found
}

/// Walks the defaults, which name every setting there is.
fn unknown(defaults: &Value, keys: &[String]) -> Option<SettingProblem> {
    let mut place = defaults;
    for (depth, key) in keys.iter().enumerate() {
        if is_free(&keys[..depth]) {
            return None;
        }
        match place.get(key) {
            Some(next) => place = next,
            None => {
                let near = place.as_object().and_then(|map| nearest(key, map.keys().map(String::as_str)));
                let full = |name: &str| {
                    let mut keys = keys.to_vec();
                    keys[depth] = name.to_owned();
                    keys.join(".")
                };
                return Some(SettingProblem::Unknown { path: keys.join("."), nearest: near.map(full) });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn dotted_and_nested_mean_the_same() {
        let dotted = flatten(&map(json!({"kubelet.configuration.evictionHard.memory.available": "5%"})));
        let nested = flatten(&map(
            json!({"kubelet": {"configuration": {"evictionHard": {"memory.available": "5%"}}}}),
        ));
        assert_eq!(dotted, nested);
    }

    #[test]
    fn a_plus_adds_to_a_list_once() {
        let mut settings = json!({"a": {"list": ["x"]}});
        for entry in flatten(&map(json!({"a.list+": ["x", "y"]}))) {
            apply(&mut settings, &entry).unwrap();
        }
        assert_eq!(settings["a"]["list"], json!(["x", "y"]));
        assert!(apply(&mut settings, &flatten(&map(json!({"a.list+": "z"})))[0]).is_err());
    }

    #[test]
    fn kernel_parameters_are_text() {
        assert_eq!(flatten(&map(json!({"host.sysctls.kernel.panic": 10})))[0].value, json!("10"));
    }
}
