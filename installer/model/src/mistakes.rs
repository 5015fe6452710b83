//! Every mistake of a cluster file at once.
//!
//! Reading into types ends at the first mistake. Where it does, the document is walked beside the schema of these types, and
//! whatever does not fit is told with its line and the valid name that is nearest. What settings hold is told by resolving.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use crate::names::NodeName;
use crate::nearest::nearest;
use crate::schema;
use crate::yaml::{self, Tree, YamlError};

/// Mistakes that are told; whoever has more of them has another problem than each of them.
const MOST: usize = 50;
/// Characters of a wrong word that are repeated.
const WORD: usize = 64;

/// All mistakes of a cluster file that could not be read, by line; `first` is the one that reading ended at. Of very many, the first
/// and how many there are.
pub fn all(source_name: &str, text: &str, first: YamlError) -> Vec<YamlError> {
    // Where the document itself cannot be read, nothing after the mistake means anything.
    let Ok(document) = yaml::read::<Spanned<Tree>>(source_name, text) else { return vec![first] };
    let schema = schema::of_types().to_value();
    let mut walk = Walk { schema: &schema, text, found: Vec::new(), more: 0 };
    walk.value(&schema, &document);
    walk.found.sort_by_key(|(location, _)| (location.line(), location.column()));
    let found = walk.found.into_iter();
    let mut errors: Vec<YamlError> =
        found.map(|(location, message)| YamlError::at(source_name, text, location, message)).collect();
    if !errors.iter().any(|error| error.line == first.line) {
        let position = errors.iter().position(|error| error.line > first.line).unwrap_or(errors.len());
        errors.insert(position, first);
    }
    if walk.more > 0 {
        let message = format!("and {} more mistakes", walk.more);
        errors.push(YamlError { source_name: source_name.to_owned(), message, line: None });
    }
    errors
}

struct Walk<'a> {
    /// The whole schema, which parts refer to.
    schema: &'a Value,
    /// The document as it is written.
    text: &'a str,
    found: Vec<(Location, String)>,
    /// How many more there are.
    more: usize,
}

impl<'a> Walk<'a> {
    fn add(&mut self, location: Location, message: String) {
        if self.found.len() < MOST {
            self.found.push((location, message));
        } else {
            self.more += 1;
        }
    }

    fn value(&mut self, schema: &'a Value, node: &Spanned<Tree>) {
        let (schema, optional) = self.followed(schema);
        match (schema["type"].as_str(), &node.value) {
            (_, Tree::Null) if optional => {}
            (Some("object"), Tree::Map(entries)) => self.map(schema, node.referenced, entries),
            (Some("object"), _) => self.add(node.referenced, "expected a map".to_owned()),
            (Some("array"), Tree::List(items)) => {
                for item in items {
                    self.value(&schema["items"], item);
                }
            }
            (Some("array"), _) => self.add(node.referenced, "expected a list".to_owned()),
            // Any value.
            (None, _) if choices(schema).is_empty() => {}
            (_, Tree::List(_) | Tree::Map(_)) => {
                self.add(node.referenced, "expected a single value".to_owned());
            }
            (_, Tree::Null) => self.add(node.referenced, "a value is missing".to_owned()),
            (_, Tree::Text(text)) => self.scalar(schema, node.referenced, text),
            (_, Tree::Plain) => {
                if let Some(text) = self.written(node.defined) {
                    self.scalar(schema, node.referenced, text);
                }
            }
        }
    }

