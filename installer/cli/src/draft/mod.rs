//! A cluster file that is being written: what is known of it, what is missing, and what it will say.
//!
//! | module | what it does |
//! |---|---|
//! | [`node`] | one node, as `--node` names it |
//! | [`choice`] | what is chosen, and what each choice means, in a sentence |
//! | [`wizard`] | asks a person for what is missing |
//! | [`text`] | the draft becomes commented YAML |
//! | [`meaning`] | what all choices together mean |

pub mod choice;
pub mod meaning;
pub mod node;
pub mod text;
pub mod wizard;

use std::net::IpAddr;

use kubezt_controls::{Library, ResolveError, resolve};
use kubezt_model::NodeName;
use kubezt_model::cluster::{self, ArtifactsSpec, Role};
use kubezt_model::desired::Cluster;

use crate::args::InitArgs;
use node::DraftNode;

/// What is known of a cluster file that is not written yet. What is `None` or empty was not said, and has a default unless
/// [`Draft::missing`] names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Cluster name.
    pub name: Option<NodeName>,
    /// Profile: a name, or the path of a file of the site, relative to the cluster file.
    pub profile: Option<String>,
    /// The nodes.
    pub nodes: Vec<DraftNode>,
    /// Login name; ssh_config's and then root where absent.
    pub ssh_user: Option<String>,
    /// Key files; where there are none, ssh_config, the agent and the usual files are tried.
    pub ssh_identities: Vec<String>,
    /// DNS name of the API; `api.<name>.internal` where absent.
    pub endpoint: Option<NodeName>,
    /// Further addresses of the API, such as a load balancer's.
    pub endpoint_addresses: Vec<IpAddr>,
    /// How components are obtained; upstream's builds where absent.
    pub artifacts: Option<ArtifactsSpec>,
    /// File with the passphrase, relative to the cluster file; asked for where absent.
    pub passphrase_file: Option<String>,
}

impl Draft {
    /// What the command line says.
    ///
    /// # Errors
    /// Every flag that cannot be meant, a line each.
    pub fn of(arguments: &InitArgs) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut nodes = Vec::new();
        for text in &arguments.nodes {
            match text.parse() {
                Ok(node) => nodes.push(node),
                Err(error) => errors.push(format!("`--node {text}`: {error}")),
            }
        }
        let texts = [
            ("--profile", &arguments.profile),
            ("--ssh-user", &arguments.ssh_user),
            ("--passphrase-file", &arguments.passphrase_file),
        ];
        let texts = texts.into_iter().filter_map(|(flag, text)| Some((flag, text.as_ref()?)));
        for (flag, text) in texts.chain(arguments.ssh_identities.iter().map(|file| ("--ssh-identity", file)))
        {
            errors.extend(printable(text).err().map(|error| format!("`{flag}`: {error}")));
        }
        let draft = Self {
            name: arguments.name.clone(),
            profile: arguments.profile.clone(),
            nodes,
            ssh_user: arguments.ssh_user.clone(),
            ssh_identities: arguments.ssh_identities.clone(),
            endpoint: arguments.endpoint.clone(),
            endpoint_addresses: arguments.endpoint_addresses.clone(),
            artifacts: arguments.artifacts.source.map(|_| arguments.artifacts.clone().into()),
            passphrase_file: arguments.passphrase_file.clone(),
        };
        if errors.is_empty() { Ok(draft) } else { Err(errors) }
    }

    /// What nobody but the person can say and has not been said: the flag, and what it stands for.
    pub fn missing(&self) -> Vec<&'static str> {
        let control_plane = self.nodes.iter().any(|node| node.role == Role::ControlPlane);
        let wanted = [
            (self.name.is_none(), "--name NAME: what the cluster is called"),
            (self.profile.is_none(), "--profile NAME|FILE: what it is held to (`kubezt profile list`)"),
            (
                self.nodes.is_empty(),
                "--node NAME=ROLE@ADDRESS, once for each node: cp1=control-plane@10.0.0.1, w1=worker@10.0.0.2",
            ),
            (
                !self.nodes.is_empty() && !control_plane,
                "--node NAME=control-plane@ADDRESS: no node is a control-plane node yet",
            ),
        ];
        wanted.into_iter().filter(|(missing, _)| *missing).map(|(_, what)| what).collect()
    }

    /// The cluster this will be, judged exactly as the written file will be. `profile` is the profile's name in the library.
    ///
    /// # Errors
    /// Everything that cannot work, a line each and without lines of a file that nobody has seen.
    pub fn resolve(&self, library: &Library, profile: &str) -> Result<Cluster, Vec<String>> {
        let text = self.to_yaml();
        let file = cluster::parse("the new cluster file", &text)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let problem = |error| match error {
            ResolveError::Invalid { problem, .. } => problem,
            other => other.to_string(),
        };
        resolve(library, &file, &text, "the new cluster file", Some(profile))
            .map_err(|errors| errors.into_iter().map(problem).collect())
    }
}

/// Refuses texts that no file, user or host is named by.
pub fn printable(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("it is empty".to_owned())
    } else if text.chars().any(char::is_control) {
        Err("it holds characters that cannot be printed".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::library;

    fn arguments(nodes: &[&str]) -> InitArgs {
        InitArgs { nodes: nodes.iter().map(|text| (*text).to_owned()).collect(), ..InitArgs::default() }
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        assert_eq!(Draft::default().missing().len(), 3);
        let workers = Draft::of(&arguments(&["w1=worker@10.0.0.2"])).unwrap();
        assert!(workers.missing().iter().any(|line| line.contains("control-plane@")), "{workers:?}");
        let complete = Draft {
            name: Some("prod".parse().unwrap()),
            profile: Some("stig".to_owned()),
            ..Draft::of(&arguments(&["cp1=control-plane@10.0.0.1"])).unwrap()
        };
        assert!(complete.missing().is_empty());
    }

    #[test]
    fn all_wrong_flags_are_told_at_once() {
        let wrong = InitArgs {
            ssh_user: Some(String::new()),
            ssh_identities: vec!["a\nb".to_owned()],
            ..arguments(&["cp1", "w1=wroker@10.0.0.2", "w2=worker@10.0.0.3"])
        };
        let errors = Draft::of(&wrong).unwrap_err();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[1].contains("did you mean `worker`?"), "{errors:?}");
    }

    #[test]
    fn what_cannot_work_is_told_without_lines_of_a_file_nobody_has_seen() {
        let draft = Draft {
            name: Some("prod".parse().unwrap()),
            ..Draft::of(&arguments(&[
                "cp1=control-plane@10.0.0.1",
                "cp2=control-plane@10.0.0.1",
                "w1=worker@10.244.0.1",
            ]))
            .unwrap()
        };
        let problems = draft.resolve(&library().unwrap(), "stig").unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains("the new cluster file")), "{problems:?}");
    }
}
