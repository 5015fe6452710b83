//! Connections to nodes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Certificate, HashAlg, PublicKey, PublicKeyBase64, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hostcertificate::{self, CertificateVerdict, HostCertificate};
use super::hostkeys::{HostKey, HostNames, SkippedLine, Verdict};
use super::{Access, ExecStream, TransportError, algorithms, auth, rsa, trust};

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
    /// Login name: root, or a user who may become root.
    pub user: String,
    /// How another user than root becomes root.
    pub elevation: Elevation,
    /// Private key files, tried in order.
    pub identity_files: Vec<PathBuf>,
    /// Certificates of keys, beside those that lie with their keys.
    pub certificate_files: Vec<PathBuf>,
    /// Whether keys of the agent at `SSH_AUTH_SOCK` are offered too.
    pub agent: bool,
    /// Whether only those of them are that also are named as files.
    pub identities_only: bool,
    /// The name under which the host key is recorded, in place of the address.
    pub host_key_alias: Option<String>,
    /// Hosts on the way, the first first; their own lists are empty.
    pub jumps: Vec<Target>,
    /// Where the expected host key comes from.
    pub host_key: HostKeySource,
    /// How long connecting, the handshake and logging in may each take.
    pub timeout: Duration,
}

/// How a login user becomes root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Elevation {
    /// By sudo(8).
    #[default]
    Sudo,
    /// By doas(1).
    Doas,
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
    /// A node with the most ordinary settings: port 22, keys of an agent, no known host keys.
    pub fn of(node: &str, address: &str, user: &str) -> Self {
        Self {
            node: node.to_owned(),
            address: address.to_owned(),
            port: 22,
            user: user.to_owned(),
            elevation: Elevation::default(),
            identity_files: Vec::new(),
            certificate_files: Vec::new(),
            agent: true,
            identities_only: false,
            host_key_alias: None,
            jumps: Vec::new(),
            host_key: HostKeySource::KnownHosts(Vec::new()),
            timeout: Duration::from_secs(15),
        }
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn host_and_port(&self) -> String {
        match self.address.contains(':') {
            true => format!("[{}]:{}", self.address, self.port),
            false => format!("{}:{}", self.address, self.port),
        }
    }

    /// The names under which known_hosts files may record it.
    pub fn host_names(&self) -> HostNames {
        HostNames::new(&self.address, self.port, self.host_key_alias.as_deref())
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
        let Some(key) = host_key(&offered.public_key()) else { return Ok(false) };
        let refusal = match offered.certificate() {
            None => judge(&self.target, &self.expectation, &key, ""),
            Some(certificate) => judge_certificate(&self.target, &self.expectation, &key, certificate),
        };
        let accepted = refusal.is_none() && !matches!(self.expectation, Expectation::LookOnly);
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *seen = Seen { key: Some(key), refusal };
        Ok(accepted)
    }
}

fn host_key(key: &PublicKey) -> Option<HostKey> {
    HostKey::from_blob(key.public_key_bytes())
}

/// Judges a certificate; where it does not count, the key in it may still be recorded.
fn judge_certificate(
    target: &Target,
    expectation: &Expectation,
    key: &HostKey,
    certificate: &Certificate,
) -> Option<TransportError> {
    let authority = PublicKey::new(certificate.signature_key().clone(), "");
    // Certificates are asked for only where known_hosts files decide.
    let (Expectation::Known(known), Some(authority_key)) = (expectation, host_key(&authority)) else {
        return judge(target, expectation, key, "");
    };
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let signed_by: Fingerprint = authority.fingerprint(HashAlg::Sha256);
    let is_signed = match authority.algorithm().is_rsa() {
        true => rsa::signed(certificate),
        false => certificate.validate_at(now, [&signed_by]).is_ok(),
    };
    let said = HostCertificate {
        key: key.clone(),
        authority: authority_key,
        id: certificate.key_id().to_owned(),
        for_hosts: certificate.cert_type().is_host(),
        principals: certificate.valid_principals().to_vec(),
        valid_after: certificate.valid_after(),
        valid_before: certificate.valid_before(),
        critical_options: certificate.critical_options().keys().cloned().collect(),
        is_signed,
    };
    match hostcertificate::judge(known, &target.host_names(), &said, now) {
        CertificateVerdict::Good => None,
        CertificateVerdict::Revoked { by } => Some(TransportError::HostKeyRevoked {
            node: target.node.clone(),
            address: target.host_and_port(),
            by,
        }),
        CertificateVerdict::Refused { why } => judge(target, expectation, key, &format!("; {why}")),
    }
}

