//! Why something on the node did not work.

use std::io;
use std::path::{Path, PathBuf};

use kubezt_model::Digest;
use kubezt_pki::PkiError;
use thiserror::Error;

/// What a node says first when another link holds its lock.
pub const LOCKED: &str = "another operator is at work on this node";

/// Why something on the node did not work. No message holds content of a file.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The system refused something with a file.
    #[error("cannot {doing} {path}", path = path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A path that cannot be meant.
    #[error("`{0}` is not an absolute path without `..`")]
    Path(String),
    /// A program is not there.
    #[error(
        "the program `{0}` is in none of /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin"
    )]
    NoProgram(String),
    /// A program could not be run.
    #[error("cannot run `{command}`")]
    Run {
        /// Program and arguments.
        command: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` ended with {status}{output}")]
    Command {
        /// Program and arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed, with a leading separator; may be empty.
        output: String,
    },
    /// A program took too long and was ended.
    #[error("`{command}` did not end within {seconds} s")]
    CommandTimeout {
        /// Program and arguments.
        command: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// There is no such account.
    #[error("there is no {what} `{name}` in {file} on this node; it has to be created first")]
    NoAccount {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// An account is there, but another one.
    #[error(
        "the account `{name}` cannot have id {uid}: {why}; change its id in cluster.yaml or remove the other account"
    )]
    Account {
        /// Its name.
        name: String,
        /// Wanted id.
        uid: u32,
        /// What is in the way.
        why: String,
    },
    /// A process cannot be told to end.
    #[error("cannot end process {pid} of {name}")]
    Signal {
        /// Executable name.
        name: String,
        /// Process id.
        pid: u32,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A blob is not in the store.
    #[error("blob {0} is not in the store of this node; it has to be sent first")]
    NoBlob(Digest),
    /// Content is not what its digest says.
    #[error("{what} is damaged: its digest is {actual}, {expected} is wanted; nothing was changed")]
    Corrupt {
        /// What.
        what: String,
        /// Digest that was found.
        actual: Digest,
        /// Digest that is wanted.
        expected: Digest,
    },
    /// A blob transfer does not fit.
    #[error("blob {digest}: {why}")]
    Transfer {
        /// The blob.
        digest: Digest,
        /// What does not fit.
        why: String,
    },
    /// Something is there and is something else.
    #[error("{path}: {why}", path = path.display())]
    Unsuitable {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key or certificate could not be made or read.
    #[error("{path}: key or certificate", path = path.display())]
    Pki {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<PkiError>,
    },
    /// A certificate could not be signed.
    #[error("cannot sign a certificate for {name}")]
    Sign {
        /// Common name.
        name: String,
        /// Why.
        #[source]
        source: Box<PkiError>,
    },
    /// A kernel parameter did not take its value.
    #[error("the kernel parameter {key} is `{actual}` after it was set to `{wanted}`")]
    Sysctl {
        /// Its name.
        key: String,
        /// Value it has.
        actual: String,
        /// Value it should have.
        wanted: String,
    },
    /// A kernel module is not there.
    #[error(
        "kernel module {name} is neither loaded nor built in and cannot be loaded; install the kernel's module package"
    )]
    Module {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<NodeError>,
    },
    /// A unit did not start.
    #[error("{name} is {state} after it was started{journal}")]
    Unit {
        /// Unit name.
        name: String,
        /// Its state.
        state: String,
        /// The end of its journal, with a leading separator; may be empty.
        journal: String,
    },
    /// Something did not come true in time.
    #[error("waited {seconds} s for {what}; at the end: {last}")]
    Waited {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u32,
        /// What was seen last.
        last: String,
    },
    /// Nothing waits for a confirmation.
    #[error(
        "there is nothing to confirm: the change was undone, because no confirmation came in time or the node was restarted"
    )]
    NotProvisional,
    /// A confirmation came over the connection that made the change.
    #[error("a confirmation proves something only over a connection that was made after the change")]
    SameConnection,
    /// etcd does not know a member.
    #[error("{0} is no member of etcd")]
    NoMember(String),
    /// Another operator is at work.
    #[error("{LOCKED}: {holder}")]
    Locked {
        /// Who, and since when.
        holder: String,
    },
    /// A journal that is not named as journals are.
    #[error("`{0}` is no name of a journal")]
    Journal(String),
    /// A mistake in this program.
    #[error("a mistake in kubezt itself ({0}); please report it")]
    Internal(String),
    /// A configuration file cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An address cannot be used.
    #[error("cannot {doing} {address}")]
    Network {
        /// What was being done.
        doing: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl NodeError {
    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// The error and its causes on one line.
    pub fn chain(&self) -> String {
        crate::link::client::error_chain(self)
    }
}
