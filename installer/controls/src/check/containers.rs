//! Containers of a pod as they run: what a container does not say itself is said by its pod.

use serde_json::Value;

/// Lists of containers in a pod's specification.
pub(super) const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Fields of a security context that a container takes from its pod where it has none of its own (as kubelet
/// does).
const INHERITED: [&str; 7] = [
    "runAsNonRoot",
    "runAsUser",
    "runAsGroup",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
    "windowsOptions",
];

/// Every container of a pod, with the fields of the pod's security context that count for it.
pub(super) fn effective(pod: &Value) -> Vec<Value> {
    let spec = &pod["spec"];
    let listed = LISTS.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    listed.map(|container| with_context(container, &spec["securityContext"])).collect()
}

fn with_context(container: &Value, of_pod: &Value) -> Value {
    let mut container = container.clone();
    let mut context = container["securityContext"].as_object().cloned().unwrap_or_default();
    for field in INHERITED {
        if let Some(value) = of_pod.get(field)
            && context.get(field).is_none_or(Value::is_null)
        {
            context.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(object) = container.as_object_mut() {
        object.insert("securityContext".to_owned(), Value::Object(context));
    }
    container
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_takes_from_its_pod_what_it_does_not_say() {
        let pod = json!({"spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 7},
            "containers": [{"name": "a"}, {"name": "b", "securityContext": {"runAsUser": 0}}],
            "initContainers": [{"name": "c", "securityContext": {"runAsNonRoot": false}}],
        }});
        let containers = effective(&pod);
        assert_eq!(containers[0]["securityContext"], json!({"runAsNonRoot": true, "runAsUser": 1000}));
        assert_eq!(containers[1]["securityContext"], json!({"runAsNonRoot": true, "runAsUser": 0}));
        assert_eq!(containers[2]["securityContext"], json!({"runAsNonRoot": false, "runAsUser": 1000}));
    }
}
