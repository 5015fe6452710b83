//! What can be read from a node, and what was seen there.
//!
//! Planning and verification ask with the same words: a list of [`Read`]s goes to the node in one message, the
//! answers come back in one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::health::{ApiServerReading, ContainerReading, EtcdStatusReading, MemoryReading};
use crate::names::{Mode, NodeName, Owner};
use crate::survey::{
    FileSystemReading, FsyncReading, KernelReading, KubeconfigReading, NameReading, NetworkReading,
    SocketReading, SubjectReading, Target, Unreached,
};
use crate::{Digest, SecretText};

/// One thing to look at on a node. Looking changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// Operating system, kernel, architecture, CPU, memory, host name, machine id, boot id, clock.
    Host,
    /// One file: metadata and digest; with `text`, the content as well.
    File {
        /// Absolute path.
        path: String,
        /// Whether the content is wanted (at most 1 MiB, UTF-8).
        text: bool,
    },
    /// One program: as [`Read::File`], but for a digest that was taken before of the same inode, size and times, which is believed.
    /// For planning alone; evidence is [`Read::File`].
    Program {
        /// Absolute path.
        path: String,
    },
    /// Metadata of every file and directory below a directory, itself included.
    Tree {
        /// Absolute path.
        path: String,
    },
    /// Every running process whose executable has this name.
    Process {
        /// Base name of the executable, such as `kube-apiserver`.
        name: String,
    },
    /// A systemd unit.
    Unit {
        /// Unit name.
        name: String,
    },
    /// A kernel parameter.
    Sysctl {
        /// Name with dots.
        key: String,
    },
    /// A kernel module: present where it is loaded or built in.
    Module {
        /// Module name.
        name: String,
    },
    /// What a program prints of its own version.
    Version {
        /// Absolute path of the program.
        program: String,
        /// Arguments that make it print its version and exit.
        arguments: Vec<String>,
    },
    /// Public half of a private key file.
    PublicKey {
        /// Absolute path of the private key.
        path: String,
    },
    /// A container image in the runtime's store.
    Image {
        /// Full reference.
        reference: String,
    },
    /// A user account.
    User {
        /// Name.
        name: String,
    },
    /// A blob in the node's content store.
    Blob {
        /// Its digest.
        digest: Digest,
    },
    /// The raw value etcd holds under a key, read with the API server's own client certificate.
    EtcdValue {
        /// Key, such as `/registry/secrets/default/name`.
        key: String,
    },
    /// The record of one request in an audit log.
    AuditRecord {
        /// Absolute path of the log.
        path: String,
        /// Audit id of the request.
        audit_id: String,
    },
    /// The members of etcd, as the member on this node knows them; missing where none was ever set up.
    EtcdMembers,
    /// The node's clock.
    Clock,
    /// What the kernel can do and how it is set up.
    Kernel {
        /// Modules to look for.
        modules: Vec<String>,
        /// Build options to look for, without `CONFIG_`.
        options: Vec<String>,
    },
    /// Addresses, interfaces and routes.
    Network,
    /// Sockets that wait for connections or datagrams, with the process that holds each.
    Sockets,
    /// What the node's resolver says of names; it is not waited for long.
    Names {
        /// The names.
        names: Vec<String>,
    },
    /// The file system a path is on, or would be.
    FileSystem {
        /// Absolute path.
        path: String,
    },
    /// How long small writes take to be on disk. The one look that writes: a file without a name, of less than 1 MiB, for less
    /// than half a second.
    Fsync {
        /// Absolute path of a folder; where it is not there, the nearest one above it.
        path: String,
    },
    /// The clusters a kubeconfig names. Nothing else of it leaves the node.
    Kubeconfig {
        /// Absolute path.
        path: String,
    },
    /// Whom the certificates of a PEM file are for, and how long they live.
    Subjects {
        /// Absolute path.
        path: String,
    },
    /// What cannot be reached from this node.
    Reach {
        /// What to reach.
        targets: Vec<Target>,
    },
    /// The last lines of a unit's journal, redacted.
    UnitLog {
        /// Unit name.
        name: String,
    },
    /// Every container of every pod on the node, with the last words of those that do not run; missing where kubelet never
    /// started one.
    Containers,
    /// Memory, and what happened where it ran out.
    Memory,
    /// The host firewall's table as the kernel holds it, in nft's words; missing where it is not loaded.
    Firewall,
    /// What this node will undo by itself unless it is confirmed, in words; missing where there is nothing.
    Provisional,
    /// The member of etcd on this node, as it sees itself; missing where none was ever set up.
    EtcdStatus,
    /// What every API server says of itself, asked by this node's balancer; missing where the node has none.
    ApiServers,
    /// Who changes the node now; missing where nobody does.
    Lock,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// Answer to [`Read::Host`].
    Host(Box<HostReading>),
    /// Answer to [`Read::File`] and [`Read::Program`].
    File(FileReading),
    /// Answer to [`Read::Tree`], sorted by path.
    Tree(Vec<FileReading>),
    /// Answer to [`Read::Process`].
    Processes(Vec<ProcessReading>),
    /// Answer to [`Read::Unit`].
    Unit(UnitReading),
    /// Answer to [`Read::Sysctl`], [`Read::Version`], [`Read::Lock`], [`Read::Firewall`] and [`Read::Provisional`].
    Text(String),
    /// Answer to [`Read::PublicKey`]: the DER of the SubjectPublicKeyInfo, in base64.
    PublicKey(String),
    /// Answer to [`Read::Image`].
    Image(ImageReading),
    /// Answer to [`Read::EtcdValue`]: the bytes in base64.
    EtcdValue(String),
    /// Answer to [`Read::AuditRecord`].
    AuditRecord(serde_json::Value),
    /// Answer to [`Read::EtcdMembers`].
    EtcdMembers(Vec<EtcdMember>),
    /// Answer to [`Read::User`]: its numeric id.
    User(u32),
    /// Answer to [`Read::Blob`] and [`Read::Module`]: it is there.
    Present,
    /// The thing does not exist.
    Missing,
    /// It could not be read; never taken for an answer.
    Failed(String),
    /// Answer to [`Read::Clock`]: milliseconds since 1970.
    Clock(i64),
    /// Answer to [`Read::Kernel`].
    Kernel(KernelReading),
    /// Answer to [`Read::Network`].
    Network(NetworkReading),
    /// Answer to [`Read::Sockets`].
    Sockets(Vec<SocketReading>),
    /// Answer to [`Read::Names`], by name.
    Names(BTreeMap<String, NameReading>),
    /// Answer to [`Read::FileSystem`].
    FileSystem(FileSystemReading),
    /// Answer to [`Read::Fsync`].
    Fsync(FsyncReading),
    /// Answer to [`Read::Kubeconfig`].
    Kubeconfig(Vec<KubeconfigReading>),
    /// Answer to [`Read::Subjects`], in the order of the file.
    Subjects(Vec<SubjectReading>),
    /// Answer to [`Read::Reach`]: what was not reached.
    Unreached(Vec<Unreached>),
    /// Answer to [`Read::UnitLog`], oldest line first.
    Lines(Vec<String>),
    /// Answer to [`Read::Containers`].
    Containers(Vec<ContainerReading>),
    /// Answer to [`Read::Memory`].
    Memory(MemoryReading),
    /// Answer to [`Read::EtcdStatus`].
    EtcdStatus(EtcdStatusReading),
    /// Answer to [`Read::ApiServers`].
    ApiServers(Vec<ApiServerReading>),
}

