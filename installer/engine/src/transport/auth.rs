//! Proving who the operator is: key files that need no passphrase first, because they were named on purpose, then a
//! running agent, then key files for whose passphrase a person is asked. Each key's certificates go before the key itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::time::timeout;

use super::access::Access;
use super::keys::{self, KeyFile};
use super::{Target, TransportError};

const HINT_NONE_TRIED: &str = "nothing to log in with: name a key under `ssh.identityFiles` in cluster.yaml, or load one with `ssh-add`";
const HINT_REFUSED: &str = "put the public half of one of them into ~/.ssh/authorized_keys of that user on the node, or name another key";
/// How long an agent may take to sign: somebody may have to confirm it, or to touch a token.
const AGENT_SECONDS: u64 = 120;

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
                self.note(
                    what,
                    format_args!(
                        "the connection ended ({why}); too many keys offered? `ssh.identitiesOnly: true` leaves the agent's other keys alone"
                    ),
                );
                self.closed = true;
            }
        }
        false
    }
}

/// A key file that was named.
struct Named {
    name: String,
    path: std::path::PathBuf,
    file: KeyFile,
}

impl Named {
    fn public(&self) -> Option<&KeyData> {
        match &self.file {
            KeyFile::Plain(key) => Some(key.public_key().key_data()),
            KeyFile::Encrypted { public, .. } => public.as_ref().map(PublicKey::key_data),
            KeyFile::AgentOnly { public, .. } => Some(public.key_data()),
        }
    }
}

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// One login.
struct Login<'a, H: Handler<Error = russh::Error>> {
    handle: &'a mut Handle<H>,
    target: &'a Target,
    access: &'a Arc<Access>,
    attempts: Attempts,
    certificates: Vec<(String, Certificate)>,
}

/// Tries everything in order until one thing is accepted.
pub(super) async fn authenticate<H: Handler<Error = russh::Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    access: &Arc<Access>,
) -> Result<(), TransportError> {
    let mut login = Login { handle, target, access, attempts: Attempts::default(), certificates: Vec::new() };
    if login.run().await {
        return Ok(());
    }
    let attempts = login.attempts;
    Err(TransportError::Refused {
        node: target.node.clone(),
        user: target.user.clone(),
        address: target.host_and_port(),
        tried: attempts.lines.iter().map(|line| format!("\n  {line}")).collect(),
        hint: if attempts.offered.is_empty() { HINT_NONE_TRIED } else { HINT_REFUSED },
    })
}

