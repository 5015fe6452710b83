//! Command lines: what follows from the cluster's shape, and the settings, which win.

use std::collections::BTreeMap;

use kubezt_model::settings::Argument;
use kubezt_model::yaml;

use crate::RenderError;
use crate::context::{Ground, fault};
use crate::header::ArgumentSource;
use crate::templates::Templates;

/// The arguments of a component as `--name=value`, sorted by name.
pub fn arguments(
    templates: &Templates,
    ground: &Ground,
    template: &str,
    source: &ArgumentSource,
) -> Result<Vec<String>, RenderError> {
    let text = templates.render(&source.defaults, ground.context())?;
    // Reading refuses a name that stands there twice.
    let mut arguments: BTreeMap<String, Argument> =
        yaml::read(&source.defaults, &text).map_err(|error| RenderError::NotParsed {
            template: source.defaults.clone(),
            line: error.line.unwrap_or(0),
            problem: error.message,
        })?;
    let settings = ground.setting(template, &source.settings)?.clone();
    let settings: BTreeMap<String, Argument> = serde_json::from_value(settings)
        .map_err(|_| fault(template, &source.settings, "is no map of arguments"))?;
    arguments.extend(settings);
    arguments
        .iter()
        .map(|(name, value)| {
            if is_name(name) {
                Ok(format!("--{name}={value}"))
            } else {
                Err(RenderError::Argument {
                    template: template.to_owned(),
                    argument: name.clone(),
                    problem:
                        "is no argument name: lower-case letters, digits and `-`, without leading dashes"
                            .to_owned(),
                })
            }
        })
        .collect()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_dashes_in_front() {
        assert!(is_name("tls-min-version"));
        for bad in ["", "--a", "a=b", "A", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
