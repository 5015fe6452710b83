//! `artifacts:` of `cluster.yaml`: where components come from, and what that source needs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nearest::nearest;

/// Where components come from. Paths are relative to the cluster file, `~/` allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ArtifactsSpec {
    /// How a component is obtained.
    pub source: ArtifactSource,
    /// For `directory`: the folder, as `kubezt images export` fills it.
    pub directory: Option<String>,
    /// For `oci`: the registry and what comes before the names of its repositories, as `HOST[:PORT][/PREFIX]`. It is spoken to
    /// over HTTPS, but over HTTP where it is a loopback address and no `registryCaFile` is named.
    pub registry: Option<String>,
    /// For `oci`: PEM file with the authorities that alone are believed; those of the system by default.
    pub registry_ca_file: Option<String>,
    /// For `oci`: file with credentials as `docker login` writes it (`config.json`), readable by its owner alone; anonymous by
    /// default.
    pub registry_credentials_file: Option<String>,
}

/// How a component is obtained; every source gives the same version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("enum" = ArtifactSource::ALL.map(ArtifactSource::as_str)))]
pub enum ArtifactSource {
    /// Upstream archive, binary or image over HTTPS, verified by digest.
    #[default]
    Release,
    /// Compiled from a pinned Go module.
    Source,
    /// The same bytes as `release`, from a folder.
    Directory,
    /// The same bytes as `release`, from a registry.
    Oci,
    /// `release` where upstream's hosts answer, else `source`.
    Auto,
}

impl ArtifactSource {
    /// Every source, in the order people are told of them.
    pub const ALL: [Self; 5] = [Self::Release, Self::Source, Self::Directory, Self::Oci, Self::Auto];

    /// The word used in files and arguments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Source => "source",
            Self::Directory => "directory",
            Self::Oci => "oci",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for ArtifactSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A word that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no source `{name}`; there are {}{}", words(), hint(.name))]
pub struct UnknownSource {
    /// As written.
    pub name: String,
}

fn words() -> String {
    ArtifactSource::ALL.map(ArtifactSource::as_str).join(", ")
}

fn hint(name: &str) -> String {
    let near = nearest(name, ArtifactSource::ALL.map(ArtifactSource::as_str));
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

impl FromStr for ArtifactSource {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        let named = Self::ALL.into_iter().find(|source| source.as_str() == text);
        named.ok_or_else(|| UnknownSource { name: text.to_owned() })
    }
}

impl TryFrom<String> for ArtifactSource {
    type Error = UnknownSource;

    fn try_from(text: String) -> Result<Self, UnknownSource> {
        text.parse()
    }
}

impl From<ArtifactSource> for String {
    fn from(source: ArtifactSource) -> Self {
        source.as_str().to_owned()
    }
}

/// A key of `artifacts:` that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactsProblem {
    /// The key, or `source` where another is missing.
    pub key: &'static str,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl ArtifactsSpec {
    /// The keys that belong to one source, with that source.
    fn keys(&self) -> [(&'static str, &Option<String>, ArtifactSource); 4] {
        [
            ("directory", &self.directory, ArtifactSource::Directory),
            ("registry", &self.registry, ArtifactSource::Oci),
            ("registryCaFile", &self.registry_ca_file, ArtifactSource::Oci),
            ("registryCredentialsFile", &self.registry_credentials_file, ArtifactSource::Oci),
        ]
    }

    /// What is said beside the source: keys and values.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.keys().into_iter().filter_map(|(key, value, _)| Some((key, value.as_deref()?)))
    }

    /// Everything that types cannot say: keys that belong to another source, keys that the source needs, and registries that are
    /// none. What is written is not repeated where it could hold a password.
    pub fn problems(&self) -> Vec<ArtifactsProblem> {
        let mut problems = Vec::new();
        let mut add = |key, problem| problems.push(ArtifactsProblem { key, problem });
        for (key, value, owner) in self.keys() {
            match value {
                Some(_) if self.source != owner => {
                    let source = self.source;
                    add(
                        key,
                        format!(
                            "`artifacts.{key}` is for `source: {owner}`, and the source is `{source}`; change one of the two"
                        ),
                    );
                }
                Some(text) if text.is_empty() => add(key, format!("`artifacts.{key}` is empty")),
                _ => {}
            }
        }
        match self.source {
            ArtifactSource::Directory if self.directory.is_none() => add(
                "source",
                "`source: directory` needs `artifacts.directory`, the folder that `kubezt images export` filled".to_owned(),
            ),
            ArtifactSource::Oci => match &self.registry {
                None => add(
                    "source",
                    "`source: oci` needs `artifacts.registry`, as `registry.example.org/kubezt`".to_owned(),
                ),
                Some(registry) => {
                    if let Some(problem) = registry_problem(registry) {
                        add("registry", problem);
                    }
                }
            },
            _ => {}
        }
        problems
    }
}

