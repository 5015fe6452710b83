//! What can be done to a node. A closed list: the executor has no other verbs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::desired::{AuthorityKind, LeafSpec, Sensitivity};
use crate::names::{Mode, Owner};
use crate::{Digest, Lifetime, SecretText};

/// One change on one node. Every action is idempotent and reports whether it changed anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Create a system account without a login.
    EnsureUser {
        /// Name of user and group.
        name: String,
        /// Numeric id of both.
        uid: u32,
    },
    /// Create a directory, or set its mode and owner.
    EnsureDirectory {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: Mode,
        /// Owner.
        owner: Owner,
    },
    /// Write a file whole: temporary file in the same folder, fsync, mode, owner, rename.
    PutFile {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: Mode,
        /// Owner.
        owner: Owner,
        /// Content.
        body: SecretText,
        /// Whether the content may be shown.
        sensitivity: Sensitivity,
    },
    /// Copy a blob from the node's content store to a path, verified by digest.
    InstallBlob {
        /// Blob.
        digest: Digest,
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: Mode,
    },
    /// Remove a file; nothing to do where it is absent.
    RemoveFile {
        /// Absolute path.
        path: String,
    },
    /// Make a private key (0600) where none is; an existing one is kept. Answers with its public half.
    MakeKey {
        /// Absolute path of the private key.
        path: String,
        /// Owner.
        owner: Owner,
    },
    /// Sign a leaf for a public key with an intermediate's key that lives on this node. Answers with the PEM chain.
    SignLeaf {
        /// Path of the intermediate's certificate.
        authority_certificate: String,
        /// Path of the intermediate's key.
        authority_key: String,
        /// What the leaf says.
        leaf: LeafSpec,
        /// Public key: DER of the SubjectPublicKeyInfo, in base64.
        public_key: String,
        /// Lifetime.
        lifetime: Lifetime,
    },
    /// Set kernel parameters from a file under `/etc/sysctl.d`.
    LoadSysctls {
        /// Absolute path of the file.
        path: String,
    },
    /// Change what could cut the operator off, for a while: the node undoes it by itself after these seconds, and by a restart,
    /// unless [`Action::Confirm`] comes over a connection that was made after it. Nothing to do where it is so already.
    Provisional {
        /// What.
        change: KernelChange,
        /// How long it waits for its confirmation, in seconds.
        seconds: u32,
    },
    /// Let stay what [`Action::Provisional`] did. Whoever carries that one out sends it; no plan holds it.
    Confirm,
    /// Undo it at once; nothing to do where nothing waits for its confirmation.
    Undo,
    /// Load a kernel module where it is neither loaded nor built in.
    LoadModule {
        /// Module name.
        name: String,
    },
    /// Import an image archive from the node's content store into containerd and pin it.
    ImportImage {
        /// Archive.
        digest: Digest,
        /// Full reference it must bring.
        reference: String,
    },
    /// Read unit files again, and enable units: one reading for all of them.
    LoadUnits {
        /// Names of units that are to start with the node.
        enable: Vec<String>,
    },
    /// Stop a unit, and let it not start with the node any more.
    DisableUnit {
        /// Unit name.
        name: String,
    },
    /// Start a unit where it is not active.
    StartUnit {
        /// Unit name.
        name: String,
    },
    /// Restart a unit.
    RestartUnit {
        /// Unit name.
        name: String,
    },
    /// End the container of a static pod, which kubelet starts again, and wait for the new process.
    RestartStaticPod {
        /// Static pod and executable name.
        name: String,
        /// Absolute path of the manifest.
        manifest: String,
        /// How long the old process may take to end before it is killed, in seconds.
        grace_seconds: u32,
        /// How long the new process may take, in seconds.
        timeout_seconds: u32,
    },
    /// Move a directory aside, to a name with the time in it: nothing uses its content any more, and nothing is lost.
    SetAside {
        /// Absolute path; nothing to do where it is absent.
        path: String,
    },
    /// Give a member of etcd its data: the container of its static pod runs beside kubelet until it is a member of the
    /// cluster. kubelet's own container never founds or joins anything. Nothing to do where there is data.
    FormEtcdMember {
        /// Text of the static pod's manifest, which names image, user, folders and arguments.
        manifest: String,
        /// What it becomes a member of.
        cluster: EtcdCluster,
        /// How long it may take, in seconds.
        timeout_seconds: u32,
    },
    /// Make a learner of etcd a voter once it has caught up; nothing to do where it is one.
    PromoteEtcdMember {
        /// Its peer URL.
        peer_url: String,
        /// Client URLs of other members: a learner answers for itself only.
        endpoints: Vec<String>,
        /// How long catching up may take, in seconds.
        timeout_seconds: u32,
    },
    /// Remove a member from etcd, asked at the member on this node; nothing to do where it is none.
    RemoveEtcdMember {
        /// Its peer URL.
        peer_url: String,
        /// How long the others may take to agree, in seconds.
        timeout_seconds: u32,
    },
    /// Wait until something holds.
    Wait {
        /// What.
        condition: Condition,
        /// How long, in seconds.
        timeout_seconds: u32,
    },
}

