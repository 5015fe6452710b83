//! A lab's `cluster.yaml`, derived from the committed `vagrant/cluster.yaml`, which describes the lab `demo`.
//!
//! Everything but the nodes, their names and addresses elsewhere, and the paths of local files is the same in every lab, so it
//! is written once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_yaml::{Mapping, Value};

use crate::inventory::{Lab, Node};

/// The lab that the committed file describes.
pub const DESCRIBED: &str = "demo";

/// Files beside the derived `cluster.yaml`.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// See [`KNOWN_HOSTS`].
pub const PASSPHRASE: &str = "passphrase";

/// Derives the file of `lab` from the text of the file of `described`.
///
/// # Errors
/// `committed` is no cluster file, or its nodes are not those of the inventory.
pub fn derive(committed: &str, described: &Lab, lab: &Lab, identity_file: &Path) -> Result<String> {
    let mut cluster: Value = serde_yaml::from_str(committed)?;
    let listed = nodes(&cluster)?;
    let wanted: Vec<_> = described.nodes.iter().map(summary).collect();
    ensure!(listed == wanted, "the nodes are not those of the inventory: {listed:?} where it has {wanted:?}");
    let substitutions = substitutions(described, lab);
    substitute(&mut cluster, &substitutions);

    *entry(&mut cluster, &["metadata", "name"])? = lab.name.clone().into();
    *entry(&mut cluster, &["spec", "nodes"])? = lab.nodes.iter().map(node).collect::<Result<Value>>()?;
    *entry(&mut cluster, &["spec", "ssh", "identityFiles"])? =
        Value::Sequence(vec![identity_file.display().to_string().into()]);
    *entry(&mut cluster, &["spec", "ssh", "knownHosts"])? = Value::Sequence(vec![KNOWN_HOSTS.into()]);
    *entry(&mut cluster, &["spec", "passphraseFile"])? = PASSPHRASE.into();

    let note = format!("# Derived from vagrant/cluster.yaml for the lab {}; changes are lost.\n", lab.name);
    Ok(note + &serde_yaml::to_string(&cluster)?)
}

/// A node as a cluster file lists it.
fn node(node: &Node) -> Result<Value> {
    let text = format!("{{name: {}, role: {}, addresses: [{}]}}", node.name, node.role, node.address);
    Ok(serde_yaml::from_str(&text)?)
}

fn summary(node: &Node) -> String {
    format!("{} {} {}", node.name, node.role, node.address)
}

/// Name, role and first address of each node of a cluster file.
fn nodes(cluster: &Value) -> Result<Vec<String>> {
    let nodes = cluster["spec"]["nodes"].as_sequence().context("spec.nodes is not a list")?;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    Ok(nodes
        .iter()
        .map(|node| [text(&node["name"]), text(&node["role"]), text(&node["addresses"][0])].join(" "))
        .collect())
}

/// What stands for what: node names, addresses, the gateway and the subnet.
fn substitutions(described: &Lab, lab: &Lab) -> Vec<(String, String)> {
    let mut pairs = vec![
        (described.subnet.to_string(), lab.subnet.to_string()),
        (described.gateway.to_string(), lab.gateway.to_string()),
    ];
    for (from, to) in described.nodes.iter().zip(&lab.nodes) {
        pairs.push((from.name.clone(), to.name.clone()));
        pairs.push((from.address.to_string(), to.address.to_string()));
    }
    pairs
}

fn substitute(value: &mut Value, pairs: &[(String, String)]) {
    match value {
        Value::String(text) => *text = substituted(text, pairs),
        Value::Sequence(items) => items.iter_mut().for_each(|item| substitute(item, pairs)),
        Value::Mapping(entries) => {
            let old = std::mem::take(entries);
            entries.extend(old.into_iter().map(|(mut key, mut value)| {
                substitute(&mut key, pairs);
                substitute(&mut value, pairs);
                (key, value)
            }));
        }
        _ => {}
    }
}