/// The host itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostReading {
    /// `ID` of os-release, such as `debian`.
    pub os_id: String,
    /// `VERSION_ID` of os-release, such as `12`.
    pub os_version: String,
    /// Words of `ID_LIKE` of os-release: what it is built from, the nearest first.
    #[serde(default)]
    pub os_like: Vec<String>,
    /// Name servers of /etc/resolv.conf, which kubelet gives to pods that ask for none of the cluster's.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture, such as `x86_64`.
    pub architecture: String,
    /// Host name.
    pub hostname: String,
    /// systemd machine id.
    pub machine_id: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Swap in bytes that is in use by the kernel.
    pub swap: u64,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Kernel modules that are loaded or built in, of the ones kubezt cares about.
    pub wireguard: bool,
    /// Names of enabled Linux security modules.
    pub security_modules: Vec<String>,
    /// The node's clock, in seconds since 1970.
    pub clock: i64,
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReading {
    /// Absolute path.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: Mode,
    /// Owner by name; a bare number where no account has it.
    pub owner: Owner,
    /// Size in bytes.
    pub size: u64,
    /// Digest of a file's content; not computed for trees.
    pub digest: Option<Digest>,
    /// Content, where it was asked for.
    pub text: Option<SecretText>,
    /// When content, mode, owner or name last changed, in microseconds since boot; 0 before the boot, or where the
    /// node's clock says it has yet to come.
    pub changed: u64,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Link,
    /// Socket, pipe or device.
    Other,
}

