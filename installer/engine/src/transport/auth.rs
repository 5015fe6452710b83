//! Proving who the operator is: private key files first, because they were named on purpose, then a running agent.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use zeroize::Zeroizing;

use super::{Target, TransportError};

const HINT_NONE_TRIED: &str = "nothing to log in with: name a key under `ssh.identityFiles` in cluster.yaml, or load one with `ssh-add`";
const HINT_REFUSED: &str = "put the public half of one of them into ~/.ssh/authorized_keys of that user on the node, or name another key";

/// What was offered, and what became of it.
#[derive(Default)]
struct Attempts {
    lines: Vec<String>,
    offered: BTreeSet<String>,
    closed: bool,
}

impl Attempts {
    fn note(&mut self, what: &str, outcome: impl std::fmt::Display) {
        self.lines.push(format!("{what}: {outcome}"));
    }

    /// Takes the server's answer; `true` when it lets the operator in.
    fn judge(&mut self, what: &str, answer: Result<AuthResult, String>) -> bool {
        match answer {
            Ok(AuthResult::Success) => return true,
            Ok(AuthResult::Failure { partial_success: true, .. }) => {
                self.note(what, "accepted, but the server wants a second factor, which kubezt cannot give");
            }
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                self.note(what, "refused");
                if !remaining_methods.is_empty() && !remaining_methods.contains(&MethodKind::PublicKey) {
                    self.note("the server", "accepts no public keys for this user");
                    self.closed = true;
                }
            }
            Err(why) => {
                self.note(what, format_args!("the connection ended ({why}); too many keys offered?"));
                self.closed = true;
            }
        }
        false
    }
}

/// Tries everything in order until one thing is accepted.
pub(super) async fn authenticate<H: Handler<Error = russh::Error>>(
    handle: &mut Handle<H>,
    target: &Target,
) -> Result<(), TransportError> {
    let mut attempts = Attempts::default();
    if offer_files(handle, target, &mut attempts).await {
        return Ok(());
    }
    if target.agent && !attempts.closed && offer_agent(handle, target, &mut attempts).await {
        return Ok(());
    }
    let nothing_offered = attempts.offered.is_empty();
    Err(TransportError::Refused {
        node: target.node.clone(),
        user: target.user.clone(),
        address: target.host_and_port(),
        tried: attempts.lines.iter().map(|line| format!("\n  {line}")).collect(),
        hint: if nothing_offered { HINT_NONE_TRIED } else { HINT_REFUSED },
    })
}

async fn offer_files<H: Handler<Error = russh::Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    attempts: &mut Attempts,
) -> bool {
    for path in &target.identity_files {
        let name = format!("key file {}", path.display());
        let key = match load_key(path) {
            Ok(key) => key,
            Err(why) => {
                attempts.note(&name, why);
                continue;
            }
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let name = format!("{name} ({} {fingerprint})", key.algorithm().as_str());
        attempts.offered.insert(fingerprint);
        let answer = handle
            .authenticate_publickey(&target.user, PrivateKeyWithHashAlg::new(Arc::new(key), None))
            .await
            .map_err(|error| error.to_string());
        if attempts.judge(&name, answer) {
            return true;
        }
        if attempts.closed {
            return false;
        }
    }
    false
}

/// Reads a private key; the reason for a refusal says what to do and holds nothing of the content.
fn load_key(path: &Path) -> Result<PrivateKey, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("ignored: mode {mode:04o} lets others read it; `chmod 0600` it"));
    }
    let text =
        Zeroizing::new(std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?);
    let rsa =
        "RSA keys are not supported from files: load it into an agent with `ssh-add`, or use an Ed25519 key";
    let encrypted = "it is encrypted: load it into an agent with `ssh-add`";
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return Err(rsa.to_owned());
    }
    let key = if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        PrivateKey::from_openssh(text.as_bytes()).map_err(|error| format!("not a private key: {error}"))?
    } else {
        match decode_secret_key(&text, None) {
            Err(russh::keys::Error::KeyIsEncrypted) => return Err(encrypted.to_owned()),
            decoded => decoded.map_err(|_| "not a private key in OpenSSH or PKCS#8 form".to_owned())?,
        }
    };
    if key.is_encrypted() {
        return Err(encrypted.to_owned());
    }
    if key.algorithm().is_rsa() {
        return Err(rsa.to_owned());
    }
    Ok(key)
}

async fn offer_agent<H: Handler<Error = russh::Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    attempts: &mut Attempts,
) -> bool {
    let mut agent = match AgentClient::connect_env().await {
        Ok(agent) => agent,
        Err(russh::keys::Error::EnvVar(_)) => {
            attempts.note("agent", "none runs (SSH_AUTH_SOCK is not set)");
            return false;
        }
        Err(error) => {
            attempts.note("agent", format_args!("cannot be reached: {error}"));
            return false;
        }
    };
    if let Some(binding) = handle.agent_session_binding().cloned() {
        // Keys that are limited to destinations need it; agents that do not know it refuse, which does no harm.
        let _ = agent.bind_session(&binding, false).await;
    }
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => {
            attempts.note("agent", format_args!("does not list its keys: {error}"));
            return false;
        }
    };
    if identities.is_empty() {
        attempts.note("agent", "holds no keys");
    }
    for identity in identities {
        let public = identity.public_key().into_owned();
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        if !attempts.offered.insert(fingerprint.clone()) {
            continue;
        }
        let name = format!("agent key {} ({} {fingerprint})", public.comment(), public.algorithm().as_str());
        let hash = match public.algorithm().is_rsa() {
            true => handle.best_supported_rsa_hash().await.ok().flatten().flatten().or(Some(HashAlg::Sha512)),
            false => None,
        };
        let answer = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                handle.authenticate_publickey_with(&target.user, key, hash, &mut agent).await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                handle.authenticate_certificate_with(&target.user, certificate, hash, &mut agent).await
            }
        };
        match answer {
            // The agent declining (a confirmation denied, a token pulled out) leaves the connection usable.
            Err(error) if !handle.is_closed() => attempts.note(&name, format_args!("not signed: {error}")),
            answer => {
                if attempts.judge(&name, answer.map_err(|error| error.to_string())) {
                    return true;
                }
            }
        }
        if attempts.closed {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_cannot_be_used_say_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (text, mode, expected) in [
            ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", 0o600, "ssh-add"),
            ("not a key", 0o600, "not a private key"),
            ("not a key", 0o644, "chmod 0600"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
                0o600,
                "not a private key",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let why = load_key(&path).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(load_key(&folder.path().join("absent")).unwrap_err().contains("cannot be read"));
    }
}
