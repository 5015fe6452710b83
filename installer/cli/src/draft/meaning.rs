//! What the choices of a cluster file mean together: what is enforced, what is not, and what a person still has to do.

use std::path::Path;

use kubezt_controls::Library;
use kubezt_controls::check::Check;
use kubezt_controls::judge::applies_to_design;
use kubezt_controls::library::Requirement;
use kubezt_controls::report::deviations;
use kubezt_model::cluster::Role;
use kubezt_model::desired::Cluster;

use super::Draft;
use super::choice::wrapped;

/// Characters on a line.
const WIDTH: usize = 100;
/// Characters of the word a line begins with, and the space after it.
const LABEL: usize = 12;
/// The requirement that no cluster kubezt reaches over SSH meets.
const SSH_DAEMON: &str = "node-sshd";

/// What has to be known beside the draft.
pub struct Written<'a> {
    /// The cluster it resolves to.
    pub cluster: &'a Cluster,
    /// Requirements and profiles, with the cluster's own.
    pub library: &'a Library,
    /// The cluster file.
    pub file: &'a Path,
    /// Whether the passphrase file is there, where one is named.
    pub has_passphrase: bool,
}

/// What the choices mean, in a few lines.
pub fn meaning(draft: &Draft, written: &Written<'_>) -> String {
    let Written { cluster, library, .. } = written;
    let applies = |one: &&Requirement| applies_to_design(one, &cluster.kubernetes_version, &cluster.cni.name);
    let (questions, judged): (Vec<&Requirement>, Vec<&Requirement>) = library
        .selected(cluster)
        .into_iter()
        .filter(applies)
        .filter(|one| !one.check.iter().any(|check| matches!(check, Check::NotApplicable(_))))
        .partition(|one| one.check.iter().any(|check| matches!(check, Check::Manual(_))));
    let mut text =
        format!("Cluster {}, {}, profile {}\n\n", cluster.name, machines(cluster), cluster.profile);
    let mut say = |label: &str, what: &str| {
        for (index, line) in wrapped(what, WIDTH - LABEL).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            text.push_str(&format!("{label:<LABEL$}{line}\n"));
        }
    };
    let count = judged.len();
    say(
        "enforced",
        &format!(
            "{count} requirements: `kubezt install` sets them, `kubezt verify` proves them on the running cluster"
        ),
    );
    say("judged by", &frameworks(library, &cluster.profile));
    for deviation in deviations::of(library, &cluster.profile).iter().filter(|one| one.is_worth_a_look()) {
        say(
            deviation.kind.word(),
            &format!("{} by profile {}: {}", deviation.requirement, deviation.profile, deviation.reason),
        );
    }
    say(
        "waived",
        "nothing: what is knowingly not met goes under `waivers`, with a reason, an owner and a day it ends",
    );
    let workers = cluster.nodes.iter().any(|node| node.role == Role::Worker);
    if workers && judged.iter().any(|one| one.id == SSH_DAEMON) {
        say(
            "not met",
            &format!(
                "{SSH_DAEMON}, since SSH is the way to the workers: it fails until a waiver declares it (the file holds an example)"
            ),
        );
    }
    if !questions.is_empty() {
        let ids: Vec<&str> = questions.iter().map(|one| one.id.as_str()).collect();
        say(
            "yours",
            &format!(
                "{} that no setting decides (`kubezt explain ID`): {}",
                plural(ids.len(), "question"),
                ids.join(", ")
            ),
        );
    }
    say(
        "root key",
        &match &draft.passphrase_file {
            Some(path) => format!("sealed with the passphrase in {path}: keep both out of version control"),
            None => "sealed with a passphrase that is typed at every install and stored nowhere".to_owned(),
        },
    );
    text.push_str("\nWhat remains to be done by hand:\n");
    for (command, why) in steps(draft, written) {
        text.push_str(&format!("  {command}\n      {why}\n"));
    }
    text
}

fn steps(draft: &Draft, written: &Written<'_>) -> Vec<(String, &'static str)> {
    let option = match written.file.to_str() {
        Some("cluster.yaml") => String::new(),
        _ => format!(" -f {}", written.file.display()),
    };
    let passphrase = draft.passphrase_file.as_ref().filter(|_| !written.has_passphrase).map(|path| {
        (
            format!("write a passphrase into {path}"),
            "14 characters or more, readable by you alone (chmod 600)",
        )
    });
    let commands = [
        ("trust", "compare the nodes' host keys with what their consoles show; nothing logs in before that"),
        ("preflight", "find what would make an install fail; changes nothing"),
        ("install", "bring the nodes to the wanted state, then verify"),
    ];
    let commands = commands.map(|(command, why)| (format!("kubezt {command}{option}"), why));
    passphrase.into_iter().chain(commands).collect()
}

fn machines(cluster: &Cluster) -> String {
    let control_plane = cluster.control_plane().count();
    let workers = cluster.nodes.len() - control_plane;
    format!("{} and {}", plural(control_plane, "control-plane node"), plural(workers, "worker"))
}

fn frameworks(library: &Library, profile: &str) -> String {
    let catalogues = library.frameworks_of(profile).into_iter().filter_map(|name| library.catalogue(name));
    let titles: Vec<String> = catalogues
        .map(|one| format!("every rule of {} {} ({})", one.title, one.version, one.rules.len()))
        .collect();
    match titles.is_empty() {
        true => "no published benchmark: what every cluster should have, whoever runs it".to_owned(),
        false => titles.join(" and "),
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::library;

    fn told(profile: &str, passphrase_file: Option<&str>, file: &str) -> String {
        let library = library().unwrap();
        let draft = Draft {
            name: Some("prod".parse().unwrap()),
            profile: Some(profile.to_owned()),
            nodes: ["cp1=control-plane@10.0.0.1", "w1=worker@10.0.0.2"]
                .map(|node| node.parse().unwrap())
                .into(),
            passphrase_file: passphrase_file.map(str::to_owned),
            ..Draft::default()
        };
        let cluster = draft.resolve(&library, profile).unwrap();
        let file = Path::new(file);
        meaning(&draft, &Written { cluster: &cluster, library: &library, file, has_passphrase: false })
    }

    #[test]
    fn a_profile_says_what_it_enforces_and_what_it_leaves_to_people() {
        let text = told("stig", None, "cluster.yaml");
        for part in [
            "Cluster prod, 1 control-plane node and 1 worker, profile stig",
            "DISA Kubernetes STIG V2R6",
            "node-sshd",
            "ppsm",
            "typed at every install",
            "  kubezt trust\n",
            "  kubezt preflight\n",
            "  kubezt install\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.lines().count() < 25 && text.lines().all(|line| line.chars().count() <= WIDTH + 10),
            "{text}"
        );
        // The rule is in the other profile's benchmark as well, and left out there.
        let tiered = told("stig-tiered", None, "cluster.yaml");
        assert!(tiered.contains("excluded"), "{tiered}");
        let plain = told("baseline", None, "cluster.yaml");
        assert!(plain.contains("no published benchmark") && !plain.contains("node-sshd"), "{plain}");
    }

    #[test]
    fn a_passphrase_file_that_is_not_there_is_the_first_thing_to_do() {
        let text = told("stig", Some("secret"), "site/prod.yaml");
        let by_hand = text.split_once("by hand:\n").unwrap().1;
        assert!(by_hand.starts_with("  write a passphrase into secret\n"), "{text}");
        assert!(by_hand.contains("kubezt trust -f site/prod.yaml"), "{text}");
    }
}
