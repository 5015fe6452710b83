//! Why a node could not be reached.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::hostkeys::Recorded;

/// Why a node could not be reached. Every message names the node and where it was looked for.
#[derive(Debug, Error)]
pub enum TransportError {
    /// Nobody answers.
    #[error(
        "{node}: cannot connect to {address}; check that the node is up and that port and firewall let you in"
    )]
    Connect {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{node}: {address} did not {what} within {seconds} s")]
    Timeout {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// What was waited for.
        what: &'static str,
        /// How long, in seconds.
        seconds: u64,
    },
    /// No key of this host is recorded.
    #[error(
        "{node}: the host key of {address} is not known: it is {algorithm} {fingerprint}{otherwise}; compare it with \
         `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node, then record it with `kubezt trust` \
         or pin it as `ssh.hostKey` in cluster.yaml"
    )]
    UnknownHostKey {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// Kind of key that was offered.
        algorithm: String,
        /// Its fingerprint.
        fingerprint: String,
        /// Which other kinds are recorded, and why its certificate does not count; may be empty.
        otherwise: String,
    },
    /// Another key is recorded or pinned.
    #[error(
        "{node}: the host key of {address} is not the expected one, so nothing was sent\n  offered:  {fingerprint}\n  \
         expected: {expected}\neither the node was reinstalled (then remove the recorded key and run `kubezt trust`) \
         or someone is between you and it"
    )]
    HostKeyMismatch {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// Fingerprint that was offered.
        fingerprint: String,
        /// Fingerprints that are recorded, and where.
        expected: String,
    },
    /// The key was revoked.
    #[error("{node}: {address} offers a host key that was revoked: {by}; the node needs a new host key")]
    HostKeyRevoked {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// Where it was revoked.
        by: Recorded,
    },
    /// Client and server have no algorithm in common.
    #[error(
        "{node}: {address} offers no acceptable {kind}: it has {theirs}; kubezt takes {ours} (RSA host keys are not \
         accepted: `ssh-keygen -A` on the node makes the others)"
    )]
    Algorithms {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// Kind of algorithm.
        kind: String,
        /// What the server has.
        theirs: String,
        /// What kubezt takes.
        ours: String,
    },
    /// Nothing that was tried let the operator in.
    #[error("{node}: {user}@{address} lets none of these in:{tried}\n{hint}")]
    Refused {
        /// Node.
        node: String,
        /// Login name.
        user: String,
        /// Host and port.
        address: String,
        /// What was tried, one line each.
        tried: String,
        /// What to do.
        hint: &'static str,
    },
    /// The SSH protocol failed.
    #[error("{node}: SSH with {address} failed while {doing}")]
    Protocol {
        /// Node.
        node: String,
        /// Host and port.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// What the SSH library says.
        #[source]
        source: Box<russh::Error>,
    },
    /// The server allows no more commands side by side.
    #[error("{node}: the SSH server allows no more sessions on this connection (MaxSessions in sshd_config)")]
    NoSession {
        /// Node.
        node: String,
    },
    /// A jump host could not be used.
    #[error("{node}: the way to it is closed")]
    Jump {
        /// Node.
        node: String,
        /// Why; all nodes behind that host share it.
        #[source]
        source: Arc<TransportError>,
    },
    /// A jump host does not connect further.
    #[error(
        "{node}: {jump} does not connect to {address} ({why}); it needs `AllowTcpForwarding yes` (or `local`) in its \
         sshd_config and a way to that address"
    )]
    Forwarding {
        /// Node.
        node: String,
        /// The host on the way.
        jump: String,
        /// Where it was to connect to.
        address: String,
        /// What it says.
        why: String,
    },
    /// The server does not run commands.
    #[error(
        "{node}: the SSH server refuses to run commands (is there a ForceCommand or a subsystem-only login?)"
    )]
    ExecRefused {
        /// Node.
        node: String,
    },
    /// A known_hosts file could not be used.
    #[error("cannot {doing} the known_hosts file {path}", path = path.display())]
    KnownHosts {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An ssh_config file could not be used.
    #[error(
        "cannot read the SSH configuration {path}; `ssh.config` in cluster.yaml names another, or `none`",
        path = path.display()
    )]
    Config {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A pinned fingerprint cannot be one.
    #[error(
        "{node}: `{text}` is not a host key fingerprint: write `SHA256:` and 43 characters, as `ssh-keygen -lf` prints"
    )]
    Fingerprint {
        /// Node.
        node: String,
        /// What was given.
        text: String,
    },
    /// A command on the node failed.
    #[error("{node}: {what} ended with {exit}{stderr}")]
    Command {
        /// Node.
        node: String,
        /// What it was.
        what: String,
        /// How it ended.
        exit: String,
        /// What it printed to standard error, with a leading separator; may be empty.
        stderr: String,
    },
}
