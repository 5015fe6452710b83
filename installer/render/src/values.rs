//! Generic documents: looking into them, merging them, bringing them into one order.

use serde_json::{Map, Value};

/// The value at a dotted path.
pub fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, key| value.as_object()?.get(key))
}

/// Merges `over` into `base`: maps field by field, `null` takes a field away, everything else is replaced whole.
pub fn merge(base: &mut Value, over: &Value) {
    let (Value::Object(fields), Value::Object(over)) = (&mut *base, over) else {
        base.clone_from(over);
        return;
    };
    for (key, value) in over {
        if value.is_null() {
            fields.remove(key);
        } else if let Some(field) = fields.get_mut(key) {
            merge(field, value);
        } else {
            // A map that is new here may itself take fields away that never were.
            let mut field = Value::Object(Map::new());
            merge(&mut field, value);
            fields.insert(key.clone(), field);
        }
    }
}

/// The same document with every map in the order of its keys, so that equal input gives equal bytes.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merging_goes_field_by_field() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": 1});
        merge(&mut base, &json!({"a": {"c": 3}, "list": [9], "gone": null, "new": {"x": null, "y": 1}}));
        assert_eq!(base, json!({"a": {"b": 1, "c": 3}, "list": [9], "new": {"y": 1}}));
        assert_eq!(at(&base, "a.c"), Some(&json!(3)));
        assert_eq!(at(&base, "a.c.d"), None);
    }

    #[test]
    fn sorting_is_deep() {
        let text = sorted(serde_json::from_str(r#"{"b":[{"d":1,"c":2}],"a":0}"#).unwrap()).to_string();
        assert_eq!(text, r#"{"a":0,"b":[{"c":2,"d":1}]}"#);
    }
}
