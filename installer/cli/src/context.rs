//! What most commands start from: the cluster file resolved under its profile, and the operator's state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubezt_artifacts::Origin;
use kubezt_controls::library::is_file;
use kubezt_controls::{Library, resolve};
use kubezt_engine::state::{Secrets, State};
use kubezt_model::cluster::{self, ClusterFile};
use kubezt_model::desired::Cluster;
use kubezt_model::{Digest, SecretText};
use kubezt_render::Templates;
use zeroize::Zeroizing;

use crate::args::{ClusterArgs, PassphraseArgs};
use crate::embedded;
use crate::failure::Failure;
use crate::files;
use crate::printer::Printer;
use crate::prompt;
use crate::supported;

/// A passphrase has at least this many bytes: PBKDF2 modules validated under FIPS 140 want 14.
const SHORTEST_PASSPHRASE: usize = 14;

/// A cluster that was read and resolved.
pub struct Context {
    /// Requirements and profiles.
    pub library: Library,
    /// The file as written.
    pub file: ClusterFile,
    /// Its name and text, for errors.
    source: (String, String),
    /// Its folder: relative paths in it start here.
    pub folder: PathBuf,
    /// The resolved cluster.
    pub cluster: Cluster,
    /// The operator's folder.
    pub state: State,
    /// Where components come from.
    pub origin: Origin,
}

