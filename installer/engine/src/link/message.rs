//! What is said over the link.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use kubezt_model::action::{Action, Outcome};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::Endpoint;
use kubezt_model::{Digest, NodeName, SecretText};
use serde::{Deserialize, Serialize};

/// Version of the protocol. Both ends come from one program file, so they differ only where a stale service answers.
pub const PROTOCOL: u32 = 1;

/// The line the node side writes before its first frame; what a login shell prints before it is skipped.
pub const PREAMBLE: &str = "KUBEZT-LINK 1";

/// Bytes of chunks an exchange may have under way before its receiver gives more credit.
pub const INITIAL_CREDIT: u64 = 8 << 20;

/// Seconds after which a side that has nothing to say sends a sign of life.
pub const PING_SECONDS: u64 = 15;

/// Seconds of silence after which the other side is taken for gone.
pub const SILENCE_SECONDS: u64 = 75;

/// Name by which nodes know each other where they hand blobs on; no name server is asked for it.
pub const RELAY_NAME: &str = "relay.kubezt.internal";

/// What the operator asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Who asks; first, on exchange 0, without an answer.
    Hello(OperatorHello),
    /// A sign of life, on exchange 0, answered with [`Reply::Pong`].
    Ping,
    /// Look at these things.
    Gather(Vec<Read>),
    /// Which of these blobs are not in the store?
    Missing(Vec<Digest>),
    /// The chunks that follow on this exchange are this blob.
    PutBlob(BlobHeader),
    /// Let nobody else change this node until the link ends.
    Claim {
        /// Whether an operator who is at work on it has to end.
        take_over: bool,
    },
    /// Keep these lines of a journal.
    Record {
        /// The run they belong to, as its journal is named.
        run: String,
        /// Whole lines.
        lines: String,
    },
    /// Do these things in order, and stop at the first that fails.
    Apply(Vec<Action>),
    /// Nothing more will be asked.
    Shutdown,
    /// Listen on these and on nothing else, for some seconds at most, so that other nodes can try to reach this one; none at all
    /// ends it.
    Listen {
        /// Where.
        endpoints: Vec<Endpoint>,
        /// What whoever connects is told: the node's name.
        name: NodeName,
    },
    /// Hand blobs to other nodes, until the link ends.
    Relay(RelayOffer),
    /// Get a blob from another node, which was asked to hand it on.
    FetchBlob {
        /// Which, and where to go on.
        header: BlobHeader,
        /// Where it listens.
        from: SocketAddr,
        /// What it wants to see, and shows.
        credential: RelayCredential,
    },
}

/// What a node hands to other nodes, and to which.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelayOffer {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The blobs it hands on, as far as it has them or gets them. Nothing else leaves it.
    pub blobs: BTreeSet<Digest>,
    /// What whoever wants them has to show, and what the node shows.
    pub credential: RelayCredential,
}

/// What nodes of one run show each other, in TLS: an authority that was made for the run, and one leaf below it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelayCredential {
    /// The authority, which alone is believed.
    pub authority_pem: String,
    /// The leaf, which has [`RELAY_NAME`].
    pub leaf_pem: String,
    /// Its PKCS#8 key.
    pub key_pem: SecretText,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorHello {
    /// Version of the protocol.
    pub protocol: u32,
    /// Who: `user@host`, for whoever finds the node locked.
    pub operator: String,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Version of the protocol.
    pub protocol: u32,
    /// Digest of the program that answers.
    pub program: Digest,
    /// Host name of the node.
    pub host_name: String,
}

/// A blob that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobHeader {
    /// SHA-256 of the whole content.
    pub digest: Digest,
    /// Bytes of the whole content.
    pub size: u64,
    /// Bytes the node has already, as [`MissingBlob`] said; sending goes on after them.
    pub offset: u64,
}

/// A blob that is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingBlob {
    /// The blob.
    pub digest: Digest,
    /// Bytes of it that an earlier, interrupted transfer left.
    pub present: u64,
}

/// What the node answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Who answers; first, on exchange 0.
    Hello(NodeHello),
    /// Answer to [`Request::Ping`].
    Pong,
    /// Answer to [`Request::Gather`], in the order asked.
    Gathered(Vec<(Read, Reading)>),
    /// Answer to [`Request::Missing`].
    Missing(Vec<MissingBlob>),
    /// More bytes of chunks may be sent on this exchange.
    Credit(u64),
    /// So many bytes of a blob that comes from another node are there.
    Arrived(u64),
    /// The blob is complete, was verified, and is in the store.
    Stored,
    /// Answer to [`Request::Claim`]: nobody else changes this node.
    Claimed,
    /// Answer to [`Request::Record`].
    Recorded,
    /// On exchange 0: the link ends, because another operator took the node over.
    TakenOver {
        /// Who.
        by: String,
    },
    /// Something happened while applying.
    Event(ApplyEvent),
    /// Applying ended; the events before say how.
    Applied,
    /// The request could not be served: cause chain, outermost first.
    Failed(String),
    /// Answer to [`Request::Listen`]: where it could not, and why.
    Listening(Vec<(Endpoint, String)>),
    /// Answer to [`Request::Relay`].
    Relaying,
}

/// What happens while actions are applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyEvent {
    /// An action began.
    Started {
        /// Position in the list.
        index: usize,
    },
    /// An action goes on; may be dropped without loss.
    Progress {
        /// Position in the list.
        index: usize,
        /// What is being done or waited for.
        message: String,
    },
    /// An action ended. After a failed one nothing else is done.
    Done {
        /// Position in the list.
        index: usize,
        /// How.
        outcome: Outcome,
    },
}

impl Request {
    /// What it is, for messages about it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Ping => "ping",
            Self::Gather(_) => "gathering facts",
            Self::Missing(_) => "asking for missing blobs",
            Self::PutBlob(_) => "sending a blob",
            Self::Claim { .. } => "claiming the node",
            Self::Record { .. } => "recording the journal",
            Self::Apply(_) => "applying actions",
            Self::Shutdown => "shutdown",
            Self::Listen { .. } => "listening for other nodes",
            Self::Relay(_) => "offering blobs to other nodes",
            Self::FetchBlob { .. } => "fetching a blob from another node",
        }
    }
}
