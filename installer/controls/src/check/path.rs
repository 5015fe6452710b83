//! Paths to values inside a document: `spec.containers[*].ports[*].hostPort`, `plugins[name=PodSecurity].configuration`,
//! `metadata.annotations["kubernetes.io/config.mirror"]`, `providers[0].~keys`, `rules.~count`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValuePath {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// A key of a map.
    Key(String),
    /// An item of a list.
    Index(usize),
    /// Every item of a list.
    Every,
    /// The items whose field has this value, as text.
    Where(String, String),
    /// The keys of a map, as a list.
    Keys,
    /// The number of items of a list or map; 0 where there is none.
    Count,
}

/// A text that is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path: {problem}; write it like `spec.containers[*].name`")]
pub struct PathError {
    text: String,
    problem: &'static str,
}

impl ValuePath {
    /// Every value the path leads to; several where it passes `[*]`. What is not there leads nowhere.
    pub fn select<'a>(&self, root: &'a Value) -> Vec<Cow<'a, Value>> {
        let mut found = vec![Cow::Borrowed(root)];
        for segment in &self.segments {
            found = found.into_iter().flat_map(|value| step(segment, value)).collect();
        }
        found.retain(|value| !value.is_null());
        found
    }

    /// Whether the path ends in something that cannot hold a secret: names of keys or a count.
    pub fn shows_no_values(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Keys | Segment::Count))
    }
}

fn step<'a>(segment: &Segment, value: Cow<'a, Value>) -> Vec<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => match segment {
            Segment::Key(key) => value.get(key).map(Cow::Borrowed).into_iter().collect(),
            Segment::Index(index) => value.get(index).map(Cow::Borrowed).into_iter().collect(),
            Segment::Every => value.as_array().into_iter().flatten().map(Cow::Borrowed).collect(),
            Segment::Where(key, wanted) => value
                .as_array()
                .into_iter()
                .flatten()
                .filter(|item| item.get(key).is_some_and(|value| super::op::show(value) == *wanted))
                .map(Cow::Borrowed)
                .collect(),
            Segment::Keys => value
                .as_object()
                .map(|map| Value::Array(map.keys().cloned().map(Value::String).collect()))
                .map(Cow::Owned)
                .into_iter()
                .collect(),
            Segment::Count => {
                let count =
                    value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len));
                vec![Cow::Owned(Value::from(count.unwrap_or(0)))]
            }
        },
        // `~keys` and `~count` end a path, which parsing guarantees.
        Cow::Owned(_) => Vec::new(),
    }
}

impl FromStr for ValuePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let error = |problem| PathError { text: text.to_owned(), problem };
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix("[\"") {
                let (key, tail) =
                    inner.split_once("\"]").ok_or_else(|| error("a quoted key is not closed"))?;
                segments.push(Segment::Key(key.to_owned()));
                rest = tail;
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (inside, tail) = inner.split_once(']').ok_or_else(|| error("a bracket is not closed"))?;
                segments.push(match (inside, inside.split_once('=')) {
                    ("*", _) => Segment::Every,
                    (_, Some((key, value))) => Segment::Where(key.to_owned(), value.to_owned()),
                    (index, None) => Segment::Index(
                        index.parse().map_err(|_| error("brackets hold `*`, a number or `key=value`"))?,
                    ),
                });
                rest = tail;
            } else {
                let bare = rest.strip_prefix('.').unwrap_or(rest);
                let end = bare.find(['.', '[']).unwrap_or(bare.len());
                let (key, tail) = bare.split_at(end);
                segments.push(match key {
                    "" => return Err(error("a key is empty")),
                    "~keys" => Segment::Keys,
                    "~count" => Segment::Count,
                    key => Segment::Key(key.to_owned()),
                });
                rest = tail;
            }
        }
        let ends = |segment: &Segment| matches!(segment, Segment::Keys | Segment::Count);
        if segments.iter().rev().skip(1).any(ends) {
            return Err(error("`~keys` and `~count` end a path"));
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

impl TryFrom<String> for ValuePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<ValuePath> for String {
    fn from(path: ValuePath) -> Self {
        path.text
    }
}

impl fmt::Display for ValuePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn select(path: &str, root: &Value) -> Vec<Value> {
        path.parse::<ValuePath>().unwrap().select(root).into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn paths_lead_to_values() {
        let root = json!({"list": [{"name": "a", "v": 1}, {"name": "b"}], "m": {"x.y/z": {"k": 0}}});
        assert_eq!(select("list[*].v", &root), [json!(1)]);
        assert_eq!(select("list[name=b]", &root), [json!({"name": "b"})]);
        assert_eq!(select("list[0].name", &root), [json!("a")]);
        assert_eq!(select("m[\"x.y/z\"].k", &root), [json!(0)]);
        assert_eq!(select("m[\"x.y/z\"].~keys", &root), [json!(["k"])]);
        assert_eq!(select("list.~count", &root), [json!(2)]);
        assert_eq!(select("gone.~count", &root), Vec::<Value>::new());
        assert_eq!(select("list[9].name", &root), Vec::<Value>::new());
    }

    #[test]
    fn bad_paths_are_refused() {
        for bad in ["a..b", "a[", "a[x]", "a.~keys.b", "[\"a"] {
            assert!(bad.parse::<ValuePath>().is_err(), "{bad}");
        }
    }
}