impl Context {
    /// Reads and resolves the cluster file.
    pub fn load(arguments: &ClusterArgs) -> Result<Arc<Self>, Failure> {
        let name = arguments.file.display().to_string();
        let text = match files::read_text(&arguments.file, files::DOCUMENT) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::usage(format!("there is no cluster file at `{name}`"))
                    .hint("write one with `kubezt init` (the README shows a small example), or name one with `-f FILE`"));
            }
            Err(error) => return Err(Failure::usage(error)),
        };
        let file = cluster::parse(&name, &text).map_err(|errors| Failure::usage(all(&errors)))?;
        let folder = folder_of(&arguments.file);
        let mut library = library()?;
        let profile = match (&arguments.profile, &file.spec.profile) {
            (Some(reference), _) => Some(profile(&mut library, reference, "--profile")?),
            (None, Some(reference)) if is_file(reference) => {
                let place = kubezt_controls::place_of(&name, &text, "profile", reference);
                let path = folder.join(reference).to_string_lossy().into_owned();
                Some(profile(&mut library, &path, &place)?)
            }
            // Resolving reads it from the file, and knows the line of a wrong one.
            _ => None,
        };
        let resolved = resolve(&library, &file, &text, &name, profile.as_deref());
        let mut problems = supported::problems(&file.spec, &name, &text)?;
        let cluster = match resolved {
            Ok(cluster) if problems.is_empty() => cluster,
            resolved => {
                problems.extend(resolved.err().iter().flatten().map(ToString::to_string));
                return Err(Failure::usage(all(&problems)));
            }
        };
        let state = State::beside(&arguments.file);
        let origin =
            Origin::new(&file.spec.artifacts, &|text| path_from(&folder, text)).map_err(Failure::usage)?;
        let source = (name, text);
        Ok(Arc::new(Self { library, file, source, folder, cluster, state, origin }))
    }

    /// Fingerprint of the cluster's root; `None` before the first install.
    pub fn root_fingerprint(&self) -> Result<Option<Digest>, Failure> {
        let root = self.state.root_certificate().map_err(Failure::environment)?;
        Ok(root.map(|root| root.first().fingerprint))
    }

    /// File and line at which the cluster file has this word below this key.
    pub fn place(&self, key: &str, word: &str) -> String {
        kubezt_controls::place_of(&self.source.0, &self.source.1, key, word)
    }

    /// A path of the cluster file: `~/` is the home folder, a relative path starts at the file.
    pub fn path(&self, text: &str) -> PathBuf {
        path_from(&self.folder, text)
    }

    /// Opens the operator's secrets, making them on the first run. Deriving the key that seals them is meant to take long.
    pub fn secrets(&self, passphrase: &[u8]) -> Result<Secrets, Failure> {
        if self.state.has_secrets() {
            return self.state.open(passphrase).map_err(Failure::usage);
        }
        self.is_long_enough(passphrase)?;
        let Secrets { root, encryption_key } = self.new_secrets()?;
        self.state.create(passphrase, root, encryption_key).map_err(Failure::environment)
    }

    /// Refuses a passphrase that is too short to begin with; secrets that were sealed are opened by whatever sealed them.
    fn is_long_enough(&self, passphrase: &[u8]) -> Result<(), Failure> {
        if passphrase.len() >= SHORTEST_PASSPHRASE || self.state.has_secrets() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "the passphrase is too short: the root key of the cluster needs at least {SHORTEST_PASSPHRASE} characters"
        )))
    }

    /// Secrets as a first run makes them, kept nowhere.
    pub fn new_secrets(&self) -> Result<Secrets, Failure> {
        let years = self.cluster.settings.pki.root_years;
        let root = kubezt_pki::new_root(self.cluster.name.as_str(), jiff::Timestamp::now(), years)
            .map_err(Failure::environment)?;
        let key = kubezt_pki::random_bytes::<32>().map_err(Failure::environment)?;
        Ok(Secrets { root, encryption_key: SecretText::new(base64(key.as_slice())) })
    }

    /// The passphrase of the operator's secrets where a file holds it; `None` where a person is to be asked, and can be.
    pub fn passphrase_at_hand(
        &self,
        arguments: &PassphraseArgs,
        printer: Printer,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let named = self.file.spec.passphrase_file.as_deref();
        let file = match (&arguments.passphrase_file, named) {
            (Some(file), _) => Some((file.clone(), "--passphrase-file".to_owned())),
            (None, Some(text)) => Some((self.path(text), self.place("passphraseFile", text))),
            (None, None) => None,
        };
        match file {
            Some((file, place)) => {
                let unusable = |error| Failure::usage(format!("{place}: {error}"));
                let passphrase = files::read_secret(&file).map_err(unusable)?;
                self.is_long_enough(&passphrase)?;
                Ok(Some(passphrase))
            }
            None if printer.is_terminal() => Ok(None),
            None => Err(Failure::usage(
                "the operator's secrets need a passphrase, and there is no terminal to ask on",
            )
            .hint("name a file with --passphrase-file, or passphraseFile in the cluster file")),
        }
    }

    /// Asks a person for the passphrase of the operator's secrets.
    pub fn ask_passphrase(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let first = !self.state.has_secrets();
        let question = dialoguer::Password::new();
        let question = if first {
            question
                .with_prompt("New passphrase for this cluster's root key")
                .with_confirmation("Once more", "The two differ")
        } else {
            question.with_prompt("Passphrase of this cluster's root key")
        };
        let text = prompt::secret(question).map_err(Failure::environment)?;
        Ok(Zeroizing::new(text.as_bytes().to_vec()))
    }
}

/// The folder a file is in.
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A path that a cluster file in this folder names: `~/` is the home folder, a relative path starts at the file.
pub fn path_from(folder: &Path, text: &str) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        None => folder.join(text),
    }
}

/// The embedded requirements and profiles.
pub fn library() -> Result<Library, Failure> {
    Library::load(embedded::profiles()).map_err(|errors| Failure::usage(all(&errors)))
}

/// The name of the profile that is meant: a file of the site is read and added to the library, a name is
/// taken as it is. `place` is what names it, for errors.
pub fn profile(library: &mut Library, reference: &str, place: &str) -> Result<String, Failure> {
    if !is_file(reference) {
        return Ok(reference.to_owned());
    }
    let read =
        |path: &str| files::read_text(Path::new(path), files::DOCUMENT).map_err(|error| error.to_string());
    library.add_site_profile(reference, place, read).map_err(|errors| Failure::usage(all(&errors)))
}

/// The embedded templates.
pub fn templates() -> Result<Templates, Failure> {
    Templates::load(embedded::templates()).map_err(|errors| Failure::usage(all(&errors)))
}

/// Every error, a line each.
pub fn all<E: std::fmt::Display>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
