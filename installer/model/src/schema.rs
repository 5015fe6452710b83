//! The JSON Schema of `cluster.yaml`, so that editors complete and check it while it is written.
//!
//! It comes from the types that read the file: a field that is added there is in the schema, its comment is its description.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{Transform as _, transform_subschemas};
use schemars::{JsonSchema as _, Schema};
use serde_json::{Map, Value, json};

use crate::cluster::ClusterFile;
use crate::settings::Settings;

/// The schema of a cluster file, as JSON Schema draft 2020-12.
///
/// It accepts what [`crate::cluster::parse`] accepts. What needs more than one place to judge (addresses used twice, settings a
/// profile does not allow) is left to resolving.
pub fn cluster_file() -> Value {
    let mut schema = of_types();
    tidy.transform(&mut schema);
    schema.to_value()
}

/// The schema with formats that only this crate knows: `ip`, `network`, `semver`.
pub(crate) fn of_types() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ClusterFile>()
}

/// Comments are wrapped for those who read the source; a description is one line a paragraph. And an address of either family is
/// put into formats that validators know.
fn tidy(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
    match schema.get("format").and_then(Value::as_str) {
        Some("ip") => {
            schema.remove("format");
            schema.insert("anyOf".to_owned(), json!([{ "format": "ipv4" }, { "format": "ipv6" }]));
        }
        Some("network" | "semver") => {
            schema.remove("format");
        }
        _ => {}
    }
    transform_subschemas(&mut tidy, schema);
}

/// The schema of the settings a cluster file overrides: any part of [`Settings`], as nested maps or under dotted paths, where a
/// path that ends in `+` adds to a list.
pub fn overrides(_: &mut SchemaGenerator) -> Schema {
    let inline = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
    let mut generator = SchemaSettings::draft2020_12().with(inline).into_generator();
    let whole = partial(&Settings::json_schema(&mut generator).to_value());
    let mut overrides = Overrides::default();
    overrides.add(&whole, "");
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(overrides.properties));
    schema.insert("patternProperties".to_owned(), Value::Object(overrides.patterns));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema.into()
}

/// The schema of a list of networks in CIDR notation.
pub fn networks(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "array", "items": { "type": "string", "format": "network" } })
}

/// The schema of a list of addresses with ports.
pub fn sockets(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "array", "items": { "type": "string" } })
}

/// What may stand at the top of the overrides.
#[derive(Default)]
struct Overrides {
    /// By whole path.
    properties: Map<String, Value>,
    /// By the beginning of the path, for places below which any key may stand.
    patterns: Map<String, Value>,
}

impl Overrides {
    fn add(&mut self, schema: &Value, path: &str) {
        if let Some(free) = free_keys(schema) {
            self.patterns.insert(format!("^{}\\.", path.replace('.', "\\.")), free.clone());
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (key, inner) in properties {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.add(inner, &path);
            self.properties.insert(path, inner.clone());
        }
    }
}

/// A schema of the same shape that asks for nothing: every field may be left out, a list may be added to, and `null` takes a
/// free key away. Defaults are the profile's, so none is named.
fn partial(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut schema = schema.clone();
    schema.remove("required");
    schema.remove("default");
    if let Some(free) = free_keys(&Value::Object(schema.clone())).and_then(Value::as_object) {
        schema.insert("additionalProperties".to_owned(), json!({ "anyOf": [free, { "type": "null" }] }));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (key, inner) in std::mem::take(properties) {
            let inner = partial(&inner);
            if inner.get("type") == Some(&json!("array")) {
                properties.insert(format!("{key}+"), inner.clone());
            }
            properties.insert(key, inner);
        }
    }
    Value::Object(schema)
}

/// The schema of what stands below any key, where any key may stand.
fn free_keys(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|free| **free != Value::Bool(false))
}
