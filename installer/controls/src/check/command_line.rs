//! Command lines of Go programs: of a running process and of a static-pod manifest.

use kubezt_model::node::{ProcessReading, Read, Reading};
use kubezt_model::yaml;
use serde_json::Value;

use super::{Component, NodeContext, describe, unexpected};

/// The arguments of one program, as tokens without the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    tokens: Vec<String>,
}

impl CommandLine {
    /// From tokens without the program.
    pub fn new(tokens: Vec<String>) -> Self {
        Self { tokens }
    }

    /// Every value an argument is given, in order. `switch` says that the argument is a switch, which takes its value
    /// only after `=`: `--profiling false` switches profiling on.
    pub fn values(&self, argument: &str, switch: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut tokens = self.tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            if token == "--" {
                break;
            }
            let Some(flag) = token.strip_prefix("--").or_else(|| token.strip_prefix('-')) else { continue };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            // Kubernetes accepts `_` for `-` in names of flags.
            if name.replace('_', "-") != argument {
                continue;
            }
            let value = value.unwrap_or_else(|| {
                let next = tokens.peek().filter(|next| !next.starts_with('-'));
                match next {
                    Some(next) if !switch => (*next).clone(),
                    _ => "true".to_owned(),
                }
            });
            found.push(value);
        }
        found
    }

    /// The value that counts: the only one, or the last where an argument is repeated with the same value.
    ///
    /// # Errors
    /// The argument is given several times with different values, so that it depends on the flag's type what counts.
    pub fn value(&self, argument: &str, switch: bool) -> Result<Option<Value>, String> {
        let values = self.values(argument, switch);
        match values.split_first() {
            None => Ok(None),
            Some((first, rest)) if rest.iter().all(|other| other == first) => {
                Ok(Some(Value::String(first.clone())))
            }
            Some(_) => Err(format!("--{argument} is given {} times with different values", values.len())),
        }
    }
}

/// The running processes of a component; at least one.
///
/// # Errors
/// It was not looked at, or nothing runs under this name.
pub fn processes<'a>(
    context: &NodeContext<'a>,
    component: Component,
) -> Result<&'a [ProcessReading], String> {
    let read = component.process_read();
    match context.reading(&read)? {
        Reading::Processes(processes) if !processes.is_empty() => Ok(processes),
        Reading::Processes(_) | Reading::Missing => {
            Err(format!("no process {} is running", component.name()))
        }
        _ => Err(unexpected(&read)),
    }
}

/// The command line of a running process.
pub fn of_process(process: &ProcessReading) -> CommandLine {
    CommandLine::new(process.arguments.iter().skip(1).cloned().collect())
}

/// The command line a component's manifest on disk asks for.
///
/// # Errors
/// The manifest was not read, is missing, or does not say how the component is started.
pub fn of_manifest(context: &NodeContext<'_>, component: Component) -> Result<CommandLine, String> {
    let read = component.manifest_read().ok_or("kubelet has no manifest")?;
    let document = parsed_file(context, &read)?;
    parse_manifest(&document, component.name()).map_err(|problem| format!("{}: {problem}", describe(&read)))
}

/// A YAML or JSON file that was read with its text.
///
/// # Errors
/// It was not read, is missing, or is not well formed. The text itself never appears: it may be secret.
pub fn parsed_file(context: &NodeContext<'_>, read: &Read) -> Result<Value, String> {
    let text = match context.reading(read)? {
        Reading::File(file) => {
            file.text.as_ref().ok_or_else(|| format!("the text of {} was not read", describe(read)))?
        }
        Reading::Missing => return Err(format!("{} does not exist", describe(read))),
        _ => return Err(unexpected(read)),
    };
    let mut documents = yaml::read_all("file", text.expose()).map_err(|error| {
        let line = error.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        format!("{} is not well-formed YAML{line}", describe(read))
    })?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        _ => Err(format!("{} does not hold exactly one document", describe(read))),
    }
}

fn parse_manifest(document: &Value, name: &str) -> Result<CommandLine, String> {
    let containers = document["spec"]["containers"].as_array().ok_or("it has no containers")?;
    let named = containers.iter().find(|container| container["name"] == name);
    let container = named.ok_or_else(|| format!("no container is named {name}"))?;
    let mut tokens = Vec::new();
    for field in ["command", "args"] {
        match &container[field] {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    tokens.push(
                        item.as_str()
                            .ok_or_else(|| format!("`{field}` holds something that is not text"))?
                            .to_owned(),
                    );
                }
            }
            _ => return Err(format!("`{field}` is not a list")),
        }
    }
    // The program itself, where the manifest names it; an image's own entry point leaves only arguments.
    let program = usize::from(tokens.first().is_some_and(|first| !first.starts_with('-')));
    if program == 1 && tokens[0].rsplit('/').next() != Some(name) {
        return Err(format!("container {name} starts {} instead of {name}", tokens[0]));
    }
    Ok(CommandLine::new(tokens.split_off(program)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(text: &str) -> CommandLine {
        CommandLine::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn values_follow_the_rules_of_gos_flags() {
        assert_eq!(line("--a=1 -b=2").values("b", false), ["2"]);
        assert_eq!(line("--anonymous-auth false").values("anonymous-auth", true), ["true"]);
        assert_eq!(line("--bind-address 127.0.0.1 --x").values("bind-address", false), ["127.0.0.1"]);
        assert_eq!(line("--anonymous_auth=false").values("anonymous-auth", true), ["false"]);
        assert_eq!(line("--profiling").values("profiling", true), ["true"]);
        assert_eq!(line("-- --profiling").values("profiling", true), Vec::<String>::new());
        assert_eq!(line("--profiling-x=1").values("profiling", true), Vec::<String>::new());
        assert!(line("--a=1 --a=2").value("a", false).is_err());
    }

    #[test]
    fn manifests_that_start_something_else_are_not_believed() {
        let manifest =
            |command: Value| json!({"spec": {"containers": [{"name": "etcd", "command": command}]}});
        assert_eq!(
            parse_manifest(&manifest(json!(["/usr/bin/etcd", "--a=1"])), "etcd").unwrap(),
            line("--a=1")
        );
        assert_eq!(parse_manifest(&manifest(json!(["--a=1"])), "etcd").unwrap(), line("--a=1"));
        assert!(parse_manifest(&manifest(json!(["sh", "-c", "etcd --a=1"])), "etcd").is_err());
        assert!(parse_manifest(&json!({}), "etcd").is_err());
    }
}
