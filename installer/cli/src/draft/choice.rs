//! What is chosen, and what each choice means for security. The wizard says it before it asks, the file says it beside the answer.

/// Something a cluster file settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// `metadata.name`
    Name,
    /// `spec.profile`
    Profile,
    /// `spec.nodes`
    Nodes,
    /// `spec.ssh.user`
    User,
    /// `spec.ssh.identityFiles`
    Keys,
    /// `spec.endpoint`
    Endpoint,
    /// `spec.artifacts.source`
    Source,
    /// `spec.passphraseFile`
    Passphrase,
}

impl Choice {
    /// What it means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Name => {
                "The name stands in the subjects of certificates and in kubeconfigs, so it stays for the cluster's life."
            }
            Self::Profile => {
                "The profile decides what is enforced on nodes and in the API, and what `kubezt verify` holds the running cluster to."
            }
            Self::Nodes => {
                "A node's name is its host name (V-242404), control-plane nodes hold etcd and the keys that rule the cluster, and \
                 one of three may be lost where one of one may not."
            }
            Self::User => {
                "Whoever logs in as this user may become root on every node: an account of its own, with sudo, leaves a trace \
                 of its own in the nodes' logs."
            }
            Self::Keys => {
                "Logins are by key and never by password: a key that is named is the only one offered, by the agent where it \
                 holds it, and otherwise ssh_config, the agent and the usual files in ~/.ssh decide."
            }
            Self::Endpoint => {
                "Clients verify this DNS name in the certificate of every API server, so it has to stay while addresses may \
                 change."
            }
            Self::Source => {
                "Every source gives the same versions, checked by digest before use: `release` is upstream's builds, `source` \
                 compiles pinned Go modules here, `directory` and `oci` are a folder and a registry of yours for machines without \
                 a network, and `auto` is `release` where upstream answers, else `source`."
            }
            Self::Passphrase => {
                "The passphrase seals the cluster's root key: typed, it is stored nowhere; in a file, installs run unattended, \
                 and whoever reads the file and this folder owns the cluster."
            }
        }
    }
}

/// Breaks a text into lines of at most `width` characters at its spaces; a longer word stays whole.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_lose_no_word() {
        let text = Choice::Passphrase.meaning();
        let lines = wrapped(text, 40);
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped("a-long-word b", 4), ["a-long-word", "b"]);
    }
}
