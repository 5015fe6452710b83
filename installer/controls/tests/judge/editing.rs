//! Changes to evidence: what a node or the API would have answered after somebody tampered with it.

use kubezt_controls::Evidence;
use kubezt_model::Mode;
use kubezt_model::node::{Facts, Read, Reading};
use serde_json::{Value, json};

use crate::support::node;

/// One tampering.
pub type Tamper = fn(&mut Evidence);

pub fn facts<'a>(evidence: &'a mut Evidence, name: &str) -> &'a mut Facts {
    evidence.facts.get_mut(&node(name)).unwrap()
}

pub fn edit_text(evidence: &mut Evidence, name: &str, path: &str, change: impl Fn(&mut Value)) {
    let read = Read::File { path: path.to_owned(), text: true };
    let Some(Reading::File(file)) = facts(evidence, name).readings.get_mut(&read) else {
        panic!("{path} was not read")
    };
    let mut document: Value = serde_json::from_str(file.text.as_ref().unwrap().expose()).unwrap();
    change(&mut document);
    file.text = Some(kubezt_model::SecretText::new(document.to_string()));
}

pub fn edit_arguments(evidence: &mut Evidence, name: &str, process: &str, from: &str, to: &str) {
    let read = Read::Process { name: process.to_owned() };
    let Some(Reading::Processes(processes)) = facts(evidence, name).readings.get_mut(&read) else {
        panic!("{process}")
    };
    replace(&mut processes[0].arguments, from, to);
}

pub fn replace(arguments: &mut Vec<String>, from: &str, to: &str) {
    match arguments.iter().position(|argument| argument == from) {
        Some(at) => arguments[at] = to.to_owned(),
        None if from.is_empty() => arguments.push(to.to_owned()),
        None => panic!("{from} is not among {arguments:?}"),
    }
    arguments.retain(|argument| !argument.is_empty());
}

pub fn edit_manifest(evidence: &mut Evidence, component: &str, from: &str, to: &str) {
    edit_text(evidence, "cp1", &format!("/etc/kubernetes/manifests/{component}.yaml"), |document| {
        let command = &mut document["spec"]["containers"][0]["command"];
        let mut arguments: Vec<String> = serde_json::from_value(command.clone()).unwrap();
        replace(&mut arguments, from, to);
        *command = json!(arguments);
    });
}

pub fn both(evidence: &mut Evidence, component: &str, from: &str, to: &str) {
    edit_arguments(evidence, "cp1", component, from, to);
    edit_manifest(evidence, component, from, to);
}

/// Changes what nft prints of the firewall of the control-plane node; `None` where the table is gone.
pub fn firewall(evidence: &mut Evidence, change: impl Fn(&str) -> Option<String>) {
    let readings = &mut facts(evidence, "cp1").readings;
    let Some(Reading::Text(table)) = readings.get(&Read::Firewall) else { panic!("no firewall was read") };
    let changed = change(table);
    assert_ne!(changed.as_ref(), Some(table), "nothing changed");
    readings.insert(Read::Firewall, changed.map_or(Reading::Missing, Reading::Text));
}

pub fn tree_mode(evidence: &mut Evidence, name: &str, tree: &str, file: &str, mode: u32) {
    let Some(Reading::Tree(files)) =
        facts(evidence, name).readings.get_mut(&Read::Tree { path: tree.to_owned() })
    else {
        panic!("{tree}")
    };
    files.iter_mut().find(|entry| entry.path == format!("{tree}{file}")).unwrap().mode = Mode::new(mode);
}

pub fn edit_objects(evidence: &mut Evidence, kind: &str, change: impl Fn(&mut Vec<Value>)) {
    for (read, list) in &mut evidence.objects {
        if read.kind == kind {
            change(list.as_mut().unwrap());
        }
    }
}