    /// The schema a reference leads to, and whether `null` is as good.
    fn followed(&self, schema: &'a Value) -> (&'a Value, bool) {
        if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
            return self.schema.pointer(place).map_or((schema, true), |schema| self.followed(schema));
        }
        match schema["anyOf"].as_array().map(Vec::as_slice) {
            Some([inner, null]) if null["type"] == "null" => (self.followed(inner).0, true),
            _ => (schema, false),
        }
    }

    fn map(&mut self, schema: &'a Value, place: Location, entries: &[(Spanned<String>, Spanned<Tree>)]) {
        // Settings, whose names resolving knows.
        if schema.get("patternProperties").is_some() {
            return;
        }
        let known = schema["properties"].as_object();
        let names = || known.into_iter().flatten().map(|(name, _)| name.as_str());
        for (key, value) in entries {
            let name = key.value.as_str();
            match (known.and_then(|known| known.get(name)), &schema["additionalProperties"]) {
                (Some(schema), _) => self.value(schema, value),
                // One that is not told need not be put into words.
                (None, Value::Bool(false)) if self.found.len() >= MOST => self.more += 1,
                (None, Value::Bool(false)) => {
                    let expected: Vec<String> = names().map(|name| format!("`{name}`")).collect();
                    let expected = expected.join(", ");
                    let likely = did_you_mean(name, names());
                    self.add(
                        key.referenced,
                        format!("unknown field `{}`, expected one of {expected}{likely}", short(name)),
                    );
                }
                (None, free) => self.value(free, value),
            }
        }
        let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in missing.filter(|name| !entries.iter().any(|(key, _)| key.value == *name)) {
            // One that is mistyped is told already.
            let mistyped = entries.iter().any(|(key, _)| {
                known.is_some_and(|known| !known.contains_key(&key.value))
                    && nearest(&key.value, names()) == Some(name)
            });
            if !mistyped {
                self.add(place, format!("missing field `{name}`"));
            }
        }
    }

    fn scalar(&mut self, schema: &Value, place: Location, text: &str) {
        let choices = choices(schema);
        let problem = if !choices.is_empty() {
            let expected: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            let likely = did_you_mean(text, choices.iter().copied());
            (!choices.contains(&text)).then(|| {
                let expected = expected.join(", ");
                format!("unknown variant `{}`, expected one of {expected}{likely}", short(text))
            })
        } else {
            fits(schema, text).err()
        };
        if let Some(problem) = problem {
            self.add(place, problem);
        }
    }

    /// A part of the document as it is written.
    fn written(&self, place: Location) -> Option<&'a str> {
        let span = place.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start + length).map(str::trim)
    }
}

/// The words that are valid, where only some are.
fn choices(schema: &Value) -> Vec<&str> {
    let words = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    words.chain(described).chain(schema.get("const")).filter_map(Value::as_str).collect()
}

/// Whether a single value is of the type a schema names.
fn fits(schema: &Value, text: &str) -> Result<(), String> {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("boolean"), _) => match text {
            "true" | "false" => Ok(()),
            _ => Err(format!("`{text}` is neither true nor false")),
        },
        (Some("integer"), _) => {
            let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
            let number = text.parse::<i64>().map_err(|_| format!("`{text}` is not a whole number"))?;
            match number >= least.unwrap_or(i64::MIN) && number <= most.unwrap_or(i64::MAX) {
                true => Ok(()),
                false => Err(format!("{number} is not between {} and {}", bound(least), bound(most))),
            }
        }
        (_, Some("hostname")) => parsed::<NodeName>(text, None),
        (_, Some("ip")) => parsed::<IpAddr>(text, Some("an IP address")).map_err(|problem| match text {
            _ if text.contains('%') => {
                format!("{problem}: a zone (`%…`) means something on one machine only")
            }
            _ if text.contains('/') => format!("{problem}: leave the length of the network out"),
            _ => problem,
        }),
        (_, Some("network")) => parsed::<IpNet>(text, Some("a network, such as 10.244.0.0/16")),
        (_, Some("semver")) => {
            parsed::<semver::Version>(text, Some("a version of three numbers, such as 1.36.3"))
        }
        (_, Some("date")) => parsed::<jiff::civil::Date>(text, Some("a day, such as 2027-12-31")),
        _ => Ok(()),
    }
}

/// Whether a text is a value of this type; `what` names it where the type's own words do not.
fn parsed<T: FromStr<Err: Display>>(text: &str, what: Option<&str>) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| match what {
        Some(what) => format!("`{text}` is not {what}"),
        None => error.to_string(),
    })
}

/// The beginning of a word that nobody would read to its end.
fn short(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

fn bound(number: Option<i64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn did_you_mean<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(wrong, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