/// Why a text is not `HOST[:PORT][/PREFIX]`, where it is not. Empty texts are told elsewhere.
fn registry_problem(text: &str) -> Option<String> {
    if text.contains('@') {
        // What stands before an `@` may be a password, or this a digest.
        return Some(
            "`artifacts.registry` has an `@`: give host and prefix alone; digests are the lock's, and credentials belong into \
             `registryCredentialsFile`"
                .to_owned(),
        );
    }
    if text.contains("://") {
        return Some(format!(
            "`{text}`: leave the scheme out; HTTPS is spoken, and HTTP to loopback addresses only"
        ));
    }
    let (host, prefix) = text.split_once('/').map_or((text, None), |(host, prefix)| (host, Some(prefix)));
    if !text.is_empty() && !is_host(host) {
        return Some(format!("`{text}`: `{host}` is not a host or host:port"));
    }
    let wrong = prefix.and_then(|prefix| prefix.split('/').find(|part| !is_repository_part(part)));
    wrong.map(|part| {
        format!(
            "`{text}`: `{part}` cannot be part of a repository's name: lower-case letters, digits, and `.`, `_`, `-` between them \
             (no tag)"
        )
    })
}

/// A DNS name or address, with a port or without; IPv6 addresses in brackets.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let named = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let part = |part: &str| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            name.split('.').all(part)
        }
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// A part of a repository's name (OCI Distribution Specification 1.1, "Pulling manifests").
fn is_repository_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let bytes = text.as_bytes();
    bytes.iter().copied().all(inner)
        && bytes.first().copied().is_some_and(plain)
        && bytes.last().copied().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn problems(text: &str) -> Vec<String> {
        let spec: ArtifactsSpec = yaml::read("cluster.yaml", text).unwrap();
        spec.problems().into_iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect()
    }

    #[test]
    fn a_wrong_source_gets_the_nearest_name_and_its_line() {
        let error = yaml::read::<ArtifactsSpec>("cluster.yaml", "\nsource: relase\n").unwrap_err();
        assert!(error.to_string().starts_with("cluster.yaml:2"), "{error}");
        assert!(error.to_string().contains("did you mean `release`?"), "{error}");
        assert!(error.to_string().contains("release, source, directory, oci, auto"), "{error}");
        for source in ArtifactSource::ALL {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
    }

    #[test]
    fn keys_go_with_their_source_and_are_told_all_at_once() {
        let found =
            problems("{source: auto, directory: /media, registry: a.example, registryCaFile: ca.pem}");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("directory: ") && found[0].contains("`source: directory`"), "{found:?}");
        assert!(found[2].contains("`source: oci`, and the source is `auto`"), "{found:?}");
        assert!(problems("{source: directory}")[0].contains("needs `artifacts.directory`"));
        assert!(problems("{source: oci}")[0].contains("needs `artifacts.registry`"));
        assert!(problems("{source: directory, directory: \"\"}")[0].contains("is empty"));
        assert_eq!(problems("{source: directory, directory: /media}"), [""; 0]);
        assert_eq!(problems("{}"), [""; 0]);
    }

    #[test]
    fn registries_are_hosts_with_a_prefix_and_passwords_are_not_repeated() {
        for good in [
            "registry.example.org",
            "127.0.0.1:5000/mirror",
            "[::1]:5000",
            "a.example:443/team_1/kube-zt",
            "localhost",
        ] {
            assert_eq!(problems(&format!("{{source: oci, registry: \"{good}\"}}")), [""; 0], "{good}");
        }
        for (bad, wanted) in [
            ("https://a.example", "scheme"),
            ("a.example/b:1", "no tag"),
            ("a.example/B", "lower-case"),
            ("a.example/", "repository"),
            ("a.example:0", "host:port"),
            ("a..example", "host"),
            ("[::1", "host"),
            ("user:hunter2@a.example", "registryCredentialsFile"),
        ] {
            let found = problems(&format!("{{source: oci, registry: \"{bad}\"}}"));
            assert!(found.len() == 1 && found[0].contains(wanted), "{bad}: {found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }
}
