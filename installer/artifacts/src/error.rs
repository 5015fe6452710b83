//! What can go wrong, with what to do about it.

use std::fmt;
use std::path::PathBuf;

use kubezt_model::Digest;
use kubezt_model::artifacts::ArtifactSource;
use kubezt_model::yaml::YamlError;

/// A component that could not be described or prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe or the lock is not valid YAML or has an unknown key.
    #[error("cannot read a recipe")]
    Yaml(#[from] YamlError),
    /// A recipe that reads well but makes no sense.
    #[error("{file}: {problem}")]
    Recipe {
        /// File relative to the recipe folder.
        file: String,
        /// What is wrong, and what is wanted.
        problem: String,
    },
    /// A component nobody described.
    #[error("there is no component `{name}`; known are: {known}")]
    UnknownComponent {
        /// Name asked for.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// A component that this source cannot give.
    #[error("component `{component}`: {what} cannot be had from `{from}`; {hint}")]
    NoSource {
        /// Component.
        component: String,
        /// Which part of it.
        what: String,
        /// Source asked for.
        from: ArtifactSource,
        /// What to do.
        hint: String,
    },
    /// Settings of a source that do not fit it.
    #[error("{}", .0.join("; "))]
    Spec(Vec<String>),
    /// A source that compiles, where content that the lock pins is wanted.
    #[error(
        "what is compiled has digests of its own, and a folder is checked by the lock's: fill it from `release`, `oci` or `directory`"
    )]
    NotPinned,
    /// A file that could not be read or written.
    #[error("{doing}")]
    File {
        /// What was being done.
        doing: String,
        /// Cause; names the path.
        #[source]
        source: std::io::Error,
    },
    /// A program of the build host that is not there.
    #[error("`{program}` is not installed on this machine; {hint}")]
    ProgramMissing {
        /// Program.
        program: String,
        /// What it is for and how to get it.
        hint: String,
    },
    /// A program of the build host that failed.
    #[error("{doing}: `{program}` ended with {status}:\n{output}")]
    ProgramFailed {
        /// What was being done.
        doing: String,
        /// Program and its first arguments.
        program: String,
        /// Exit status.
        status: String,
        /// Last lines it wrote.
        output: String,
    },
    /// A base userland needs root.
    #[error(
        "image {reference} is assembled on a Debian userland, which needs root on this machine: run as root, \
         or set `artifacts.source: release` to take upstream's image"
    )]
    NeedsRoot {
        /// Image.
        reference: String,
    },
    /// No HTTPS client.
    #[error("cannot set up HTTPS: is there a certificate store (package `ca-certificates`) on this machine?")]
    Client(#[source] reqwest::Error),
    /// A request that failed.
    #[error("cannot download {url}")]
    Download {
        /// URL.
        url: String,
        /// Cause.
        #[source]
        source: reqwest::Error,
    },
    /// A request that was answered with something else.
    #[error("cannot download {url}: {problem}")]
    Answer {
        /// URL.
        url: String,
        /// Status or content that was not expected.
        problem: String,
    },
    /// A server whose certificate is not believed.
    #[error(
        "cannot download {url}: the server's certificate was refused. Install its authority on this machine, or name it as \
         `artifacts.registryCaFile` for `source: oci`"
    )]
    Untrusted {
        /// URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A URL that would be spoken to in plain text.
    #[error("cannot download {url}: plain HTTP is spoken to loopback addresses only, as 127.0.0.1:5000")]
    PlainHttp {
        /// URL.
        url: String,
    },
    /// A file that was to hold authorities.
    #[error("{}: there is no certificate in it (PEM, `-----BEGIN CERTIFICATE-----`)", file.display())]
    Authorities {
        /// File.
        file: PathBuf,
    },
    /// A file that was to hold credentials of a registry. What it holds is not repeated.
    #[error("{}: {problem}", file.display())]
    Credentials {
        /// File.
        file: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A server that wants to know who asks.
    #[error("cannot download {url}: the server asks for credentials")]
    Unauthorized {
        /// URL.
        url: String,
        /// What it accepts (`WWW-Authenticate`).
        challenges: Vec<String>,
    },
    /// A registry that does not let kubezt in.
    #[error("cannot pull {url}: {problem}")]
    Refused {
        /// URL.
        url: String,
        /// What was tried, and what to do.
        problem: String,
    },
    /// What failed as often as it is tried.
    #[error("gave up after {tries} tries; what is cached stays, and running the same command again goes on")]
    GaveUp {
        /// Tries that brought nothing further.
        tries: u32,
        /// The last failure.
        #[source]
        source: Box<Error>,
    },
    /// A server that asks for more patience than kubezt has.
    #[error("the server asks to be left alone for {seconds} s; run the same command again then")]
    AskedToWait {
        /// Seconds.
        seconds: u64,
        /// The failure.
        #[source]
        source: Box<Error>,
    },
    /// A file that did not come in time, though bytes still came in.
    #[error("{url} was not there after {seconds} s, which is the longest a file may take")]
    TooSlow {
        /// URL.
        url: String,
        /// Seconds.
        seconds: u64,
    },
    /// Content of another size. Nothing of it was kept.
    #[error("{what} has {found}, but {wanted} are expected; nothing of it was kept")]
    WrongSize {
        /// What was fetched.
        what: String,
        /// What it may have.
        wanted: String,
        /// What it has.
        found: String,
    },
    /// Content of a folder that is missing or differs. None of it was used.
    #[error(
        "{} does not hold what the lock pins; nothing of it was used:\n{}fill it on a connected machine with `kubezt images export`",
        folder.display(), lines(problems)
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<FolderProblem>,
    },
    /// Content that is not what the lock says. Nothing of it was kept.
    #[error(
        "{what} has digest {found}, but the lock says {wanted}: it was changed on the way or upstream; nothing of it was kept"
    )]
    WrongDigest {
        /// What was checked.
        what: String,
        /// Digest of the lock.
        wanted: Digest,
        /// Digest of what came.
        found: Digest,
    },
    /// An archive without the member a recipe names.
    #[error("{archive} has no `{member}`: the recipe of this version is wrong")]
    MemberMissing {
        /// Archive.
        archive: String,
        /// Member wanted.
        member: String,
    },
    /// A background thread that panicked.
    #[error("a worker thread ended early: this is a bug in kubezt")]
    Worker(#[source] tokio::task::JoinError),
}

impl Error {
    /// For `map_err`: a file error with what was being done.
    pub(crate) fn file(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::File { doing, source }
    }
}

/// A file of a folder that is not as the lock wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderProblem {
    /// Path in the folder.
    pub path: String,
    /// Digest of the lock, or of what the lock leads to.
    pub wanted: Digest,
    /// What is there.
    pub found: Found,
}

/// What is where a file was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// Other content.
    Other(Digest),
    /// Something that cannot be read, and why.
    Unreadable(String),
}

impl fmt::Display for FolderProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: wanted sha256:{}, ", self.path, self.wanted)?;
        match &self.found {
            Found::Missing => formatter.write_str("it is missing"),
            Found::Other(found) => write!(formatter, "got sha256:{found}"),
            Found::Unreadable(why) => write!(formatter, "it cannot be read: {why}"),
        }
    }
}

fn lines(problems: &[FolderProblem]) -> String {
    problems.iter().map(|problem| format!("  {problem}\n")).collect()
}

/// An error and its causes on one line.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
