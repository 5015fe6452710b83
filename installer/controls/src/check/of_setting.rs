//! Checks of a single setting: what can be said of a value before anything is read, and whether it is what
//! runs.

use serde_json::Value;

use super::argument::ArgumentCheck;
use super::kubelet::{FlagRule, KubeletCheck};
use super::sysctl::SysctlCheck;
use super::{Check, Component, Expectation, Op};

/// Settings that hold the arguments of a component.
const ARGUMENTS: [(&str, Component); 4] = [
    ("apiServer", Component::KubeApiserver),
    ("controllerManager", Component::KubeControllerManager),
    ("scheduler", Component::KubeScheduler),
    ("etcd", Component::Etcd),
];

/// The component and argument that a setting is about.
fn argument(keys: &[String]) -> Option<(Component, &str)> {
    let [section, arguments, name] = keys else { return None };
    let (_, component) = ARGUMENTS.iter().find(|(known, _)| known == section)?;
    (arguments == "arguments").then_some((*component, name.as_str()))
}

/// The field of kubelet's configuration that a setting is about.
fn kubelet_field(keys: &[String]) -> Option<String> {
    match keys {
        [section, configuration, field @ ..]
            if section == "kubelet" && configuration == "configuration" && !field.is_empty() =>
        {
            Some(field.join("."))
        }
        _ => None,
    }
}

/// The kernel parameter that a setting is about.
fn sysctl(keys: &[String]) -> Option<&str> {
    match keys {
        [section, sysctls, key] if section == "host" && sysctls == "sysctls" => Some(key),
        _ => None,
    }
}

/// Whether a check would hold for this value of this setting; `None` where it is about something else, or
/// where only a look at what runs could tell.
pub fn would_hold(check: &Check, keys: &[String], value: &Value) -> Option<bool> {
    let (op, wanted) = match check {
        Check::Argument(check) if argument(keys) == Some((check.component, check.argument.as_str())) => {
            (check.op, check.value.as_ref())
        }
        Check::Kubelet(check) if check.field.is_some() && kubelet_field(keys) == check.field => {
            (check.op, check.value.as_ref())
        }
        Check::Sysctl(check) if sysctl(keys) == Some(&check.key) => (Op::Equals, Some(&check.value)),
        _ => return None,
    };
    if wanted.is_some_and(|wanted| wanted.to_string().contains("${")) {
        return None;
    }
    Expectation::new(op, wanted).ok()?.holds(Some(value)).ok()
}

/// A check that what runs has this value of this setting; `None` where no single value on a node shows it.
pub fn is_in_force(keys: &[String], value: &Value) -> Option<Check> {
    let (op, wanted) = if value.is_null() { (Op::Unset, None) } else { (Op::Equals, Some(value.clone())) };
    if let Some((component, name)) = argument(keys) {
        let argument = name.to_owned();
        return Some(Check::Argument(ArgumentCheck {
            component,
            argument,
            op,
            value: wanted,
            explicit: true,
        }));
    }
    if let Some(field) = kubelet_field(keys) {
        return Some(Check::Kubelet(KubeletCheck {
            field: Some(field),
            op,
            value: wanted,
            cli_flag: None,
            cli: FlagRule::Allowed,
            absent_ok: false,
            roles: Vec::new(),
        }));
    }
    let key = sysctl(keys)?.to_owned();
    Some(Check::Sysctl(SysctlCheck { key, value: wanted? }))
}
