//! Asks a person for what a draft misses, one thing at a time, and says before each question what the answer means.

use std::path::Path;

use kubezt_controls::Library;
use kubezt_controls::library::is_file;
use kubezt_controls::nearest::nearest;
use kubezt_model::NodeName;
use kubezt_model::artifacts::{ArtifactSource, ArtifactsSpec, UnknownSource};
use kubezt_model::cluster::Role;

use super::Draft;
use super::choice::{Choice, wrapped};
use super::node::{DraftNode, address, role};
use super::printable;
use crate::context;
use crate::failure::Failure;

/// Characters on a line of explanation.
const WIDTH: usize = 100;

/// Whoever answers: a terminal, or a test.
pub trait Ask {
    /// Shows a line.
    fn say(&mut self, line: &str);
    /// Asks for a text until `check` takes it; an empty answer means the default, where there is one.
    fn text(
        &mut self,
        question: &str,
        default: Option<&str>,
        check: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<String, Failure>;
    /// Asks for yes or no.
    fn yes(&mut self, question: &str, default: bool) -> Result<bool, Failure>;
}

/// Asks for everything that was not said yet. `folder` is where the cluster file will be.
///
/// # Errors
/// What was said before cannot work, or nobody answers any more.
pub fn complete(
    draft: &mut Draft,
    library: &Library,
    folder: &Path,
    ask: &mut dyn Ask,
) -> Result<(), Failure> {
    if draft.name.is_none() {
        explain(ask, Choice::Name);
        let name = answer(ask, "Cluster name", None, |text| text.parse().map_err(words))?;
        draft.name = Some(name);
    }
    if draft.profile.is_none() {
        explain(ask, Choice::Profile);
        for profile in library.profiles() {
            let count = library.requirements_of(&profile.name).len();
            ask.say(&format!("  {:<12} {count:>4} requirements  {}", profile.name, profile.title));
        }
        let known = |text: &str| known_profile(library, folder, text).map(|_| text.to_owned());
        draft.profile = Some(answer(ask, "Profile, or a file of yours (./site.yaml)", None, known)?);
    }
    let reference = draft.profile.clone().unwrap_or_default();
    let (library, profile) = known_profile(library, folder, &reference).map_err(Failure::usage)?;
    nodes(draft, &library, &profile, ask)?;
    ssh(draft, ask)?;
    if draft.endpoint.is_none() {
        explain(ask, Choice::Endpoint);
        let default = draft.name.as_ref().map(|name| format!("api.{name}.internal"));
        let endpoint =
            answer(ask, "DNS name of the API", default.as_deref(), |text| text.parse().map_err(words))?;
        draft.endpoint = Some(endpoint);
    }
    if draft.artifacts.is_none() {
        explain(ask, Choice::Source);
        let source =
            answer(ask, "Components (release, source, directory, oci, auto)", Some("release"), |text| {
                text.parse().map_err(|error: UnknownSource| error.to_string())
            })?;
        let mut artifacts = ArtifactsSpec { source, ..ArtifactsSpec::default() };
        let needs = match source {
            ArtifactSource::Directory => {
                Some(("Folder that `kubezt images export` filled", &mut artifacts.directory))
            }
            ArtifactSource::Oci => Some(("Registry (HOST[:PORT][/PREFIX])", &mut artifacts.registry)),
            _ => None,
        };
        if let Some((question, place)) = needs {
            *place = Some(answer(ask, question, None, |text| printable(text).map(|()| text.to_owned()))?);
        }
        draft.artifacts = Some(artifacts);
    }
    if draft.passphrase_file.is_none() {
        explain(ask, Choice::Passphrase);
        draft.passphrase_file = optional(ask, "Passphrase file (empty: typed at every install)")?;
    }
    Ok(())
}

/// The library with the profile that is meant, and its name there.
pub fn known_profile(library: &Library, folder: &Path, reference: &str) -> Result<(Library, String), String> {
    let mut library = library.clone();
    if is_file(reference) {
        let path = folder.join(reference).to_string_lossy().into_owned();
        let name = context::profile(&mut library, &path, "the profile")
            .map_err(|failure| failure.to_string().trim_start_matches("error: ").to_owned())?;
        return Ok((library, name));
    }
    if library.profile(reference).is_some() {
        return Ok((library, reference.to_owned()));
    }
    let names: Vec<&str> = library.profiles().map(|profile| profile.name.as_str()).collect();
    let likely = nearest(reference, names.iter().copied());
    let likely = likely.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    Err(format!("there is no profile `{reference}`; there are {}{likely}", names.join(", ")))
}

/// Asks for nodes until they make a cluster and nobody wants another one.
fn nodes(draft: &mut Draft, library: &Library, profile: &str, ask: &mut dyn Ask) -> Result<(), Failure> {
    if draft.nodes.is_empty() {
        explain(ask, Choice::Nodes);
    } else if let Some(problem) = misfit(draft, None, library, profile) {
        return Err(Failure::usage(problem));
    }
    loop {
        if !draft.nodes.is_empty() {
            let workers = draft.nodes.iter().any(|node| node.role == Role::Worker);
            match draft.resolve(library, profile) {
                Ok(_) if !ask.yes("Another node?", !workers)? => return Ok(()),
                Ok(_) => {}
                Err(problems) => problems.iter().for_each(|problem| ask.say(problem)),
            }
        }
        let node = node(draft, library, profile, ask)?;
        draft.nodes.push(node);
    }
}

fn node(draft: &Draft, library: &Library, profile: &str, ask: &mut dyn Ask) -> Result<DraftNode, Failure> {
    let name: NodeName = answer(ask, "Node's host name", None, |text| {
        if draft.nodes.iter().any(|node| node.name.as_str() == text) {
            return Err(format!("there is a node `{text}` already"));
        }
        text.parse().map_err(words)
    })?;
    let usual = if draft.nodes.is_empty() { Role::ControlPlane } else { Role::Worker };
    let role = answer(ask, "Role (control-plane, worker)", Some(usual.as_str()), role)?;
    let host = answer(ask, "SSH address (IP address, host name or alias of ssh_config)", None, |text| {
        printable(text).map(|()| text.to_owned())
    })?;
    let inside = host.parse::<std::net::IpAddr>().ok().map(|address| address.to_string());
    answer(ask, "IP address inside the cluster", inside.as_deref(), |text| {
        let addresses = text.split(',').map(|part| address(part.trim())).collect::<Result<Vec<_>, _>>()?;
        let ssh = (addresses.first().map(ToString::to_string).as_ref() != Some(&host)).then(|| host.clone());
        let node = DraftNode { name: name.clone(), role, addresses, ssh };
        match misfit(draft, Some(&node), library, profile) {
            Some(problem) => Err(problem),
            None => Ok(node),
        }
    })
}

/// What keeps the nodes from going together, with one more among them, whatever they are: how many control-plane nodes there
/// are shows once all are named.
fn misfit(draft: &Draft, added: Option<&DraftNode>, library: &Library, profile: &str) -> Option<String> {
    let mut trial = draft.clone();
    trial.nodes.extend(added.cloned());
    for (index, node) in trial.nodes.iter_mut().enumerate() {
        node.role = if index == 0 { Role::ControlPlane } else { Role::Worker };
    }
    trial.resolve(library, profile).err().map(|problems| problems.join("\nerror: "))
}

fn ssh(draft: &mut Draft, ask: &mut dyn Ask) -> Result<(), Failure> {
    if draft.ssh_user.is_none() {
        explain(ask, Choice::User);
        draft.ssh_user = optional(ask, "SSH user (empty: ssh_config's, or root)")?;
    }
    if draft.ssh_identities.is_empty() {
        explain(ask, Choice::Keys);
        draft.ssh_identities.extend(optional(ask, "Key file (empty: ssh_config, agent, usual files)")?);
    }
    Ok(())
}

fn explain(ask: &mut dyn Ask, choice: Choice) {
    ask.say("");
    wrapped(choice.meaning(), WIDTH).iter().for_each(|line| ask.say(line));
}

/// An answer as what it stands for.
fn answer<T>(
    ask: &mut dyn Ask,
    question: &str,
    default: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    let text = ask.text(question, default, &mut |text| read(text).map(drop))?;
    read(&text).map_err(Failure::usage)
}

/// An answer that may be left out.
fn optional(ask: &mut dyn Ask, question: &str) -> Result<Option<String>, Failure> {
    let check = &mut |text: &str| if text.is_empty() { Ok(()) } else { printable(text) };
    Ok(Some(ask.text(question, Some(""), check)?).filter(|text| !text.is_empty()))
}

fn words(error: kubezt_model::names::NameError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::context::library;

    /// A person who answers in this order, and what was said to them.
    struct Script {
        answers: VecDeque<&'static str>,
        said: Vec<String>,
    }

    impl Script {
        fn new(answers: &[&'static str]) -> Self {
            Self { answers: answers.iter().copied().collect(), said: Vec::new() }
        }

        fn next(&mut self, question: &str) -> Result<&'static str, Failure> {
            self.said.push(question.to_owned());
            self.answers
                .pop_front()
                .ok_or_else(|| Failure::environment(format!("nobody answers `{question}`")))
        }
    }

    impl Ask for Script {
        fn say(&mut self, line: &str) {
            self.said.push(line.to_owned());
        }

        fn text(
            &mut self,
            question: &str,
            default: Option<&str>,
            check: &mut dyn FnMut(&str) -> Result<(), String>,
        ) -> Result<String, Failure> {
            loop {
                let answer = match (self.next(question)?, default) {
                    ("", Some(default)) => default,
                    (answer, _) => answer,
                };
                match check(answer) {
                    Ok(()) => return Ok(answer.to_owned()),
                    Err(problem) => self.said.push(problem),
                }
            }
        }

        fn yes(&mut self, question: &str, default: bool) -> Result<bool, Failure> {
            Ok(match self.next(question)? {
                "" => default,
                answer => answer == "y",
            })
        }
    }

    fn asked(draft: &mut Draft, answers: &[&'static str]) -> (Result<(), String>, Script) {
        let mut script = Script::new(answers);
        let folder = tempfile::tempdir().unwrap();
        let result = complete(draft, &library().unwrap(), folder.path(), &mut script);
        (result.map_err(|failure| failure.to_string()), script)
    }

    #[test]
    fn a_person_who_only_confirms_gets_a_cluster() {
        let mut draft = Draft::default();
        let answers = ["prod", "stig", "cp1", "", "10.0.0.1", "", "n", "", "", "", "", ""];
        let (result, script) = asked(&mut draft, &answers);
        assert_eq!((result, script.answers.len()), (Ok(()), 0), "{:?}", script.said);
        assert!(draft.missing().is_empty());
        assert_eq!(draft.nodes, ["cp1=control-plane@10.0.0.1".parse().unwrap()]);
        assert_eq!((draft.ssh_user, draft.passphrase_file), (None, None));
        assert_eq!(draft.endpoint.unwrap().as_str(), "api.prod.internal");
    }

    #[test]
    fn wrong_answers_are_explained_and_asked_for_again() {
        let mut draft = Draft::default();
        let answers = [
            "Prod",
            "prod",
            "stik",
            "./none.yaml",
            "stig", // name, profile
            "cp1",
            "master",
            "control-plane",
            "cp1.example.org",
            "cp1.example.org",
            "10.244.0.9",
            "10.0.0.1",
            "y",
            "cp1",
            "cp2",
            "control-plane",
            "10.0.0.1",
            "",
            "10.0.0.2", // an address twice, and no odd number
            "cp3",
            "control-plane",
            "10.0.0.3",
            "",
            "n", // enough
            "admin",
            "~/.ssh/id_ed25519",
            "k8s.example.org",
            "releases",
            "source",
            "passphrase",
        ];
        let (result, script) = asked(&mut draft, &answers);
        assert_eq!((result, script.answers.len()), (Ok(()), 0), "{:#?}", script.said);
        let said = script.said.join("\n");
        for part in [
            "RFC 1123",
            "did you mean `stig`?",
            "none.yaml",
            "there is no role `master`",
            "is not an IP address",
            "10.244.0.0/16",
            "there is a node `cp1` already",
            "share the address 10.0.0.1",
            "2 control-plane nodes",
            "did you mean `release`?",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let nodes: Vec<String> = draft.nodes.iter().map(ToString::to_string).collect();
        assert_eq!(nodes[0], "cp1=control-plane@10.0.0.1,ssh=cp1.example.org");
        assert_eq!(nodes[1], "cp2=control-plane@10.0.0.2,ssh=10.0.0.1");
        assert_eq!(nodes.len(), 3);
    }

    #[test]
    fn what_was_said_is_not_asked_again() {
        let mut draft = Draft {
            name: Some("prod".parse().unwrap()),
            nodes: vec!["cp1=control-plane@10.0.0.1".parse().unwrap()],
            ssh_user: Some("admin".to_owned()),
            ssh_identities: vec!["identity".to_owned()],
            endpoint: Some("k8s.example.org".parse().unwrap()),
            artifacts: Some(ArtifactsSpec::default()),
            passphrase_file: Some("passphrase".to_owned()),
            ..Draft::default()
        };
        let (result, script) = asked(&mut draft, &["cis", "n"]);
        assert_eq!((result, script.answers.len()), (Ok(()), 0), "{:?}", script.said);
        let (result, _) =
            asked(&mut Draft { nodes: vec!["a=worker@127.0.0.1".parse().unwrap()], ..draft }, &[]);
        assert!(result.unwrap_err().contains("127.0.0.1"));
    }
}