impl<H: Handler<Error = russh::Error>> Login<'_, H> {
    async fn run(&mut self) -> bool {
        let named = self.read_files();
        for key in &named {
            if let KeyFile::Plain(private) = &key.file
                && self.offer_file(&key.name, private).await
            {
                return true;
            }
            if self.attempts.closed {
                return false;
            }
        }
        if self.target.agent && self.offer_agent(&named).await {
            return true;
        }
        for key in &named {
            if self.attempts.closed {
                return false;
            }
            let offered =
                key.public().is_some_and(|public| self.attempts.offered.contains(&fingerprint(public)));
            match &key.file {
                KeyFile::AgentOnly { why, .. } if !offered => self.attempts.note(&key.name, why),
                KeyFile::Encrypted { text, .. } if !offered => {
                    let text = text.clone();
                    let opened =
                        self.access.unlock(&key.path, move |passphrase| keys::decrypt(&text, passphrase));
                    match opened.await {
                        Ok(private) if private.algorithm().is_rsa() => {
                            self.attempts
                                .note(&key.name, "RSA keys are used through an agent only: `ssh-add` it");
                        }
                        Ok(private) => {
                            if self.offer_file(&key.name, &private).await {
                                return true;
                            }
                        }
                        Err(why) => self.attempts.note(&key.name, format_args!("it is encrypted: {why}")),
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Reads key files and certificates; what cannot be used is noted.
    fn read_files(&mut self) -> Vec<Named> {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let mut named = Vec::new();
        for path in &self.target.identity_files {
            let name = format!("key file {}", path.display());
            match keys::read(path) {
                Ok(file) => named.push(Named { name, path: path.clone(), file }),
                Err(why) => self.attempts.note(&name, why),
            }
            let beside = keys::certificate_beside(path);
            if beside.exists() {
                self.read_certificate(&beside, now);
            }
        }
        for path in &self.target.certificate_files {
            self.read_certificate(path, now);
        }
        named
    }

    fn read_certificate(&mut self, path: &Path, now: u64) {
        let name = format!("certificate {}", path.display());
        match keys::read_certificate(path, now) {
            Ok(certificate) => self.certificates.push((name, certificate)),
            Err(why) => self.attempts.note(&name, why),
        }
    }

    fn certificates_of(&self, public: &KeyData) -> Vec<(String, Certificate)> {
        self.certificates
            .iter()
            .filter(|(_, certificate)| certificate.public_key() == public)
            .cloned()
            .collect()
    }

    async fn offer_file(&mut self, name: &str, key: &Arc<PrivateKey>) -> bool {
        let (user, patience) = (self.target.user.clone(), self.target.timeout);
        let public = key.public_key().key_data();
        for (name, certificate) in self.certificates_of(public) {
            let asked = self.handle.authenticate_openssh_cert(&user, Arc::clone(key), certificate);
            let answer = answered(patience, asked).await;
            if self.attempts.judge(&name, answer) {
                return true;
            }
            if self.attempts.closed {
                return false;
            }
        }
        let fingerprint = fingerprint(public);
        let name = format!("{name} ({} {fingerprint})", key.algorithm().as_str());
        self.attempts.offered.insert(fingerprint);
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
        let answer = answered(patience, self.handle.authenticate_publickey(&user, key)).await;
        self.attempts.judge(&name, answer)
    }

    /// Offers the agent's keys: those that were named first, and the others unless only those shall be used.
    async fn offer_agent(&mut self, named: &[Named]) -> bool {
        let Some(mut agent) = self.connect_agent().await else { return false };
        let mut identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.attempts.note("agent", format_args!("does not list its keys: {error}"));
                return false;
            }
        };
        if identities.is_empty() {
            self.attempts.note("agent", "holds no keys");
        }
        let was_named = |identity: &AgentIdentity| {
            let public = identity.public_key().into_owned();
            named.iter().any(|key| key.public() == Some(public.key_data()))
                || self
                    .certificates
                    .iter()
                    .any(|(_, certificate)| certificate.public_key() == public.key_data())
        };
        if self.target.identities_only {
            identities.retain(was_named);
        }
        identities.sort_by_key(|identity| !was_named(identity));
        for identity in identities {
            if self.offer_identity(identity, &mut agent).await {
                return true;
            }
            if self.attempts.closed {
                return false;
            }
        }
        false
    }

    async fn connect_agent(&mut self) -> Option<Agent> {
        let mut agent = match AgentClient::connect_env().await {
            Ok(agent) => agent.dynamic(),
            Err(russh::keys::Error::EnvVar(_)) => {
                self.attempts.note("agent", "none runs (SSH_AUTH_SOCK is not set)");
                return None;
            }
            Err(error) => {
                self.attempts.note("agent", format_args!("cannot be reached: {error}"));
                return None;
            }
        };
        if let Some(binding) = self.handle.agent_session_binding().cloned() {
            // Keys that are limited to destinations need it; agents that do not know it refuse, which does no harm.
            let _ = agent.bind_session(&binding, false).await;
        }
        Some(agent)
    }

    async fn offer_identity(&mut self, identity: AgentIdentity, agent: &mut Agent) -> bool {
        let public = identity.public_key().into_owned();
        let hash = match public.algorithm().is_rsa() {
            true => {
                let supported = self.handle.best_supported_rsa_hash().await;
                supported.ok().flatten().flatten().or(Some(HashAlg::Sha512))
            }
            false => None,
        };
        let patience = Duration::from_secs(AGENT_SECONDS);
        let user = self.target.user.clone();
        let (mut certificates, key) = match identity {
            AgentIdentity::PublicKey { key, .. } => (self.certificates_of(key.key_data()), Some(key)),
            AgentIdentity::Certificate { certificate, .. } => {
                (vec![("the agent's certificate".to_owned(), certificate)], None)
            }
        };
        for (name, certificate) in certificates.drain(..) {
            let name = format!("{name} ({})", certificate.key_id().escape_default());
            let asked = self.handle.authenticate_certificate_with(&user, certificate, hash, agent);
            let answer = answered(patience, asked).await;
            if self.signed(&name, answer) {
                return true;
            }
            if self.attempts.closed {
                return false;
            }
        }
        let Some(key) = key else { return false };
        let fingerprint = fingerprint(key.key_data());
        if !self.attempts.offered.insert(fingerprint.clone()) {
            return false;
        }
        let name = format!("agent key {} ({} {fingerprint})", key.comment(), key.algorithm().as_str());
        let answer =
            answered(patience, self.handle.authenticate_publickey_with(&user, key, hash, agent)).await;
        self.signed(&name, answer)
    }

    /// Judges an answer for which an agent had to sign.
    fn signed(&mut self, name: &str, answer: Result<AuthResult, String>) -> bool {
        match answer {
            // The agent declining (a confirmation denied, a token pulled out) leaves the connection usable.
            Err(error) if !self.handle.is_closed() => {
                self.attempts.note(name, format_args!("not signed: {error}"));
                false
            }
            answer => self.attempts.judge(name, answer),
        }
    }
}

async fn answered<E: std::fmt::Display>(
    patience: Duration,
    asked: impl Future<Output = Result<AuthResult, E>>,
) -> Result<AuthResult, String> {
    match timeout(patience, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

fn fingerprint(public: &KeyData) -> String {
    public.fingerprint(HashAlg::Sha256).to_string()
}
