//! Whether a setting of a profile is as strict as what a requirement sets.

use kubezt_model::Mode;
use serde_json::Value;

use super::Requirement;
use crate::check::of_setting;
use crate::resolve::merge::Entry;

/// Pod Security levels, the strictest last.
const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];

/// Whether `entry`, which has the last word, is known to keep what the requirement is about: it says the
/// same, it only adds to what was to be added to, fewer may do less by it, or every check of the requirement
/// that looks at the setting holds for it.
pub fn keeps(requirement: &Requirement, wanted: &Entry, entry: &Entry) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if wanted.add {
        let (all, new) = (list(&wanted.value), list(&entry.value));
        return entry.add || all.iter().all(|item| new.contains(item));
    }
    let value = if entry.add {
        Value::Array([list(&wanted.value), list(&entry.value)].concat())
    } else {
        entry.value.clone()
    };
    if value == wanted.value || is_tighter(&wanted.keys, &wanted.value, &value) {
        return true;
    }
    let checks = requirement.check.iter();
    let held: Vec<bool> =
        checks.filter_map(|check| of_setting::would_hold(check, &entry.keys, &value)).collect();
    !held.is_empty() && held.iter().all(|holds| *holds)
}

/// File modes without a bit more, Pod Security levels that are as high, exemptions without one more.
fn is_tighter(keys: &[String], wanted: &Value, value: &Value) -> bool {
    match (keys.first().map(String::as_str), wanted, value) {
        (Some("files"), Value::String(wanted), Value::String(value)) => {
            match (wanted.parse::<Mode>(), value.parse::<Mode>()) {
                (Ok(wanted), Ok(value)) => value.bits() & !wanted.bits() == 0,
                _ => false,
            }
        }
        (Some("podSecurity"), Value::String(wanted), Value::String(value)) => {
            let level = |name: &str| LEVELS.iter().position(|level| *level == name);
            level(value).is_some() && level(value) >= level(wanted)
        }
        (Some("podSecurity"), Value::Array(wanted), Value::Array(value)) => {
            value.iter().all(|item| wanted.contains(item))
        }
        _ => false,
    }
}
