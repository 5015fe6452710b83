//! The draft becomes a cluster file: YAML for people, which says beside every choice what it means.

use kubezt_model::cluster::default_kubernetes_version;
use kubezt_model::yaml;
use serde_json::Value;

use super::Draft;
use super::choice::{Choice, wrapped};

/// Characters a line of comment has at most.
const WIDTH: usize = 110;

impl Draft {
    /// The file's text. What is missing is left out, so that the text of a draft that misses nothing is a whole cluster file.
    pub fn to_yaml(&self) -> String {
        let mut file = Lines::default();
        file.comment(0, "A cluster for kubezt. Relative paths start at this file; `kubezt schema` describes all that may stand here.");
        file.entry(0, "apiVersion", "kubezt.dev/v1alpha1");
        file.entry(0, "kind", "Cluster");
        file.section(0, "metadata");
        file.comment(2, Choice::Name.meaning());
        if let Some(name) = &self.name {
            file.entry(2, "name", name.as_str());
        }
        file.section(0, "spec");
        file.entry(2, "kubernetesVersion", &default_kubernetes_version().to_string());
        file.blank();
        file.comment(2, Choice::Profile.meaning());
        if let Some(profile) = &self.profile {
            file.entry(2, "profile", profile);
        }
        self.endpoint(&mut file);
        self.ssh(&mut file);
        file.blank();
        file.comment(2, Choice::Source.meaning());
        file.section(2, "artifacts");
        let artifacts = self.artifacts.clone().unwrap_or_default();
        file.entry(4, "source", artifacts.source.as_str());
        for (key, value) in artifacts.settings() {
            file.entry(4, key, value);
        }
        file.blank();
        file.comment(2, Choice::Passphrase.meaning());
        match &self.passphrase_file {
            Some(path) => file.entry(2, "passphraseFile", path),
            None => file.off(2, "passphraseFile: passphrase"),
        }
        self.nodes(&mut file);
        file.blank();
        file.comment(
            2,
            "What is knowingly not met: `kubezt verify` reports it as accepted, never as passed, until the day it expires.",
        );
        for line in [
            "waivers:",
            "  - requirement: node-sshd",
            "    reason: Why the risk is taken",
            "    owner: Who answers for it",
            "    expires: 2027-12-31",
        ] {
            file.off(2, line);
        }
        file.0
    }

    fn endpoint(&self, file: &mut Lines) {
        file.blank();
        file.comment(2, Choice::Endpoint.meaning());
        let default = || Some(format!("api.{}.internal", self.name.as_ref()?));
        let name = self.endpoint.as_ref().map(ToString::to_string).or_else(default);
        file.section(2, "endpoint");
        file.entry(4, "name", name.as_deref().unwrap_or_default());
        file.list(4, "addresses", &self.endpoint_addresses);
    }

    fn ssh(&self, file: &mut Lines) {
        file.blank();
        // A section with nothing in it would be no map.
        match self.ssh_user.is_none() && self.ssh_identities.is_empty() {
            true => file.off(2, "ssh:"),
            false => file.section(2, "ssh"),
        }
        file.comment(4, Choice::User.meaning());
        match &self.ssh_user {
            Some(user) => file.entry(4, "user", user),
            None => file.off(4, "user: admin"),
        }
        file.comment(4, Choice::Keys.meaning());
        if self.ssh_identities.is_empty() {
            file.off(4, "identityFiles: [~/.ssh/id_ed25519]");
        }
        file.list(4, "identityFiles", &self.ssh_identities);
        if !self.ssh_identities.is_empty() {
            file.line(4, "identitiesOnly: true");
        }
    }

    fn nodes(&self, file: &mut Lines) {
        file.blank();
        file.comment(2, Choice::Nodes.meaning());
        file.section(2, "nodes");
        for node in &self.nodes {
            file.entry(4, "- name", node.name.as_str());
            file.entry(6, "role", node.role.as_str());
            file.list(6, "addresses", &node.addresses);
            if let Some(host) = &node.ssh {
                file.section(6, "ssh");
                file.entry(8, "address", host);
            }
        }
    }
}

