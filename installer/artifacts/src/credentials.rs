//! Credentials of registries, from a file as `docker login` writes it (`config.json`). Programs it names are not run.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubezt_model::SecretText;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::Error;

/// A user's name and password for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `name:password` in base64, as `Basic` authentication wants it (RFC 7617).
    basic: SecretText,
}

impl Credentials {
    /// Reads the credentials of a repository's registry.
    ///
    /// # Errors
    /// A file that cannot be read or that others may read, one that is not of this form, and one without the registry. No error
    /// repeats anything of the file but names of registries.
    pub(crate) fn read(file: &Path, host: &str, repository: &str) -> Result<Self, Error> {
        let problem = |problem: String| Error::Credentials { file: file.to_owned(), problem };
        let doing = || Error::file("cannot read the credentials of the registry");
        let mode = fs_err::metadata(file).map_err(doing())?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(problem(format!("others may read the credentials (mode {mode:04o}); chmod 600 it")));
        }
        let bytes = Zeroizing::new(fs_err::read(file).map_err(doing())?);
        // The parser's own message would quote what it stumbled over.
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| {
            problem(format!(
                "it is not a config.json of docker (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        config.of(host, repository).map_err(problem)
    }

    /// What follows `Basic` in a header.
    pub(crate) fn basic(self) -> SecretText {
        self.basic
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<SecretText>,
    username: Option<SecretText>,
    password: Option<SecretText>,
}

impl Config {
    /// The entry that names most of `host/repository`, as container tools choose it.
    fn of(self, host: &str, repository: &str) -> Result<Credentials, String> {
        let place = format!("{host}/{repository}");
        let mut fitting: Vec<&String> = self.auths.keys().filter(|key| covers(plain(key), &place)).collect();
        fitting.sort_by_key(|key| plain(key).len());
        let helped = self.creds_store.is_some() || self.cred_helpers.contains_key(host);
        let by_program = format!(
            "the credentials of {host} are kept by a program (credsStore, credHelpers), and kubezt runs none; write them into a file \
             of their own, under `auths` as `auth`"
        );
        let Some(key) = fitting.pop() else {
            let known = self.auths.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            return Err(if helped {
                by_program
            } else {
                format!("it has no credentials of {host}; it has those of: {known}")
            });
        };
        let entry = &self.auths[key];
        if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.expose().is_empty()) {
            let decoded = STANDARD.decode(auth.expose()).map(Zeroizing::new);
            let whole = decoded.is_ok_and(|bytes| bytes.contains(&b':'));
            return match whole {
                true => Ok(Credentials { basic: auth.clone() }),
                false => Err(format!("`auth` of {host} is not `name:password` in base64")),
            };
        }
        match (&entry.username, &entry.password) {
            (Some(name), Some(password)) => {
                let pair = Zeroizing::new(format!("{}:{}", name.expose(), password.expose()));
                Ok(Credentials { basic: SecretText::new(STANDARD.encode(pair.as_bytes())) })
            }
            _ if helped => Err(by_program),
            _ => Err(format!("its entry of {host} has neither `auth` nor `username` and `password`")),
        }
    }
}

/// A key without what older tools put around it: `https://host/v1/` is `host`.
fn plain(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

fn covers(key: &str, place: &str) -> bool {
    !key.is_empty() && place.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, mode: u32, repository: &str) -> Result<Credentials, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs_err::write(&file, config).unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        Credentials::read(&file, "a.example:5000", repository).map_err(|error| error.to_string())
    }

    fn entry(key: &str, auth: &str) -> String {
        format!(r#""{key}": {{"auth": "{}"}}"#, STANDARD.encode(auth))
    }

    #[test]
    fn the_entry_that_names_most_counts() {
        let entries = [
            entry("https://a.example:5000/v1/", "whole:1"),
            entry("a.example:5000/team", "team:2"),
            entry("a.example", "x:3"),
        ];
        let config = format!(r#"{{"auths": {{{}}}, "HttpHeaders": {{}}}}"#, entries.join(","));
        for (repository, wanted) in [("team/pause", "team:2"), ("teams/pause", "whole:1")] {
            let found = read(&config, 0o600, repository).unwrap();
            assert_eq!(found.basic().expose(), STANDARD.encode(wanted), "{repository}");
        }
        let named = r#"{"auths": {"a.example:5000": {"username": "a", "password": "b"}}}"#;
        assert_eq!(read(named, 0o600, "pause").unwrap().basic().expose(), STANDARD.encode("a:b"));
    }

    #[test]
    fn what_cannot_be_used_is_said_without_what_is_secret() {
        let good = format!(r#"{{"auths": {{{}}}}}"#, entry("a.example:5000", "a:hunter2"));
        for (config, mode, wanted) in [
            (good.as_str(), 0o644, "chmod 600"),
            (r#"{"auths": "hunter2""#, 0o600, "line 1"),
            (r#"{"auths": {"b.example": {"auth": "hunter2"}}}"#, 0o600, "those of: b.example"),
            (r#"{"auths": {"a.example:5000": {"auth": "hunter2"}}}"#, 0o600, "base64"),
            (r#"{"auths": {"a.example:5000": {}}, "credsStore": "pass"}"#, 0o600, "kubezt runs none"),
            (r#"{"auths": {"a.example:5000": {"identitytoken": "hunter2"}}}"#, 0o600, "neither `auth`"),
        ] {
            let error = read(config, mode, "pause").unwrap_err();
            assert!(error.contains(wanted) && error.contains("config.json"), "{config}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", read(&good, 0o600, "pause")).contains(&STANDARD.encode("a:hunter2")));
    }
}