/// Replaces whole words only: `10.90.0.1` is not part of `10.90.0.11`, nor `w1` of `w10`.
fn substituted(text: &str, pairs: &[(String, String)]) -> String {
    let in_word = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let starts_word = !result.ends_with(in_word);
        let found = pairs.iter().find(|(from, _)| {
            starts_word && rest.strip_prefix(from.as_str()).is_some_and(|after| !after.starts_with(in_word))
        });
        if let Some((from, to)) = found {
            result.push_str(to);
            rest = &rest[from.len()..];
        } else {
            result.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    result
}

/// The value at a path of keys, whose mappings are made where they are missing.
fn entry<'a>(value: &'a mut Value, path: &[&str]) -> Result<&'a mut Value> {
    let mut current = value;
    for key in path {
        if current.is_null() {
            *current = Value::Mapping(Mapping::new());
        }
        let mapping =
            current.as_mapping_mut().with_context(|| format!("`{key}`: its parent is not a mapping"))?;
        current = mapping.entry((*key).into()).or_insert(Value::Null);
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::two;

    const COMMITTED: &str = "
apiVersion: kubezt.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  endpoint: {addresses: [10.90.0.11]}
  ssh: {user: vagrant, identityFiles: [~/elsewhere]}
  nodes:
    - {name: demo-cp1, role: control-plane, addresses: [10.90.0.11]}
    - {name: demo-w1, role: worker, addresses: [10.90.0.12]}
  settings:
    host: {trusted: ['10.90.0.0/24', '10.90.0.1', '10.90.0.110'], url: 'https://10.90.0.12:6443/demo-w1'}
  waivers:
    - {requirement: sshd-off, nodes: [demo-w1], reason: 'a demo of one word', owner: lab, expires: 2027-01-01}
";

    fn derived(committed: &str, lab: &str) -> Result<Value> {
        let inventory = two();
        let text =
            derive(committed, inventory.lab("demo")?, inventory.lab(lab)?, Path::new("/cache/node.key"))?;
        Ok(serde_yaml::from_str(&text)?)
    }

    #[test]
    fn names_and_addresses_become_those_of_the_lab() {
        let cluster = derived(COMMITTED, "test").unwrap();
        assert_eq!(cluster["metadata"]["name"], "test");
        assert_eq!(
            nodes(&cluster).unwrap(),
            ["test-cp1 control-plane 10.91.0.11", "test-w1 worker 10.91.0.12"]
        );
        assert_eq!(cluster["spec"]["endpoint"]["addresses"][0], "10.91.0.11");
        assert_eq!(cluster["spec"]["settings"]["host"]["url"], "https://10.91.0.12:6443/test-w1");
        let trusted = &cluster["spec"]["settings"]["host"]["trusted"];
        assert_eq!(trusted[0], "10.91.0.0/24");
        assert_eq!(trusted[1], "10.91.0.1");
        assert_eq!(trusted[2], "10.90.0.110", "an address that no lab has stays");
        assert_eq!(cluster["spec"]["waivers"][0]["nodes"][0], "test-w1");
        assert_eq!(cluster["spec"]["waivers"][0]["reason"], "a demo of one word", "prose stays");
    }

    #[test]
    fn local_files_are_this_machines() {
        for lab in ["demo", "test"] {
            let cluster = derived(COMMITTED, lab).unwrap();
            assert_eq!(cluster["spec"]["ssh"]["user"], "vagrant");
            assert_eq!(cluster["spec"]["ssh"]["identityFiles"][0], "/cache/node.key");
            assert_eq!(cluster["spec"]["ssh"]["knownHosts"][0], "known_hosts");
            assert_eq!(cluster["spec"]["passphraseFile"], "passphrase");
        }
    }

    #[test]
    fn a_file_of_other_nodes_is_refused() {
        let changed = COMMITTED.replace("demo-w1, role", "demo-w9, role");
        assert!(derived(&changed, "test").unwrap_err().to_string().contains("demo-w9"));
        assert!(derived("spec: {}", "test").unwrap_err().to_string().contains("spec.nodes"));
    }
}
