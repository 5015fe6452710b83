//! What was rendered is read again before anybody gets it.

use std::collections::BTreeSet;

use kubezt_model::desired::Sensitivity;
use kubezt_model::yaml;
use serde_json::Value;

use crate::RenderError;
use crate::header::Format;

/// Checks a result; answers with its documents where it is YAML.
pub fn check(
    template: &str,
    format: Format,
    sensitivity: Sensitivity,
    text: &str,
) -> Result<Vec<Value>, RenderError> {
    let fault = |line: u64, problem: String| RenderError::NotParsed {
        template: template.to_owned(),
        line,
        problem: match sensitivity {
            Sensitivity::Public => problem,
            Sensitivity::Secret => "the content is secret and not shown".to_owned(),
        },
    };
    let documents = match format {
        Format::Kubernetes | Format::Yaml => {
            yaml::read_all(template, text).map_err(|error| fault(error.line.unwrap_or(0), error.message))?
        }
        Format::Json => {
            let document: Value = serde_json::from_str(text)
                .map_err(|error| fault(u64::try_from(error.line()).unwrap_or(0), error.to_string()))?;
            vec![document]
        }
        Format::Toml => {
            if let Err(error) = text.parse::<toml::Table>() {
                let end = error.span().map_or(0, |span| span.start).min(text.len());
                let line = text.get(..end).unwrap_or_default().matches('\n').count() + 1;
                return Err(fault(u64::try_from(line).unwrap_or(0), error.message().to_owned()));
            }
            Vec::new()
        }
        Format::Unit => {
            unit(text).map_err(|(line, problem)| fault(line, problem))?;
            Vec::new()
        }
        Format::Text => Vec::new(),
    };
    if format == Format::Kubernetes {
        if documents.is_empty() {
            return Err(fault(0, "there is no document".to_owned()));
        }
        for document in &documents {
            for field in ["apiVersion", "kind"] {
                if document.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                    return Err(fault(0, format!("a document has no `{field}`")));
                }
            }
            command_lines(template, document)?;
        }
    }
    Ok(documents)
}

/// Checks documents that are objects of the API: each needs a name.
pub fn objects(template: &str, text: &str) -> Result<Vec<Value>, RenderError> {
    let documents = check(template, Format::Kubernetes, Sensitivity::Public, text)?;
    for document in &documents {
        if document.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(RenderError::NotParsed {
                template: template.to_owned(),
                line: 0,
                problem: "an object has no `metadata.name`".to_owned(),
            });
        }
    }
    Ok(documents)
}

/// Of two equal flags the last one wins silently, and a scanner may read the other one.
fn command_lines(template: &str, pod: &Value) -> Result<(), RenderError> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        let mut seen = BTreeSet::new();
        let words =
            ["command", "args"].into_iter().filter_map(|field| container.get(field)?.as_array()).flatten();
        for word in words.filter_map(Value::as_str).filter(|word| word.starts_with("--")) {
            let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
            if !seen.insert(name) {
                return Err(RenderError::Argument {
                    template: template.to_owned(),
                    argument: name.to_owned(),
                    problem: "is on the command line twice".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Sections, assignments, comments and nothing else (systemd.syntax(7)).
fn unit(text: &str) -> Result<(), (u64, String)> {
    let mut in_section = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            in_section = true;
        } else if !in_section {
            return Err((number, "an assignment stands before the first section".to_owned()));
        } else if !line
            .split_once('=')
            .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            return Err((number, format!("`{line}` is neither a section nor an assignment")));
        }
    }
    if in_section { Ok(()) } else { Err((0, "there is no section".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(format: Format, text: &str) -> Result<Vec<Value>, RenderError> {
        check("t", format, Sensitivity::Public, text)
    }

    #[test]
    fn broken_results_are_refused_with_their_line() {
        for (format, good, bad, wanted) in [
            (Format::Yaml, "a: 1\n", "a: 1\nb: [\n", 2),
            (Format::Kubernetes, "apiVersion: v1\nkind: A\n", "kind: A\nb: [\n", 2),
            (Format::Json, "{}", "{\n\"a\": }", 2),
            (Format::Toml, "a = 1\n", "a = 1\nb = \n", 2),
            (Format::Unit, "[Unit]\nA=b\n", "[Unit]\nwhat\n", 2),
        ] {
            public(format, good).unwrap();
            let Err(RenderError::NotParsed { line, .. }) = public(format, bad) else { panic!("{format:?}") };
            assert!(line >= wanted, "{format:?} {line}");
        }
        for incomplete in ["kind: A\n", "apiVersion: v1\n", "# nothing\n"] {
            assert!(public(Format::Kubernetes, incomplete).is_err(), "{incomplete}");
        }
        assert!(objects("t", "apiVersion: v1\nkind: A\n").is_err());
        assert!(public(Format::Unit, "A=b\n").is_err());
    }

    #[test]
    fn secrets_stay_out_of_errors() {
        let error = check("t", Format::Yaml, Sensitivity::Secret, "key: [hunter2\n").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_flag_stands_once() {
        let pod = |second: &str| {
            format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{command: [x, --a=1, {second}]}}]}}\n")
        };
        public(Format::Kubernetes, &pod("--b=1")).unwrap();
        let error = public(Format::Kubernetes, &pod("--a=2")).unwrap_err();
        assert!(matches!(&error, RenderError::Argument { argument, .. } if argument == "a"), "{error}");
    }
}
