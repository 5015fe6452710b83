//! What can go wrong, with what to do about it.

use kubezt_model::Digest;
use kubezt_model::cluster::ArtifactSource;
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
    #[error("component `{component}`: {what} cannot be had from `{}`; {hint}", source_word(*.from))]
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

const fn source_word(source: ArtifactSource) -> &'static str {
    match source {
        ArtifactSource::Release => "release",
        ArtifactSource::Source => "source",
    }
}
