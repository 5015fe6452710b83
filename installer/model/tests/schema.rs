//! The published schema and the parser agree on what a cluster file is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use kubezt_model::{cluster, schema, yaml};
use serde_json::{Value, json};

const SAMPLES: [(&str, &str); 2] = [
    ("vagrant/cluster.yaml", include_str!("../../../vagrant/cluster.yaml")),
    ("tests/golden/cluster.yaml", include_str!("../../../tests/golden/cluster.yaml")),
];

fn validator() -> jsonschema::Validator {
    let schema = schema::cluster_file();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

fn sample() -> Value {
    yaml::read("sample", SAMPLES[1].1).unwrap()
}

/// Whether the schema accepts a file, and whether the parser does.
fn verdicts(file: &Value) -> (bool, bool) {
    let parsed = cluster::parse("cluster.yaml", &yaml::write(file).unwrap());
    (validator().is_valid(file), parsed.is_ok())
}

/// The sample with one place changed, by JSON pointer of the map it is in.
fn with(pointer: &str, key: &str, value: Value) -> Value {
    let mut file = sample();
    file.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
    file
}

#[test]
fn cluster_files_of_this_repository_are_valid() {
    for (name, text) in SAMPLES {
        let file: Value = yaml::read(name, text).unwrap();
        let errors: Vec<String> = validator().iter_errors(&file).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn a_file_that_says_everything_is_valid() {
    let file = cluster::parse("sample", SAMPLES[0].1).unwrap();
    assert_eq!(verdicts(&serde_json::to_value(&file).unwrap()), (true, true));
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    let maps = ["", "/metadata", "/spec", "/spec/endpoint", "/spec/nodes/0", "/spec/nodes/2/taints/0"];
    for pointer in maps {
        assert_eq!(verdicts(&with(pointer, "nmae", json!("x"))), (false, false), "{pointer}");
    }
    for section in ["networks", "ssh", "cni", "artifacts"] {
        assert_eq!(verdicts(&with("/spec", section, json!({"nmae": "x"}))), (false, false), "{section}");
    }
}

#[test]
fn wrong_values_are_refused_by_both() {
    let wrong = [
        ("/metadata", "name", json!("Prod")),
        ("", "kind", json!("Custer")),
        ("", "apiVersion", json!("kubezt.dev/v9")),
        ("/spec/nodes/0", "role", json!("master")),
        ("/spec/nodes/0", "addresses", json!("10.0.0.1")),
        ("/spec/nodes/0", "addresses", json!(["10.0.0.400"])),
        ("/spec/endpoint", "port", json!(70_000)),
        ("/spec", "kubernetesVersion", json!("1.36")),
        ("/spec", "waivers", json!([{"requirement": "a", "reason": "b", "owner": "c", "expires": "soon"}])),
        ("/spec", "waivers", json!([{"requirement": "a", "reason": "b", "owner": "c"}])),
    ];
    for (pointer, key, value) in wrong {
        assert_eq!(verdicts(&with(pointer, key, value.clone())), (false, false), "{pointer}/{key}: {value}");
    }
}

#[test]
fn settings_are_known_by_path_and_by_nesting() {
    let valid = |settings: Value| validator().is_valid(&with("/spec", "settings", settings));
    for settings in [
        json!({"kubelet.configuration.evictionHard": {"memory.available": "1Gi"}}),
        json!({"kubelet": {"configuration": {"podPidsLimit": 100}}}),
        json!({"apiServer.arguments.audit-log-maxage": 7, "apiServer.arguments.profiling": null}),
        json!({"podSecurity.exemptNamespaces+": ["a"], "podSecurity": {"exemptNamespaces+": ["b"]}}),
        json!({"host.sysctls.kernel.panic": 10, "host": {"sysctls": {"kernel.panic": "10"}}}),
        json!({"network": {"wireguard": false}, "audit.policy": "tiered"}),
    ] {
        assert!(valid(settings.clone()), "{settings}");
    }
    for settings in [
        json!({"apiSever.arguments.profiling": false}),
        json!({"network": {"wireguart": false}}),
        json!({"network.wireguard": "no"}),
        json!({"podSecurity.enforce+": ["a"]}),
        json!({"audit.policy": "everthing"}),
        json!({"files.manifestMode": "rw"}),
        json!({"apiServer.arguments.profiling": {"a": 1}}),
    ] {
        assert!(!valid(settings.clone()), "{settings}");
    }
}

#[test]
fn descriptions_read_as_sentences() {
    fn descriptions(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, inner)| match inner {
                Value::String(text) if key == "description" => found.push(text.clone()),
                inner => descriptions(inner, found),
            }),
            Value::Array(list) => list.iter().for_each(|inner| descriptions(inner, found)),
            _ => {}
        }
    }
    let schema = schema::cluster_file();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["spec"]["description"], "What is wanted.");
    let mut found = Vec::new();
    descriptions(&schema, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for text in found {
        // Links that only the source's own documentation can follow.
        assert!(!text.contains("[`"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}
