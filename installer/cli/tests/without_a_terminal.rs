//! Commands as scripts start them: nobody is there to answer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn kubezt(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubezt"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn init_names_everything_that_is_missing_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = kubezt(folder.path(), &["init", "--node", "w1=worker@10.0.0.2"]);
    assert_eq!(output.status.code(), Some(2));
    for part in ["--name NAME", "--profile NAME|FILE", "--node NAME=control-plane@ADDRESS"] {
        assert!(words(&output).contains(part), "{part}: {}", words(&output));
    }
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn install_without_a_cluster_file_points_at_init() {
    let folder = tempfile::tempdir().unwrap();
    let output = kubezt(folder.path(), &["install"]);
    assert_eq!(output.status.code(), Some(2));
    let words = words(&output);
    assert!(words.contains("there is no cluster file at `cluster.yaml`"), "{words}");
    assert!(words.contains("kubezt init") && words.contains("README"), "{words}");
}

#[test]
fn flags_write_a_file_once_and_say_what_is_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let flags = "init --name prod --profile stig --node cp1=control-plane@10.0.0.1 --node w1=worker@10.0.0.2 \
                 --ssh-user admin --passphrase-file passphrase";
    let arguments: Vec<&str> = flags.split_whitespace().collect();
    let output = kubezt(folder.path(), &arguments);
    assert!(output.status.success(), "{}", words(&output));
    for part in
        ["cluster.yaml is written", "profile stig", "write a passphrase into passphrase", "kubezt trust"]
    {
        assert!(words(&output).contains(part), "{part}: {}", words(&output));
    }
    let again = kubezt(folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(2));
    assert!(words(&again).contains("never overwritten"), "{}", words(&again));
}

#[test]
fn the_schema_is_one_json_document() {
    let folder = tempfile::tempdir().unwrap();
    let output = kubezt(folder.path(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn all_mistakes_of_a_cluster_file_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "apiVersion: kubezt.dev/v1alpha1\nkind: Custer\nmetadata: {nmae: a}\nspec: {nodes: [{name: a}]}\n";
    fs_err::write(folder.path().join("cluster.yaml"), text).unwrap();
    let output = kubezt(folder.path(), &["plan"]);
    assert_eq!(output.status.code(), Some(2));
    for part in
        ["cluster.yaml:2: ", "did you mean `Cluster`?", "did you mean `name`?", "missing field `role`"]
    {
        assert!(words(&output).contains(part), "{part}: {}", words(&output));
    }
}
