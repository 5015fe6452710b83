//! Connections to nodes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::Disconnect;
use russh::client::{self, Handle};
use russh::keys::{HashAlg, PublicKeyBase64, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hostkeys::{HostKey, HostName, SkippedLine, Verdict};
use super::{ExecStream, TransportError, algorithms, auth, trust};

/// Seconds of silence after which the server is asked whether it is there.
const KEEPALIVE_SECONDS: u64 = 15;
/// Unanswered questions after which the connection is given up.
const KEEPALIVE_MAXIMUM: usize = 4;

/// A node, how to reach it, and how to know that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name used in messages.
    pub node: String,
    /// Host name or address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Login name: root, or a user with passwordless sudo.
    pub user: String,
    /// Private key files, tried in order.
    pub identity_files: Vec<PathBuf>,
    /// Whether keys of the agent at `SSH_AUTH_SOCK` are offered after the files.
    pub agent: bool,
    /// Where the expected host key comes from.
    pub host_key: HostKeySource,
    /// How long connecting, the handshake and logging in may each take.
    pub timeout: Duration,
}

/// Where the expected host key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeySource {
    /// known_hosts files; the first that knows the host decides.
    KnownHosts(Vec<PathBuf>),
    /// A fingerprint (`SHA256:…`) pinned in cluster.yaml.
    Pinned(String),
}

impl Target {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn host_and_port(&self) -> String {
        match self.address.contains(':') {
            true => format!("[{}]:{}", self.address, self.port),
            false => format!("{}:{}", self.address, self.port),
        }
    }

    /// The name under which known_hosts files record it.
    pub fn host_name(&self) -> HostName {
        HostName::new(&self.address, self.port)
    }

    fn timed_out(&self, what: &'static str) -> TransportError {
        TransportError::Timeout {
            node: self.node.clone(),
            address: self.host_and_port(),
            what,
            seconds: self.timeout.as_secs(),
        }
    }
}

/// How the host key of one handshake is judged.
enum Expectation {
    Known(super::KnownHosts),
    Pinned(String),
    /// Nothing is accepted; the key is only looked at.
    LookOnly,
}

/// Judges the host key and leaves what it found where the caller sees it.
struct Judge {
    target: Target,
    expectation: Expectation,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    key: Option<HostKey>,
    refusal: Option<TransportError>,
}

impl client::Handler for Judge {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // No certificate algorithm is offered, so a certificate can only be a server that breaks the protocol.
        if offered.certificate().is_some() {
            return Ok(false);
        }
        let Some(key) = HostKey::from_blob(offered.public_key().public_key_bytes()) else { return Ok(false) };
        let refusal = judge(&self.target, &self.expectation, &key);
        let accepted = refusal.is_none() && !matches!(self.expectation, Expectation::LookOnly);
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *seen = Seen { key: Some(key), refusal };
        Ok(accepted)
    }
}

fn judge(target: &Target, expectation: &Expectation, key: &HostKey) -> Option<TransportError> {
    let (node, address, fingerprint) = (target.node.clone(), target.host_and_port(), key.fingerprint());
    match expectation {
        Expectation::LookOnly => None,
        Expectation::Pinned(pinned) => (*pinned != fingerprint).then(|| TransportError::HostKeyMismatch {
            node,
            address,
            fingerprint,
            expected: format!("{pinned} (pinned in cluster.yaml)"),
        }),
        Expectation::Known(known) => match known.judge(&target.host_name(), key) {
            Verdict::Known => None,
            Verdict::Revoked { by } => Some(TransportError::HostKeyRevoked { node, address, by }),
            Verdict::Mismatch { expected } => Some(TransportError::HostKeyMismatch {
                node,
                address,
                fingerprint,
                expected: expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            }),
            Verdict::Unknown { recorded } => Some(TransportError::UnknownHostKey {
                node,
                address,
                algorithm: key.algorithm().to_owned(),
                fingerprint,
                recorded: match recorded.is_empty() {
                    true => String::new(),
                    false => format!(" (recorded are only keys of type {})", recorded.join(", ")),
                },
            }),
        },
    }
}

