//! Why something over the link did not work.

use std::io;
use std::path::PathBuf;

use kubezt_model::Digest;
use thiserror::Error;

use super::assembly::MessageError;
use crate::node::LOCKED;
use crate::transport::TransportError;

/// Why something over the link did not work.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The connection could not be used.
    #[error(transparent)]
    Transport(Box<TransportError>),
    /// The link ended while something was waited for.
    #[error("{node}: the link ended while {doing}: {why}")]
    Closed {
        /// Node.
        node: String,
        /// What was being done.
        doing: String,
        /// Why it ended, with the end of the node's standard error.
        why: String,
    },
    /// Another operator did not wait for this run's end.
    #[error("{node}: {by} took this node over; what was done is kept, and this run goes no further")]
    TakenOver {
        /// Node.
        node: String,
        /// Who.
        by: String,
    },
    /// Nothing came for too long.
    #[error("{node}: no answer within {seconds} s while {doing}")]
    Timeout {
        /// Node.
        node: String,
        /// What was being done.
        doing: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// The node says no.
    #[error("{node}: {doing} failed: {why}")]
    Refused {
        /// Node.
        node: String,
        /// What was being done.
        doing: String,
        /// The node's cause chain.
        why: String,
    },
    /// The other end speaks another version.
    #[error(
        "{node}: the node side speaks protocol {theirs}, this kubezt speaks {ours}; run the install again with this version"
    )]
    Protocol {
        /// Node.
        node: String,
        /// Version there.
        theirs: u32,
        /// Version here.
        ours: u32,
    },
    /// An answer that does not fit the question.
    #[error("{node}: an answer that does not fit arrived while {doing}")]
    Unexpected {
        /// Node.
        node: String,
        /// What was being done.
        doing: String,
    },
    /// A message could not be written.
    #[error("{node}: {doing} could not be asked")]
    Message {
        /// Node.
        node: String,
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: MessageError,
    },
    /// A blob could not be read here.
    #[error("{node}: cannot read blob {digest} from {path}", path = path.display())]
    Blob {
        /// Node it was meant for.
        node: String,
        /// The blob.
        digest: Digest,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The program file of this kubezt cannot be used.
    #[error("cannot read this program's own file {path}, which is copied to nodes", path = path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The node is of another architecture.
    #[error(
        "{node}: the node is {theirs} and this kubezt is built for {ours}; use the kubezt built for {theirs}"
    )]
    Architecture {
        /// Node.
        node: String,
        /// Architecture of the node.
        theirs: String,
        /// Architecture of this program.
        ours: &'static str,
    },
    /// The user cannot become root.
    #[error(
        "{node}: {user} cannot become root by {means}: {why}; log in as root, allow it without a password (`{user} ALL=(ALL) \
         NOPASSWD:ALL` in /etc/sudoers.d on the node), or name the password's file as `ssh.passwordFile` in cluster.yaml"
    )]
    Elevation {
        /// Node.
        node: String,
        /// Login name.
        user: String,
        /// `sudo` or `doas`.
        means: &'static str,
        /// What that says.
        why: String,
    },
    /// The node side did not start.
    #[error("{node}: kubezt did not start on the node: {why}")]
    Start {
        /// Node.
        node: String,
        /// What came instead.
        why: String,
    },
}

impl LinkError {
    /// Whether the server allows no more commands on a connection.
    pub(super) fn wants_another_connection(&self) -> bool {
        matches!(self, Self::Transport(error) if matches!(**error, TransportError::NoSession { .. }))
    }

    /// Whether a node that was in use may only be starting again: while it does, it lets nobody in.
    pub(crate) fn may_be_starting(&self) -> bool {
        match self {
            Self::Start { .. } => true,
            Self::Transport(error) => matches!(**error, TransportError::Refused { .. }),
            _ => false,
        }
    }

    /// Whether another link holds the node's lock.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Refused { why, .. } if why.starts_with(LOCKED))
    }

    /// Whether the connection was lost: what was asked may be asked again over a new one.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Closed { .. } | Self::Timeout { .. } => true,
            Self::Transport(error) => matches!(
                **error,
                TransportError::Connect { .. }
                    | TransportError::Timeout { .. }
                    | TransportError::Protocol { .. }
                    | TransportError::Jump { .. }
                    | TransportError::Forwarding { .. }
            ),
            _ => false,
        }
    }
}

impl From<TransportError> for LinkError {
    fn from(error: TransportError) -> Self {
        Self::Transport(Box::new(error))
    }
}
