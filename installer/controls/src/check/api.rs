//! Predicates over API objects.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Statement;
use super::{ClusterContext, Expectation, Judged, containers};

/// A list of objects the API is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiRead {
    /// Group and version, such as `v1` or `apps/v1`.
    pub api_version: String,
    /// Kind of one object.
    pub kind: String,
    /// Name in the URL.
    pub plural: String,
    /// Namespace; `None` means all, or an object without one.
    #[serde(default)]
    pub namespace: Option<String>,
}

impl ApiRead {
    /// All objects of a kind.
    pub fn all(api_version: &str, kind: &str, plural: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespace: None,
        }
    }
}

/// What is wanted of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiCheck {
    /// What is looked at.
    pub resources: Vec<ApiRead>,
    /// Namespaces that are looked at.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Which objects are looked at: all of these hold for them.
    #[serde(default, rename = "where")]
    pub only: Vec<Statement>,
    /// What must hold for every object.
    #[serde(default)]
    pub each: Vec<Statement>,
    /// What must hold for every container of every object, which are pods: a statement is about the container
    /// as it runs, with what it takes from its pod's security context.
    #[serde(default)]
    pub each_container: Vec<Statement>,
    /// What must hold for no object: one for which all of these hold is a failure.
    #[serde(default)]
    pub none: Vec<Statement>,
    /// The fewest objects there must be.
    #[serde(default)]
    pub at_least: usize,
}

/// A choice of namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Namespaces {
    /// Only these; empty means all.
    pub include: Vec<String>,
    /// But not these.
    pub exclude: Vec<String>,
}

impl Namespaces {
    fn hold(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let listed = |list: &[String]| list.iter().any(|name| name == namespace);
        (self.include.is_empty() || listed(&self.include)) && !listed(&self.exclude)
    }
}

/// How many objects a failure names before it only counts.
pub(super) const NAMED: usize = 8;

impl ApiCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.resources.is_empty() {
            return Err("an api check needs `resources`".to_owned());
        }
        let says_nothing = self.each.is_empty() && self.each_container.is_empty() && self.none.is_empty();
        if says_nothing && self.at_least == 0 {
            return Err(
                "an api check needs `each`, `eachContainer`, `none` or `atLeast`, or it could not fail"
                    .to_owned(),
            );
        }
        if !self.each_container.is_empty() && self.resources.iter().any(|read| read.kind != "Pod") {
            return Err("`eachContainer` is about pods only".to_owned());
        }
        let statements = [&self.only, &self.each, &self.each_container, &self.none];
        statements.into_iter().flatten().try_for_each(Statement::validate)
    }

    /// The lists.
    pub fn reads(&self) -> Vec<ApiRead> {
        self.resources.clone()
    }

    /// Judges every object.
    ///
    /// # Errors
    /// A list was not read, or values cannot be compared.
    pub fn judge(&self, context: &ClusterContext<'_>) -> Result<Judged, String> {
        let prepared = |statements: &[Statement]| {
            statements
                .iter()
                .map(|statement| statement.expectation(context.terms))
                .collect::<Result<Vec<_>, _>>()
        };
        let (only, each, none) = (prepared(&self.only)?, prepared(&self.each)?, prepared(&self.none)?);
        let each_container = prepared(&self.each_container)?;
        let mut looked_at = 0;
        let mut broken = Vec::new();
        for (kind, object) in objects(context, &self.resources)? {
            if !self.namespaces.hold(object) || !all_hold(&self.only, &only, object)? {
                continue;
            }
            looked_at += 1;
            let name = object_name(kind, object);
            broken.extend(breaches(&name, &self.each, &each, object, kind == "Secret")?);
            if !each_container.is_empty() {
                for container in containers::effective(object) {
                    let container_name = container["name"].as_str().unwrap_or_default();
                    let name = format!("{name} container {container_name}");
                    broken.extend(breaches(&name, &self.each_container, &each_container, &container, false)?);
                }
            }
            if !none.is_empty() && all_hold(&self.none, &none, object)? {
                broken.push(name);
            }
        }
        if looked_at < self.at_least {
            return Ok(Judged::fail(
                format!("at least {} such objects", self.at_least),
                format!("{looked_at} of them"),
            ));
        }
        Ok(outcome(&self.words(&each, &each_container, &none), looked_at, broken))
    }

    fn words(&self, each: &[Expectation], containers: &[Expectation], none: &[Expectation]) -> String {
        let say = |statements: &[Statement], expectations: &[Expectation]| {
            let parts = statements
                .iter()
                .zip(expectations)
                .map(|(what, how)| format!("{} with {}", what.at, how.words()));
            parts.collect::<Vec<_>>().join(", ")
        };
        let mut parts = Vec::new();
        if !each.is_empty() {
            parts.push(format!("every object: {}", say(&self.each, each)));
        }
        if !containers.is_empty() {
            parts.push(format!("every container: {}", say(&self.each_container, containers)));
        }
        if parts.is_empty() && !none.is_empty() {
            parts.push(format!("no object: {}", say(&self.none, none)));
        }
        if parts.is_empty() { format!("at least {} objects", self.at_least) } else { parts.join(", ") }
    }
}

/// Statements that do not hold, each with the name of what they are about and what was seen.
fn breaches(
    name: &str,
    statements: &[Statement],
    expectations: &[Expectation],
    root: &Value,
    secret: bool,
) -> Result<Vec<String>, String> {
    let mut broken = Vec::new();
    for (statement, expectation) in statements.iter().zip(expectations) {
        if !statement.holds(expectation, root)? {
            broken.push(format!("{name}: {} {}", statement.at, statement.seen(root, secret)));
        }
    }
    Ok(broken)
}

fn all_hold(statements: &[Statement], expectations: &[Expectation], object: &Value) -> Result<bool, String> {
    for (statement, expectation) in statements.iter().zip(expectations) {
        if !statement.holds(expectation, object)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every object of these lists with its kind.
///
/// # Errors
/// A list was not read, or reading failed.
pub(super) fn objects<'a>(
    context: &ClusterContext<'a>,
    reads: &'a [ApiRead],
) -> Result<Vec<(&'a str, &'a Value)>, String> {
    let mut found = Vec::new();
    for read in reads {
        match context.evidence.objects.get(read) {
            None => return Err(format!("{} were not read from the API", read.plural)),
            Some(Err(reason)) => {
                return Err(format!("{} could not be read from the API: {reason}", read.plural));
            }
            Some(Ok(list)) => {
                // Whoever read may have listed every namespace at once.
                let meant = |object: &&Value| {
                    read.namespace
                        .as_ref()
                        .is_none_or(|name| object["metadata"]["namespace"] == name.as_str())
                };
                found.extend(list.iter().filter(meant).map(|object| (read.kind.as_str(), object)));
            }
        }
    }
    Ok(found)
}

/// `Pod kube-system/coredns-abc`, or without a namespace `ClusterRole admin`.
pub(super) fn object_name(kind: &str, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// Pass with a count, or a failure that names what breaks the rule.
pub(super) fn outcome(wanted: &str, looked_at: usize, mut broken: Vec<String>) -> Judged {
    if broken.is_empty() {
        return Judged::pass(format!("{looked_at} objects looked at, none breaks it"));
    }
    let rest = broken.len().saturating_sub(NAMED);
    broken.truncate(NAMED);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Judged::fail(wanted, broken.join("; ") + &more)
}
