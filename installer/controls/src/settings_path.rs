//! Dotted paths into [`kubezt_model::settings::Settings`].
//!
//! `apiServer.arguments.anonymous-auth` walks nested maps. Below a place whose keys are free text (arguments,
//! kernel parameters, kubelet's threshold maps) the rest of the path is one key, because such keys may hold dots.

use serde_json::{Map, Value};

/// Places below which any key may stand, and the rest of a dotted path is a single key.
const FLAT: [&str; 6] = [
    "apiServer.arguments",
    "controllerManager.arguments",
    "scheduler.arguments",
    "etcd.arguments",
    "kubelet.arguments",
    "host.sysctls",
];

/// Places below which any nested field may stand: they are copied into a file of kubelet's.
const NESTED: [&str; 2] = ["kubelet.configuration", "kubelet.controlPlane"];

/// Fields of `KubeletConfiguration` that are maps with free keys, such as `memory.available`.
const KUBELET_MAPS: [&str; 7] = [
    "evictionHard",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "evictionMinimumReclaim",
    "systemReserved",
    "kubeReserved",
    "featureGates",
];

/// Splits a dotted path into keys.
pub fn split(path: &str) -> Vec<String> {
    for place in FLAT {
        if let Some(rest) = path.strip_prefix(place).and_then(|rest| rest.strip_prefix('.')) {
            return place.split('.').chain([rest]).map(str::to_owned).collect();
        }
    }
    for place in NESTED {
        for field in KUBELET_MAPS {
            let map = format!("{place}.{field}");
            if let Some(rest) = path.strip_prefix(&map).and_then(|rest| rest.strip_prefix('.')) {
                return map.split('.').chain([rest]).map(str::to_owned).collect();
            }
        }
    }
    path.split('.').map(str::to_owned).collect()
}

/// Whether any key may stand below this place.
pub fn is_free(keys: &[String]) -> bool {
    let path = keys.join(".");
    FLAT.iter().chain(&NESTED).any(|place| path == *place || path.starts_with(&format!("{place}.")))
}

/// The value at a path, if there is one.
pub fn lookup<'a>(root: &'a Value, keys: &[String]) -> Option<&'a Value> {
    keys.iter().try_fold(root, |value, key| value.get(key))
}

/// Puts a value at a path, making maps on the way; a `null` takes the key away.
pub fn put(root: &mut Value, keys: &[String], value: Value) {
    let Some((last, parents)) = keys.split_last() else { return };
    let mut place = root;
    for key in parents {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    if let Value::Object(map) = place {
        if value.is_null() {
            map.remove(last);
        } else {
            map.insert(last.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn free_keys_keep_their_dots() {
        assert_eq!(split("host.sysctls.net.ipv4.ip_forward"), ["host", "sysctls", "net.ipv4.ip_forward"]);
        assert_eq!(
            split("kubelet.configuration.evictionHard.memory.available"),
            ["kubelet", "configuration", "evictionHard", "memory.available"]
        );
        assert_eq!(
            split("kubelet.configuration.authentication.anonymous.enabled"),
            ["kubelet", "configuration", "authentication", "anonymous", "enabled"]
        );
    }

    #[test]
    fn values_are_put_found_and_taken_away() {
        let mut root = json!({"a": {"b": 1}});
        put(&mut root, &split("a.c.d"), json!(2));
        assert_eq!(lookup(&root, &split("a.c.d")), Some(&json!(2)));
        put(&mut root, &split("a.b"), Value::Null);
        assert_eq!(root, json!({"a": {"c": {"d": 2}}}));
    }
}
