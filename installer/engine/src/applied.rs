//! Whether an apply would leave an object as it is, told from the object alone.
//!
//! The server remembers which fields an applier owns (`managedFields`, KEP-555), down to those that are set as a whole. Where these are
//! the wanted ones, neither more nor fewer, and each has the wanted value, an apply removes nothing and sets nothing. What this cannot
//! tell (a quantity that is written another way, a list to which somebody added) the server's own dry run has to; that costs it far
//! more than to be read.

use serde_json::{Map, Value};

/// What every object says of itself, which nobody owns.
const IDENTITY: [&str; 2] = ["apiVersion", "kind"];
/// The same of its metadata; the time of its creation is the server's, and left open in many a manifest.
const METADATA_IDENTITY: [&str; 3] = ["name", "namespace", "creationTimestamp"];

/// Whether applying `wanted` as this field manager, once more, would change nothing of `live`; where it is not sure, it does not say so.
pub fn stays(live: &Value, wanted: &Value, manager: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let owned = entries.into_iter().flatten().find(|entry| {
        entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    });
    owned.is_some_and(|entry| is_same(&entry["fieldsV1"], live, &without_identity(wanted)))
}

fn without_identity(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| !IDENTITY.contains(&name.as_str()));
        let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            metadata.retain(|name, _| !METADATA_IDENTITY.contains(&name.as_str()));
            if metadata.is_empty() {
                fields.remove("metadata");
            }
        }
    }
    object
}

/// Whether a set of fields (`FieldsV1`) is what is wanted, and what is there is equal in it.
fn is_same(owned: &Value, live: &Value, wanted: &Value) -> bool {
    match (owned, wanted) {
        // Set as a whole.
        (Value::Object(owned), _) if owned.is_empty() => live == wanted,
        (Value::Object(owned), Value::Object(wanted)) => {
            let fields = members(owned).count();
            fields == wanted.len()
                && wanted.iter().all(|(name, wanted)| {
                    match (owned.get(&format!("f:{name}")), live.get(name)) {
                        (Some(owned), Some(live)) => is_same(owned, live, wanted),
                        _ => false,
                    }
                })
        }
        (Value::Object(owned), Value::Array(wanted)) => {
            let live = live.as_array().map(Vec::as_slice).unwrap_or_default();
            members(owned).count() == wanted.len()
                && live.len() == wanted.len()
                && live.iter().zip(wanted).all(|(live, wanted)| {
                    members(owned).any(|(name, owned)| is_item(name, live) && is_same(owned, live, wanted))
                })
        }
        _ => false,
    }
}

/// Fields and items; what is left is the set itself (`.`).
fn members(owned: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    owned.iter().filter(|(name, _)| *name != ".")
}