/// A file that grows line by line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: &str) {
        self.0.extend(std::iter::repeat_n(' ', indent));
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn comment(&mut self, indent: usize, text: &str) {
        for line in wrapped(text, WIDTH - indent - 2) {
            self.line(indent, &format!("# {line}"));
        }
    }

    /// A line that counts once its `#` is taken away.
    fn off(&mut self, indent: usize, text: &str) {
        self.line(indent, &format!("# {text}"));
    }

    fn section(&mut self, indent: usize, key: &str) {
        self.line(indent, &format!("{key}:"));
    }

    fn entry(&mut self, indent: usize, key: &str, value: &str) {
        self.line(indent, &format!("{key}: {}", scalar(value)));
    }

    /// A list with an item a line; nothing where there is none.
    fn list(&mut self, indent: usize, key: &str, items: &[impl ToString]) {
        if items.is_empty() {
            return;
        }
        self.section(indent, key);
        for item in items {
            self.line(indent + 2, &format!("- {}", scalar(&item.to_string())));
        }
    }
}

/// A text on one line that every reader takes for a text; JSON's way of quoting is one of YAML's.
fn scalar(text: &str) -> String {
    match yaml::write(&text) {
        Ok(written) if written.trim_end().lines().count() == 1 => written.trim_end().to_owned(),
        _ => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use kubezt_model::cluster::{self, ArtifactSource, ArtifactsSpec, ClusterFile, Role};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::node::DraftNode;
    use super::*;
    use crate::context::library;

    /// What the file has to say, told another way.
    fn meant(draft: &Draft) -> ClusterFile {
        let name = draft.name.as_ref().unwrap().as_str();
        let nodes: Vec<Value> = draft
            .nodes
            .iter()
            .map(|node| {
                let ssh = node.ssh.as_ref().map_or(json!({}), |host| json!({ "address": host }));
                json!({"name": node.name, "role": node.role, "addresses": node.addresses, "ssh": ssh})
            })
            .collect();
        let keys = (!draft.ssh_identities.is_empty()).then_some(&draft.ssh_identities);
        let endpoint = draft.endpoint.as_ref().map_or(format!("api.{name}.internal"), ToString::to_string);
        serde_json::from_value(json!({
            "apiVersion": "kubezt.dev/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": name},
            "spec": {
                "profile": draft.profile,
                "endpoint": {"name": endpoint, "addresses": draft.endpoint_addresses},
                "ssh": {"user": draft.ssh_user, "identityFiles": keys, "identitiesOnly": keys.map(|_| true)},
                "artifacts": draft.artifacts.clone().unwrap_or_default(),
                "passphraseFile": draft.passphrase_file,
                "nodes": nodes,
            },
        }))
        .unwrap()
    }

    /// Names that are names, and texts that YAML would take for something else.
    fn label() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9]{0,8}",
            "[0-9]{1,4}",
            Just("null".to_owned()),
            Just("on".to_owned()),
            Just("1e3".to_owned())
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        let odd = [
            "~", "yes", "0x1F", "- a", "a: b", "#x", "&a", "*a", "{a}", "[a]", "'", "\"", "a #b", "%a", "?",
            "|", "1.5",
        ];
        prop_oneof![
            "[ -~]{0,40}[!-~]",
            proptest::sample::select(odd.to_vec()).prop_map(str::to_owned),
            "(/[a-zA-Zäß ]{1,30}){1,6}x",
        ]
    }

    fn nodes() -> impl Strategy<Value = Vec<DraftNode>> {
        (prop_oneof![Just(1_usize), Just(3)], vec((label(), option::of(text()), any::<bool>()), 3..7))
            .prop_map(|(control_plane, parts)| {
                let node = |(index, (label, ssh, both)): (usize, (String, Option<String>, bool))| {
                    let number = u8::try_from(index + 1).unwrap();
                    let mut addresses: Vec<IpAddr> = vec![[10, 0, 0, number].into()];
                    if both {
                        addresses.push(format!("fd00::{number:x}").parse().unwrap());
                    }
                    DraftNode {
                        name: format!("{label}.{number}").parse().unwrap(),
                        role: if index < control_plane { Role::ControlPlane } else { Role::Worker },
                        addresses,
                        ssh,
                    }
                };
                parts.into_iter().enumerate().map(node).collect()
            })
    }

    fn drafts() -> impl Strategy<Value = Draft> {
        let profiles = proptest::sample::select(vec!["baseline", "cis", "nsa", "stig", "stig-tiered"]);
        let artifacts = prop_oneof![
            proptest::sample::select(ArtifactSource::ALL.to_vec())
                .prop_map(|source| ArtifactsSpec { source, ..ArtifactsSpec::default() }),
            text().prop_map(|folder| ArtifactsSpec {
                source: ArtifactSource::Directory,
                directory: Some(folder),
                ..ArtifactsSpec::default()
            }),
        ];
        (
            (label(), profiles, nodes(), option::of(text()), vec(text(), 0..3)),
            (option::of(label()), vec(any::<IpAddr>(), 0..3), option::of(artifacts), option::of(text())),
        )
            .prop_map(
                |((name, profile, nodes, user, keys), (endpoint, addresses, artifacts, passphrase))| Draft {
                    name: Some(name.parse().unwrap()),
                    profile: Some(profile.to_owned()),
                    nodes,
                    ssh_user: user,
                    ssh_identities: keys,
                    endpoint: endpoint.map(|name| name.parse().unwrap()),
                    endpoint_addresses: addresses,
                    artifacts,
                    passphrase_file: passphrase,
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_what_was_meant(draft in drafts()) {
            let text = draft.to_yaml();
            let file = cluster::parse("cluster.yaml", &text);
            prop_assert!(file.is_ok(), "{:?}\n{text}", file.unwrap_err());
            prop_assert_eq!(file.unwrap(), meant(&draft), "{}", text);
        }
    }

    #[test]
    fn a_draft_of_every_profile_resolves() {
        let library = library().unwrap();
        for profile in library.profiles().map(|profile| profile.name.clone()) {
            for nodes in [
                vec!["cp1=control-plane@10.0.0.1"],
                vec!["cp1=control-plane@10.0.0.1,fd00::1", "w1=worker@10.0.0.2,ssh=w1.example.org"],
                vec![
                    "a=control-plane@10.0.0.1",
                    "b=control-plane@10.0.0.2",
                    "c=control-plane@10.0.0.3",
                    "d=worker@10.0.0.4,fd00::4",
                ],
            ] {
                let draft = Draft {
                    name: Some("prod".parse().unwrap()),
                    profile: Some(profile.clone()),
                    nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
                    ..Draft::default()
                };
                let cluster = draft.resolve(&library, &profile).unwrap();
                assert_eq!(cluster.nodes.len(), nodes.len());
                assert_eq!(cluster.endpoint.name, "api.prod.internal");
            }
        }
    }

    #[test]
    fn what_is_commented_out_counts_once_the_comment_is_gone() {
        let draft = Draft {
            name: Some("prod".parse().unwrap()),
            profile: Some("stig".to_owned()),
            nodes: vec!["cp1=control-plane@10.0.0.1".parse().unwrap()],
            ..Draft::default()
        };
        let text = draft.to_yaml();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let on = [
            "passphraseFile:",
            "ssh:",
            "user:",
            "identityFiles:",
            "waivers:",
            "  - requirement:",
            "    reason:",
            "    owner:",
            "    expires:",
        ];
        let lines = text.lines().map(|line| match line.split_once("# ") {
            Some((indent, off)) if on.iter().any(|key| off.starts_with(key)) => format!("{indent}{off}"),
            _ => line.to_owned(),
        });
        let file = cluster::parse("cluster.yaml", &lines.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(file.spec.waivers.len(), 1);
        assert_eq!(file.spec.ssh.user.as_deref(), Some("admin"));
        assert!(file.spec.ssh.identity_files.is_some() && file.spec.passphrase_file.is_some());
        assert!(library().unwrap().requirement(&file.spec.waivers[0].requirement).is_some());
    }
}
