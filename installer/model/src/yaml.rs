//! The one place YAML is read and written.
//!
//! Both go through `serde-saphyr`. Reading refuses duplicate keys, bounds its input, and shows file, line and a caret.
//! Writing quotes what any YAML 1.1 reader would take for something else than text: `on`, `no`, `y`, `1_000`.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::{CroppedRegion, Error, Location, Spanned};

/// A YAML document that could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source_name}: {message}")]
pub struct YamlError {
    /// File name as the caller knows it.
    pub source_name: String,
    /// What is wrong, with line, column, snippet and caret.
    pub message: String,
    /// Line of the mistake, counted from 1, where it is known.
    pub line: Option<u64>,
}

/// Reads one YAML document into a typed value; `source_name` is the file name used in errors.
///
/// # Errors
/// Syntax mistakes, duplicate keys, unknown keys (where the type denies them) and wrong types.
pub fn read<T: DeserializeOwned>(source_name: &str, text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| YamlError::of(source_name, &error))
}

impl YamlError {
    fn of(source_name: &str, error: &Error) -> Self {
        let line = error.location().map(|location| location.line());
        let place = match line {
            Some(line) => format!("{source_name}:{line}"),
            None => source_name.to_owned(),
        };
        Self { source_name: place, message: error.to_string(), line }
    }

    /// A mistake at a place of a document, in the form that reading gives its own.
    pub(crate) fn at(source_name: &str, text: &str, location: Location, message: String) -> Self {
        let region = CroppedRegion::new(text, "<input>", 1, text.lines().count().max(1), location);
        let error = Box::new(Error::Message { msg: message, location });
        Self::of(source_name, &Error::WithSnippet { regions: vec![region], crop_radius: CROP, error })
    }
}

/// Characters a line of a snippet shows on either side of the caret.
const CROP: usize = 64;

/// A document whose every part knows where it stands.
#[derive(Debug)]
pub(crate) enum Tree {
    /// A text, quoted or not.
    Text(String),
    /// What no quotes make a text: a number, a truth value.
    Plain,
    /// Nothing, or `null`.
    Null,
    /// A list.
    List(Vec<Spanned<Tree>>),
    /// A map, in the order of the document, with what aliases and merges bring.
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Plain)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

/// Reads several documents of one stream, separated by `---`, as generic values; empty documents are dropped.
///
/// # Errors
/// As [`read`].
pub fn read_all(source_name: &str, text: &str) -> Result<Vec<serde_json::Value>, YamlError> {
    let mut documents = Vec::new();
    for part in split_documents(text) {
        let value: serde_json::Value = read(source_name, &part)?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// Writes a value as a YAML document.
///
/// # Errors
/// A value that YAML cannot express, such as a map with composite keys.
pub fn write<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_saphyr::to_string(value).map_err(|error| YamlError {
        source_name: "output".to_owned(),
        message: error.to_string(),
        line: None,
    })
}

fn split_documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents
        .retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code)]
        name: String,
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let error = read::<Sample>("cluster.yaml", "name: a\nnmae: b\n").unwrap_err();
        assert!(error.source_name.starts_with("cluster.yaml:2"), "{error}");
        assert!(error.message.contains("nmae"), "{error}");
        let error = read::<Sample>("cluster.yaml", "name: a\nname: b\n").unwrap_err();
        assert!(error.message.contains("duplicate"), "{error}");
    }

    #[test]
    fn texts_that_old_readers_take_for_something_else_stay_texts() {
        for text in
            ["y", "no", "on", "Off", "1_000", "0o7", "null", "~", "1e3", "2026-01-01", "a: b", "#", ""]
        {
            let written = write(&serde_json::json!({ "key": text, text: "value" })).unwrap();
            let back: serde_json::Value = read("back", &written).unwrap();
            assert_eq!(back["key"], text, "{written}");
            assert_eq!(back[text], "value", "{written}");
        }
        let written = write(&serde_json::json!({ "key": "on" })).unwrap();
        assert!(written.contains("\"on\"") || written.contains("'on'"), "{written}");
    }

    #[test]
    fn streams_split_into_documents() {
        let documents = read_all("stream", "a: 1\n---\n---\n# only a comment\n---\nb: 2\n").unwrap();
        assert_eq!(documents.len(), 2);
    }
}