/// Whether an item of a list is the one that is owned by this name: `k:` and its keys, or `v:` and its value.
fn is_item(name: &str, live: &Value) -> bool {
    let Some((kind, told)) = name.split_once(':') else { return false };
    match (kind, serde_json::from_str(told)) {
        ("k", Ok(Value::Object(keys))) => keys.iter().all(|(key, value)| live.get(key) == Some(value)),
        ("v", Ok(value)) => *live == value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MANAGER: &str = "kubezt";

    fn wanted() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "dns", "namespace": "kube-system", "labels": {"app": "dns"}, "finalizers": ["one"]},
            "spec": {"selector": {"app": "dns"}, "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]},
        })
    }

    /// As a server has it after one apply.
    fn live() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "dns",
                "namespace": "kube-system",
                "uid": "5c9d6a37",
                "resourceVersion": "41",
                "labels": {"app": "dns"},
                "finalizers": ["one"],
                "managedFields": [
                    {"manager": "kubezt", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {
                        "manager": "kubezt",
                        "operation": "Apply",
                        "fieldsType": "FieldsV1",
                        "fieldsV1": {
                            "f:metadata": {"f:finalizers": {"v:\"one\"": {}}, "f:labels": {"f:app": {}}},
                            "f:spec": {
                                "f:selector": {},
                                "f:ports": {
                                    "k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}},
                                    "k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}},
                                },
                            },
                        },
                    },
                ],
            },
            "spec": {
                "selector": {"app": "dns"},
                "clusterIP": "10.96.0.10",
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                ],
            },
            "status": {"loadBalancer": {}},
        })
    }

    /// After this was done to what is there, and that to what is wanted.
    fn stays_after(live_change: impl FnOnce(&mut Value), wanted_change: impl FnOnce(&mut Value)) -> bool {
        let (mut live, mut wanted) = (live(), wanted());
        live_change(&mut live);
        wanted_change(&mut wanted);
        stays(&live, &wanted, MANAGER)
    }

    #[test]
    fn what_was_applied_and_is_there_stays() {
        assert!(stays_after(|_| {}, |_| {}));
        // What nobody applied, and others do.
        let others = |live: &mut Value| {
            live["metadata"]["annotations"] = json!({"theirs": "1"});
            live["status"] = json!({"loadBalancer": {"ingress": []}});
        };
        assert!(stays_after(others, |_| {}));
    }

    #[test]
    fn what_is_set_as_a_whole_has_nothing_beside_it() {
        let mut live = json!({
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumClusterwideNetworkPolicy",
            "metadata": {
                "name": "default-deny",
                "managedFields": [{
                    "manager": "kubezt",
                    "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:endpointSelector": {}, "f:ingress": {}}},
                }],
            },
            "spec": {"endpointSelector": {}, "ingress": [{}]},
        });
        let mut wanted = live.clone();
        wanted["metadata"] = json!({"name": "default-deny"});
        assert!(stays(&live, &wanted, MANAGER));
        let mut other = live.clone();
        other["spec"]["ingress"] = json!([{"fromEndpoints": [{"matchLabels": {"nobody": "here"}}]}]);
        assert!(!stays(&other, &wanted, MANAGER));
        let mut other = live.clone();
        other["spec"]["endpointSelector"] = json!({"matchLabels": {"nobody": "here"}});
        assert!(!stays(&other, &wanted, MANAGER));

        // What is wanted anew is owned by nobody yet, and what is there may say more.
        live["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:spec": {"f:endpointSelector": {}}});
        assert!(!stays(&live, &wanted, MANAGER));
    }

    #[test]
    fn what_somebody_changed_does_not() {
        type Change = fn(&mut Value);
        let changes: [Change; 6] = [
            |live| live["spec"]["selector"]["app"] = json!("theirs"),
            |live| live["spec"]["selector"] = json!({}),
            |live| live["metadata"]["labels"] = json!(null),
            |live| live["spec"]["ports"][0]["port"] = json!(5353),
            |live| live["spec"]["ports"].as_array_mut().unwrap().truncate(1),
            |live| live["spec"]["ports"].as_array_mut().unwrap().push(json!({"name": "more", "port": 1})),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(!stays_after(change, |_| {}), "change {number}");
        }
    }

    #[test]
    fn what_is_wanted_anew_or_no_more_does_not() {
        type Change = fn(&mut Value);
        let changes: [Change; 6] = [
            |wanted| wanted["spec"]["clusterIP"] = json!("10.96.0.11"),
            |wanted| wanted["spec"]["internalTrafficPolicy"] = json!("Local"),
            |wanted| drop(wanted["metadata"].as_object_mut().unwrap().remove("labels")),
            |wanted| drop(wanted["metadata"].as_object_mut().unwrap().remove("finalizers")),
            |wanted| drop(wanted["spec"]["ports"].as_array_mut().unwrap().remove(1)),
            |wanted| drop(wanted["spec"]["ports"][0].as_object_mut().unwrap().remove("name")),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(!stays_after(|_| {}, change), "change {number}");
        }
    }

    #[test]
    fn what_another_manager_applied_says_nothing() {
        assert!(!stays(&live(), &wanted(), "somebody"));
        assert!(!stays_after(
            |live| drop(live["metadata"].as_object_mut().unwrap().remove("managedFields")),
            |_| {}
        ));
        let unknown = |live: &mut Value| live["metadata"]["managedFields"][1]["fieldsV1"]["i:0"] = json!({});
        assert!(!stays_after(unknown, |_| {}));
    }
}