/// Microseconds between two start times the kernel tells apart (`USER_HZ`, 100 a second everywhere).
pub const START_STEP: u64 = 10_000;

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessReading {
    /// Process id.
    pub pid: u32,
    /// Command line, the program first.
    pub arguments: Vec<String>,
    /// Effective user id.
    pub uid: u32,
    /// Start time in microseconds since boot, which the kernel counts in steps of [`START_STEP`].
    pub started: u64,
    /// Effective capabilities, as the kernel's hexadecimal mask.
    pub capabilities: String,
    /// Seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp: u8,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitReading {
    /// `ActiveState`, such as `active`.
    pub active: String,
    /// `UnitFileState`, such as `enabled`; empty where there is no file.
    pub enabled: String,
    /// When its main process started, as [`ProcessReading::started`]; where it has none, when it became active; 0 where it is
    /// not.
    pub started: u64,
    /// Whether systemd says the unit file changed on disk since it was loaded.
    pub needs_reload: bool,
    /// How it ended last; `None` where it has not since the node started.
    pub last_run: Option<LastRun>,
}

/// How a unit ended last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Whether it did what it was to do.
    pub succeeded: bool,
    /// When that was, in seconds before it was looked at.
    pub seconds_ago: u64,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReading {
    /// Manifest digest the runtime reports.
    pub digest: Digest,
    /// Whether it is pinned against garbage collection.
    pub pinned: bool,
    /// Digest of the archive kubezt imported it from, where kubezt did.
    pub archive: Option<Digest>,
}

impl ImageReading {
    /// Whether it was imported from this archive and will stay.
    pub fn is_import_of(&self, archive: Digest) -> bool {
        self.pinned && self.archive == Some(archive)
    }
}

/// A member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdMember {
    /// Id; etcd shows it in hexadecimal.
    pub id: u64,
    /// Name; empty until one that was added has started.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; none until it has started.
    pub client_urls: Vec<String>,
    /// Whether it only learns, and has no vote.
    pub learner: bool,
}

/// What was seen on one node at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The node.
    pub node: NodeName,
    /// When, in seconds since 1970 by the operator's clock.
    pub at: i64,
    /// What was asked and what was seen.
    #[serde(with = "pairs")]
    pub readings: BTreeMap<Read, Reading>,
}

impl Facts {
    /// What was seen of this; `None` where it was not asked.
    pub fn reading(&self, read: &Read) -> Option<&Reading> {
        self.readings.get(read)
    }

    /// The file at this path, whether or not its text was asked for; `None` where it is missing or unknown.
    pub fn file(&self, path: &str) -> Option<&FileReading> {
        let path = || path.to_owned();
        let reads = [
            Read::File { path: path(), text: true },
            Read::File { path: path(), text: false },
            Read::Program { path: path() },
        ];
        reads.iter().find_map(|read| match self.readings.get(read)? {
            Reading::File(file) => Some(file),
            _ => None,
        })
    }
}

/// JSON has only text keys, so the map travels as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Read, Reading};

    pub fn serialize<S: Serializer>(map: &BTreeMap<Read, Reading>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Read, Reading>, D::Error> {
        Ok(Vec::<(Read, Reading)>::deserialize(deserializer)?.into_iter().collect())
    }
}
