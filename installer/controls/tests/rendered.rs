//! What the templates make of a profile's settings meets that profile's requirements: rendered files, taken for what
//! runs on a node, are judged green.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kubezt_controls::report::table;
use kubezt_controls::{Evidence, judge};
use kubezt_model::desired::{CertificateKind, Cluster, DesiredNode};
use kubezt_model::node::{FileKind, FileReading, Read, Reading};
use kubezt_model::{Digest, SecretText, yaml};
use kubezt_render::{Input, Secrets, Templates, render_node};
use serde_json::Value;
use support::{CLUSTER, green, library, resolved};

fn templates() -> Templates {
    let files = support::files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates"));
    Templates::load(files).unwrap()
}

fn images() -> BTreeMap<String, String> {
    [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "etcd",
        "pause",
        "coredns",
        "agent",
        "operator",
    ]
    .map(|name| (name.to_owned(), format!("registry.example/{name}:v1")))
    .into()
}

#[test]
fn rendered_nodes_meet_their_profile() {
    let library = library();
    let templates = templates();
    let images = images();
    let names: Vec<String> = library.profiles().map(|profile| profile.name.clone()).collect();
    for profile in names {
        let cluster = resolved(&library, CLUSTER, &profile);
        let mut evidence = green(&library, &cluster);
        let secrets = Secrets { encryption_key: SecretText::new("A".repeat(43) + "=") };
        let input = Input { cluster: &cluster, images: &images, secrets: &secrets };
        for node in &cluster.nodes {
            let desired = render_node(&templates, &input, node).unwrap();
            take_for_real(&mut evidence, &cluster, &desired);
        }
        let findings = judge(&library, &cluster, &evidence);
        let red = findings.iter().filter(|finding| finding.verdict.is_failure()).count();
        assert_eq!(red, 0, "{profile}\n{}", table(&library, &cluster, &findings, false));
    }
}

/// A leaf that nobody looks at could live for years.
#[test]
fn every_leaf_is_looked_at_for_how_long_it_lives() {
    let (library, templates, images) = (library(), templates(), images());
    let cluster = resolved(&library, CLUSTER, "stig");
    let secrets = Secrets { encryption_key: SecretText::new("A".repeat(43) + "=") };
    let input = Input { cluster: &cluster, images: &images, secrets: &secrets };
    for node in &cluster.nodes {
        let desired = render_node(&templates, &input, node).unwrap();
        let leaves = desired.certificates.iter().filter_map(|certificate| match &certificate.kind {
            CertificateKind::Leaf(_) => Some(certificate.certificate_path.as_str()),
            CertificateKind::Intermediate(_) => None,
        });
        let leaves: BTreeSet<&str> = leaves.collect();
        let reads = kubezt_controls::reads(&library, &cluster, node);
        let looked_at = reads.iter().filter_map(|read| match read {
            Read::Subjects { path } => Some(path.as_str()),
            _ => None,
        });
        assert_eq!(looked_at.collect::<BTreeSet<&str>>(), leaves, "{}", node.name);
    }
}

/// Puts a node's rendered files in the place of the readings of those files and of the processes they start.
fn take_for_real(evidence: &mut Evidence, cluster: &Cluster, desired: &DesiredNode) {
    let facts = evidence.facts.get_mut(&desired.node.name).unwrap();
    for file in &desired.files {
        let text = file.body.expose();
        for with_text in [true, false] {
            let read = Read::File { path: file.path.clone(), text: with_text };
            if let Some(reading) = facts.readings.get_mut(&read) {
                *reading = Reading::File(FileReading {
                    path: file.path.clone(),
                    kind: FileKind::File,
                    mode: file.mode,
                    owner: file.owner.clone(),
                    size: text.len() as u64,
                    digest: Some(Digest::of(text.as_bytes())),
                    text: with_text.then(|| file.body.clone()),
                    changed: 0,
                });
            }
        }
        for (read, reading) in &mut facts.readings {
            let (Read::Tree { path }, Reading::Tree(files)) = (read, reading) else { continue };
            if file.path.starts_with(&format!("{path}/")) {
                files.push(FileReading {
                    path: file.path.clone(),
                    kind: FileKind::File,
                    mode: file.mode,
                    owner: file.owner.clone(),
                    size: 0,
                    digest: None,
                    text: None,
                    changed: 0,
                });
            }
        }
        let name = file.path.rsplit('/').next().unwrap();
        let command = if file.path.starts_with("/etc/kubernetes/manifests/") {
            let pod: Value = yaml::read(name, text).unwrap();
            serde_json::from_value(pod["spec"]["containers"][0]["command"].clone()).unwrap()
        } else if name == "10-kubeadm.conf" {
            let line =
                text.lines().rev().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/")).unwrap();
            line.split(' ').map(|word| word.trim_matches('"').to_owned()).collect()
        } else {
            Vec::<String>::new()
        };
        let Some(program) = command.first().cloned() else { continue };
        let Some(Reading::Processes(processes)) =
            facts.readings.get_mut(&Read::Process { name: program.clone() })
        else {
            panic!("{program} was not looked at")
        };
        processes[0].arguments = command;
        assert_eq!(processes[0].uid, if program == "etcd" { cluster.settings.etcd.uid } else { 0 });
    }
    for directory in &desired.directories {
        for (read, reading) in &mut facts.readings {
            let seen = FileReading {
                path: directory.path.clone(),
                kind: FileKind::Directory,
                mode: directory.mode,
                owner: directory.owner.clone(),
                size: 0,
                digest: None,
                text: None,
                changed: 0,
            };
            match (read, reading) {
                (Read::File { path, .. }, reading) if *path == directory.path => {
                    *reading = Reading::File(seen)
                }
                (Read::Tree { path }, Reading::Tree(files)) if directory.path.starts_with(path.as_str()) => {
                    files.retain(|file| file.path != directory.path);
                    files.push(seen);
                }
                _ => {}
            }
        }
    }
}