/// A change in the running kernel alone, through which the operator's own connection goes. Files that bring it back after a
/// restart are written once it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelChange {
    /// The host firewall's table, whole ([`crate::firewall`]).
    Firewall {
        /// Text for nft(8) that puts it into the place of the one that is loaded; `None` for no table.
        rules: Option<String>,
    },
    /// Kernel parameters.
    Sysctls {
        /// Values by name.
        values: BTreeMap<String, String>,
    },
}

impl KernelChange {
    /// What changes, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Firewall { rules: Some(_) } => "load the host firewall".to_owned(),
            Self::Firewall { rules: None } => "remove the host firewall".to_owned(),
            Self::Sysctls { values } => {
                format!("set {}", values.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The etcd cluster a new member becomes a member of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcdCluster {
    /// A new one, which all of these found together.
    Founded {
        /// Each as `name=URL for peers`.
        members: Vec<String>,
    },
    /// One that runs. The new member is a learner at first, which does not vote.
    Joined {
        /// Client URLs of its members.
        endpoints: Vec<String>,
    },
}

/// Something that can be waited for on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// A TCP port accepts connections.
    TcpOpen {
        /// `address:port`
        address: String,
    },
    /// A unix socket accepts connections.
    SocketOpen {
        /// Absolute path.
        path: String,
    },
    /// The member of etcd on this node knows a leader and has applied what the leader has committed.
    EtcdCurrent,
    /// An API server says that it is ready, or answers and does not say so to this node's balancer, with whose pair it is asked.
    ApiServerReady {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A process with this executable name runs with exactly the arguments its static-pod manifest names.
    StaticPodCurrent {
        /// Static pod and executable name.
        name: String,
        /// Absolute path of the manifest.
        manifest: String,
    },
}

impl Action {
    /// Whether it is part of changing a node. What only answers needs no lock, so that somebody who looks is not kept out by
    /// somebody who works; nor does a confirmation, which comes beside the connection that holds it.
    pub fn changes_node(&self) -> bool {
        !matches!(self, Self::SignLeaf { .. } | Self::Confirm)
    }

    /// One line for people; never holds a secret.
    pub fn describe(&self) -> String {
        match self {
            Self::EnsureUser { name, uid } => format!("create account {name} ({uid})"),
            Self::EnsureDirectory { path, mode, owner } => format!("directory {path} {mode} {owner}"),
            Self::PutFile { path, mode, owner, .. } => format!("write {path} {mode} {owner}"),
            Self::InstallBlob { digest, path, mode } => format!("install {path} {mode} ({})", digest.short()),
            Self::RemoveFile { path } => format!("remove {path}"),
            Self::MakeKey { path, .. } => format!("key {path}"),
            Self::SignLeaf { leaf, .. } => {
                format!("sign {} by {}", leaf.common_name, AuthorityKind::as_str(leaf.authority))
            }
            Self::LoadSysctls { path } => format!("load {path}"),
            Self::Provisional { change, seconds } => {
                format!("{}, undone after {seconds} s unless a new connection confirms it", change.describe())
            }
            Self::Confirm => "confirm the change".to_owned(),
            Self::Undo => "undo the change".to_owned(),
            Self::LoadModule { name } => format!("load module {name}"),
            Self::ImportImage { reference, .. } => format!("import {reference}"),
            Self::LoadUnits { enable } if enable.is_empty() => "load unit files".to_owned(),
            Self::LoadUnits { enable } => format!("load unit files, enable {}", enable.join(", ")),
            Self::DisableUnit { name } => format!("disable {name}"),
            Self::StartUnit { name } => format!("start {name}"),
            Self::RestartUnit { name } => format!("restart {name}"),
            Self::RestartStaticPod { name, .. } => format!("restart pod {name}"),
            Self::SetAside { path } => format!("set {path} aside"),
            Self::FormEtcdMember { cluster: EtcdCluster::Founded { members }, .. } => {
                format!("found etcd with {}", members.join(", "))
            }
            Self::FormEtcdMember { cluster: EtcdCluster::Joined { endpoints }, .. } => {
                format!("join etcd at {}", endpoints.join(", "))
            }
            Self::PromoteEtcdMember { peer_url, .. } => format!("let {peer_url} vote in etcd"),
            Self::RemoveEtcdMember { peer_url, .. } => format!("remove {peer_url} from etcd"),
            Self::Wait { condition, timeout_seconds } => {
                format!("wait for {} (at most {timeout_seconds} s)", condition.describe())
            }
        }
    }
}

impl Condition {
    /// What is waited for, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::TcpOpen { address } => format!("{address} to accept connections"),
            Self::SocketOpen { path } => format!("{path} to accept connections"),
            Self::EtcdCurrent => "etcd to keep up with its leader".to_owned(),
            Self::ApiServerReady { address } => format!("the API server at {address} to be ready"),
            Self::StaticPodCurrent { name, .. } => format!("{name} to run as its manifest says"),
        }
    }
}

/// How one action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Something changed; `output` is what [`Action::MakeKey`] and [`Action::SignLeaf`] answer with.
    Changed {
        /// Answer, where the action gives one.
        output: Option<String>,
    },
    /// It was so already.
    Unchanged {
        /// Answer, where the action gives one.
        output: Option<String>,
    },
    /// It failed: what was being done, to what, and why.
    Failed {
        /// Cause chain, outermost first.
        error: String,
    },
}