fn judge(
    target: &Target,
    expectation: &Expectation,
    key: &HostKey,
    certificate: &str,
) -> Option<TransportError> {
    let (node, address, fingerprint) = (target.node.clone(), target.host_and_port(), key.fingerprint());
    match expectation {
        Expectation::LookOnly => None,
        Expectation::Pinned(pinned) => (*pinned != fingerprint).then(|| TransportError::HostKeyMismatch {
            node,
            address,
            fingerprint,
            expected: format!("{pinned} (pinned in cluster.yaml)"),
        }),
        Expectation::Known(known) => match known.judge_names(&target.host_names(), key) {
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
                otherwise: match recorded.is_empty() {
                    true => certificate.to_owned(),
                    false => {
                        format!(" (recorded are only keys of type {}){certificate}", recorded.join(", "))
                    }
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
    /// The host on the way, whose session carries this one.
    _jump: Option<Arc<Connection>>,
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
    pub async fn open(target: Target, access: &Arc<Access>) -> Result<Self, TransportError> {
        let (expectation, offered, warnings) = expectation(&target)?;
        let jump = access.jump(&target).await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut handle = handshake(&target, jump.as_deref(), expectation, offered, &seen).await?;
        let host_key = take(&seen).key.ok_or_else(|| TransportError::Protocol {
            node: target.node.clone(),
            address: target.host_and_port(),
            doing: "reading the host key",
            source: Box::new(russh::Error::UnknownKey),
        })?;
        auth::authenticate(&mut handle, &target, access).await?;
        Ok(Self { target, handle, host_key, warnings, _jump: jump })
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
        self.start(command, false).await
    }

    /// The same on a terminal that passes every byte on as it is; standard error comes with the output.
    ///
    /// # Errors
    /// As [`Connection::exec`].
    pub async fn exec_on_terminal(&self, command: &str) -> Result<ExecStream, TransportError> {
        self.start(command, true).await
    }

    async fn start(&self, command: &str, terminal: bool) -> Result<ExecStream, TransportError> {
        let opened = timeout(self.target.timeout, async {
            let channel = self.handle.channel_open_session().await?;
            ExecStream::start(channel, command, terminal).await
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

    /// A TCP connection that this host makes for another target.
    async fn tunnel(&self, target: &Target) -> Result<ExecStream, TransportError> {
        let opened =
            self.handle.channel_open_direct_tcpip(&target.address, target.port.into(), "127.0.0.1", 0);
        match timeout(target.timeout, opened).await {
            Ok(Ok(channel)) => Ok(ExecStream::tunnel(channel)),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => Err(TransportError::Forwarding {
                node: target.node.clone(),
                jump: self.target.node.clone(),
                address: target.host_and_port(),
                why: match why {
                    russh::ChannelOpenFailure::AdministrativelyProhibited => "it is forbidden".to_owned(),
                    russh::ChannelOpenFailure::ConnectFailed => "nobody answers there".to_owned(),
                    other => format!("{other:?}"),
                },
            }),
            Ok(Err(source)) => Err(protocol(&self.target, "connecting further", source)),
            Err(_) => Err(target.timed_out("answer")),
        }
    }

    /// Says goodbye; dropping the connection does without.
    pub async fn close(self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "done", "en").await;
    }
}

/// Asks a host for its key without logging in, for `kubezt trust`: nothing is verified and nothing is recorded. The hosts on
/// the way to it are verified and logged in to.
///
/// # Errors
/// [`TransportError`].
pub async fn scan_host_key(target: &Target, access: &Arc<Access>) -> Result<HostKey, TransportError> {
    let jump = access.jump(target).await?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let offered = algorithms::preferred(&BTreeSet::new(), false);
    let error = match handshake(target, jump.as_deref(), Expectation::LookOnly, offered, &seen).await {
        Ok(_) => russh::Error::UnknownKey,
        Err(TransportError::Protocol { source, .. }) => *source,
        Err(error) => return Err(error),
    };
    take(&seen).key.ok_or_else(|| protocol(target, "reading the host key", error))
}

/// What host key is expected of a target, what is offered to it, and lines that were set aside.
fn expectation(target: &Target) -> Result<(Expectation, Preferred, Vec<SkippedLine>), TransportError> {
    match &target.host_key {
        HostKeySource::Pinned(text) => {
            Ok((pinned(target, text)?, algorithms::preferred(&BTreeSet::new(), false), Vec::new()))
        }
        HostKeySource::KnownHosts(files) => {
            let known = trust::read_known_hosts(files)?;
            let names = target.host_names();
            let recorded = names.recorded().iter().flat_map(|name| known.algorithms(name)).collect();
            let offered = algorithms::preferred(&recorded, known.has_authority(&names));
            let warnings = known.skipped().to_vec();
            Ok((Expectation::Known(known), offered, warnings))
        }
    }
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
    jump: Option<&Connection>,
    expectation: Expectation,
    offered: Preferred,
    seen: &Arc<Mutex<Seen>>,
) -> Result<Handle<Judge>, TransportError> {
    match jump {
        Some(jump) => shake_hands(jump.tunnel(target).await?, target, expectation, offered, seen).await,
        None => shake_hands(connect(target).await?, target, expectation, offered, seen).await,
    }
}

async fn connect(target: &Target) -> Result<TcpStream, TransportError> {
    let address = target.host_and_port();
    let stream = timeout(target.timeout, TcpStream::connect((target.address.as_str(), target.port)))
        .await
        .map_err(|_| target.timed_out("answer"))?
        .map_err(|source| TransportError::Connect { node: target.node.clone(), address, source })?;
    // Small frames go back and forth; waiting to fill packets would cost 40 ms each.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    target: &Target,
    expectation: Expectation,
    offered: Preferred,
    seen: &Arc<Mutex<Seen>>,
) -> Result<Handle<Judge>, TransportError> {
    let address = target.host_and_port();
    let configuration = client::Config {
        preferred: offered,
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