/// A logged-in SSH connection. Dropping it closes it.
pub struct Connection {
    target: Target,
    handle: Handle<Judge>,
    host_key: HostKey,
    warnings: Vec<SkippedLine>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, verifies the host key, logs in.
    ///
    /// # Errors
    /// [`TransportError`]; on a host key that is not the expected one nothing was sent to the host.
    pub async fn open(target: Target) -> Result<Self, TransportError> {
        let (expectation, recorded, warnings) = match &target.host_key {
            HostKeySource::Pinned(text) => (pinned(&target, text)?, BTreeSet::new(), Vec::new()),
            HostKeySource::KnownHosts(files) => {
                let known = trust::read_known_hosts(files)?;
                let recorded = known.algorithms(&target.host_name());
                let warnings = known.skipped().to_vec();
                (Expectation::Known(known), recorded, warnings)
            }
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut handle = handshake(&target, expectation, &recorded, &seen).await?;
        let host_key = take(&seen).key.ok_or_else(|| TransportError::Protocol {
            node: target.node.clone(),
            address: target.host_and_port(),
            doing: "reading the host key",
            source: Box::new(russh::Error::UnknownKey),
        })?;
        timeout(target.timeout, auth::authenticate(&mut handle, &target))
            .await
            .map_err(|_| target.timed_out("finish the login"))??;
        Ok(Self { target, handle, host_key, warnings })
    }

    /// What was connected to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The host key that was verified.
    pub fn host_key(&self) -> &HostKey {
        &self.host_key
    }

    /// Lines of known_hosts files that could not be read.
    pub fn warnings(&self) -> &[SkippedLine] {
        &self.warnings
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Starts one command. The string goes to the login shell of the user: the caller quotes it, and puts no secret in.
    ///
    /// # Errors
    /// [`TransportError::NoSession`], [`TransportError::ExecRefused`], [`TransportError::Protocol`],
    /// [`TransportError::Timeout`].
    pub async fn exec(&self, command: &str) -> Result<ExecStream, TransportError> {
        let opened = timeout(self.target.timeout, async {
            let channel = self.handle.channel_open_session().await?;
            ExecStream::start(channel, command).await
        })
        .await
        .map_err(|_| self.target.timed_out("start a command"))?;
        match opened {
            Ok(Some(stream)) => Ok(stream),
            Ok(None) => Err(TransportError::ExecRefused { node: self.target.node.clone() }),
            Err(russh::Error::ChannelOpenFailure(_)) => {
                Err(TransportError::NoSession { node: self.target.node.clone() })
            }
            Err(source) => Err(protocol(&self.target, "starting a command", source)),
        }
    }

    /// Says goodbye; dropping the connection does without.
    pub async fn close(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "done", "en").await;
    }
}

/// Asks a host for its key without logging in, for `kubezt trust`: nothing is verified and nothing is recorded.
///
/// # Errors
/// [`TransportError`].
pub async fn scan_host_key(target: &Target) -> Result<HostKey, TransportError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let error = match handshake(target, Expectation::LookOnly, &BTreeSet::new(), &seen).await {
        Ok(_) => russh::Error::UnknownKey,
        Err(TransportError::Protocol { source, .. }) => *source,
        Err(error) => return Err(error),
    };
    take(&seen).key.ok_or_else(|| protocol(target, "reading the host key", error))
}

fn pinned(target: &Target, text: &str) -> Result<Expectation, TransportError> {
    let text = text.trim();
    match text.parse::<russh::keys::ssh_key::Fingerprint>() {
        Ok(fingerprint) if fingerprint.algorithm() == HashAlg::Sha256 => {
            Ok(Expectation::Pinned(fingerprint.to_string()))
        }
        _ => Err(TransportError::Fingerprint { node: target.node.clone(), text: text.to_owned() }),
    }
}

async fn handshake(
    target: &Target,
    expectation: Expectation,
    recorded: &BTreeSet<String>,
    seen: &Arc<Mutex<Seen>>,
) -> Result<Handle<Judge>, TransportError> {
    let address = target.host_and_port();
    let stream = timeout(target.timeout, TcpStream::connect((target.address.as_str(), target.port)))
        .await
        .map_err(|_| target.timed_out("answer"))?
        .map_err(|source| TransportError::Connect {
            node: target.node.clone(),
            address: address.clone(),
            source,
        })?;
    // Small frames go back and forth; waiting to fill packets would cost 40 ms each.
    let _ = stream.set_nodelay(true);
    let configuration = client::Config {
        preferred: algorithms::preferred(recorded),
        keepalive_interval: Some(Duration::from_secs(KEEPALIVE_SECONDS)),
        keepalive_max: KEEPALIVE_MAXIMUM,
        nodelay: true,
        ..client::Config::default()
    };
    let judge = Judge { target: target.clone(), expectation, seen: Arc::clone(seen) };
    let connected = timeout(target.timeout, client::connect_stream(Arc::new(configuration), stream, judge))
        .await
        .map_err(|_| target.timed_out("finish the SSH handshake"))?;
    connected.map_err(|error| match (lock(seen).refusal.take(), error) {
        (Some(refusal), _) => refusal,
        (None, russh::Error::NoCommonAlgo { kind, ours, theirs }) => TransportError::Algorithms {
            node: target.node.clone(),
            address,
            kind: format!("{kind:?}").to_lowercase(),
            theirs: theirs.join(", "),
            ours: ours.join(", "),
        },
        (None, source) => protocol(target, "shaking hands", source),
    })
}

fn protocol(target: &Target, doing: &'static str, source: russh::Error) -> TransportError {
    TransportError::Protocol {
        node: target.node.clone(),
        address: target.host_and_port(),
        doing,
        source: Box::new(source),
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn take(seen: &Mutex<Seen>) -> Seen {
    std::mem::take(&mut *lock(seen))
}
