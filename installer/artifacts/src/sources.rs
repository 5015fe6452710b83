//! Where components come from: the list of sources, and the one interface of all that give content which the lock pins.
//!
//! To add such a source: a file in `sources/` that implements [`Pinned`], and its line in [`open`] (and its word and settings in
//! `installer/model/src/artifacts.rs`).

pub(crate) mod auto;
pub(crate) mod compiled;
pub(crate) mod directory;
pub(crate) mod oci;
pub(crate) mod release;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use kubezt_model::artifacts::{ArtifactSource, ArtifactsSpec};

use self::auto::Choice;
use self::directory::Directory;
use self::oci::Oci;
use self::release::Release;
use crate::Error;
use crate::download::Watch;
use crate::item::Item;
use crate::recipe::Architecture;
use crate::toolchain::Go;

/// Where components come from, with what that source needs. Clones share what `auto` decided.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Upstream, over HTTPS.
    Release,
    /// Compiled here.
    Source,
    /// A folder, as [`crate::export()`] fills it.
    Directory(PathBuf),
    /// A registry.
    Oci(OciRegistry),
    /// `Release` where upstream answers, else `Source`; decided once.
    Auto(Choice),
}

/// A registry, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciRegistry {
    /// Host, with its port where that is not the scheme's.
    pub host: String,
    /// What comes before the names of its repositories; may be empty.
    pub prefix: String,
    /// PEM file of the authorities that are believed; those of the system where absent.
    pub ca_file: Option<PathBuf>,
    /// File of credentials, as `docker login` writes it; anonymous where absent.
    pub credentials_file: Option<PathBuf>,
}

impl Origin {
    /// What a cluster file or a command line asks for; `path` says where a path of it is.
    ///
    /// # Errors
    /// Every setting that does not fit the source.
    pub fn new(spec: &ArtifactsSpec, path: &dyn Fn(&str) -> PathBuf) -> Result<Self, Error> {
        let problems = spec.problems();
        if !problems.is_empty() {
            return Err(Error::Spec(problems.into_iter().map(|problem| problem.problem).collect()));
        }
        let located = |text: &Option<String>| text.as_deref().map(path);
        Ok(match spec.source {
            ArtifactSource::Release => Self::Release,
            ArtifactSource::Source => Self::Source,
            ArtifactSource::Directory => Self::Directory(located(&spec.directory).unwrap_or_default()),
            ArtifactSource::Oci => {
                let registry = spec.registry.as_deref().unwrap_or_default();
                let (host, prefix) = registry.split_once('/').unwrap_or((registry, ""));
                Self::Oci(OciRegistry {
                    host: host.to_owned(),
                    prefix: prefix.to_owned(),
                    ca_file: located(&spec.registry_ca_file),
                    credentials_file: located(&spec.registry_credentials_file),
                })
            }
            ArtifactSource::Auto => Self::Auto(Choice::default()),
        })
    }
}

/// A source that is ready.
#[derive(Debug)]
pub(crate) enum Supply {
    /// Programs are compiled, images assembled.
    Compiled(Go),
    /// The bytes that the lock pins are brought.
    Pinned(Box<dyn Pinned>),
}

impl Supply {
    /// The compiler, where programs are compiled.
    pub(crate) const fn go(&self) -> Option<&Go> {
        match self {
            Self::Compiled(go) => Some(go),
            Self::Pinned(_) => None,
        }
    }

    /// Its word.
    pub(crate) fn kind(&self) -> ArtifactSource {
        match self {
            Self::Compiled(_) => ArtifactSource::Source,
            Self::Pinned(pinned) => pinned.kind(),
        }
    }
}

/// Makes a source ready; nothing is contacted yet. `search` is the path `go` is looked for in.
///
/// # Errors
/// No compiler, where one is needed.
pub(crate) fn open(origin: &Origin, search: &OsStr) -> Result<Supply, Error> {
    Ok(match origin {
        Origin::Source => Supply::Compiled(Go::find(search)?),
        Origin::Directory(folder) => Supply::Pinned(Box::new(Directory::new(folder))),
        Origin::Oci(registry) => Supply::Pinned(Box::new(Oci::new(registry))),
        // `auto` was decided before; where nobody asked it, it is what it would rather be.
        Origin::Release | Origin::Auto(_) => Supply::Pinned(Box::new(Release::new())),
    })
}

/// Brings content that the lock pins. Whoever brings it, the bytes are the same, so all share what is cached.
pub(crate) trait Pinned: fmt::Debug + Send + Sync {
    /// Its word.
    fn kind(&self) -> ArtifactSource;

    /// What people read while it works.
    fn doing(&self) -> &'static str {
        "download"
    }

    /// Whether it has charts as kubezt packs them. Where not, they are packed of upstream's files.
    fn has_charts(&self) -> bool {
        true
    }

    /// Puts an item at `path`: whole and checked, or not at all.
    fn bring<'a>(
        &'a self,
        item: &'a Item,
        path: &'a Path,
        watch: Watch<'a>,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Looks whether all of these, and what images among them lead to, are there; where that costs no transfer.
    fn inspect(&self, items: Vec<Item>, architecture: Architecture) -> BoxFuture<'_, Result<(), Error>> {
        let _ = (items, architecture);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod tests;
