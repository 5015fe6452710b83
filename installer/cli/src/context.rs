//! What most commands start from: the cluster file resolved under its profile, and the operator's state.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
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
use crate::printer::Printer;
use crate::prompt;

/// A passphrase has at least this many bytes: PBKDF2 modules validated under FIPS 140 want 14.
const SHORTEST_PASSPHRASE: usize = 14;

/// A cluster that was read and resolved.
pub struct Context {
    /// Requirements and profiles.
    pub library: Library,
    /// The file as written.
    pub file: ClusterFile,
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
        let text = match fs::read_to_string(&arguments.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::usage(format!("there is no cluster file at `{name}`"))
                    .hint("write one with `kubezt init` (the README shows a small example), or name one with `-f FILE`"));
            }
            Err(error) => return Err(Failure::environment(error)),
        };
        let file = cluster::parse(&name, &text).map_err(|errors| Failure::usage(all(&errors)))?;
        let folder = folder_of(&arguments.file);
        let mut library = library()?;
        let profile = match (&arguments.profile, &file.spec.profile) {
            (Some(reference), _) => Some(profile(&mut library, reference, "--profile")?),
            (None, Some(reference)) if is_file(reference) => {
                let place = kubezt_controls::place_of_profile(&name, &text, reference);
                let path = folder.join(reference).to_string_lossy().into_owned();
                Some(profile(&mut library, &path, &place)?)
            }
            // Resolving reads it from the file, and knows the line of a wrong one.
            _ => None,
        };
        let cluster = resolve(&library, &file, &text, &name, profile.as_deref())
            .map_err(|errors| Failure::usage(all(&errors)))?;
        let state = State::beside(&arguments.file).map_err(Failure::environment)?;
        let origin =
            Origin::new(&file.spec.artifacts, &|text| path_from(&folder, text)).map_err(Failure::usage)?;
        Ok(Arc::new(Self { library, file, folder, cluster, state, origin }))
    }

    /// Fingerprint of the cluster's root; `None` before the first install.
    pub fn root_fingerprint(&self) -> Result<Option<Digest>, Failure> {
        let root = self.state.root_certificate().map_err(Failure::environment)?;
        Ok(root.map(|root| root.first().fingerprint))
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
        if passphrase.len() < SHORTEST_PASSPHRASE {
            return Err(Failure::usage(format!(
                "the passphrase is too short: the root key of the cluster needs at least {SHORTEST_PASSPHRASE} characters"
            )));
        }
        let Secrets { root, encryption_key } = self.new_secrets()?;
        self.state.create(passphrase, root, encryption_key).map_err(Failure::environment)
    }

    /// Secrets as a first run makes them, kept nowhere.
    pub fn new_secrets(&self) -> Result<Secrets, Failure> {
        let years = self.cluster.settings.pki.root_years;
        let root = kubezt_pki::new_root(self.cluster.name.as_str(), jiff::Timestamp::now(), years)
            .map_err(Failure::environment)?;
        let key = kubezt_pki::random_bytes::<32>().map_err(Failure::environment)?;
        Ok(Secrets { root, encryption_key: SecretText::new(base64(key.as_slice())) })
    }

    /// The passphrase of the operator's secrets, from a file or asked for.
    pub fn passphrase(
        &self,
        arguments: &PassphraseArgs,
        printer: Printer,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let first = !self.state.has_secrets();
        let file = arguments
            .passphrase_file
            .clone()
            .or_else(|| self.file.spec.passphrase_file.as_deref().map(|text| self.path(text)));
        if let Some(file) = file {
            return read_passphrase(&file);
        }
        if !printer.is_terminal() {
            return Err(Failure::usage(
                "the operator's secrets need a passphrase, and there is no terminal to ask on",
            )
            .hint("name a file with --passphrase-file, or passphraseFile in the cluster file"));
        }
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

/// Reads a secret of one line from a file that nobody else may read.
pub fn read_passphrase(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut handle = fs::File::open(file).map_err(Failure::usage)?;
    let mode = handle.metadata().map_err(Failure::environment)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::usage(format!(
            "{}: others may read the passphrase (mode {:04o})",
            file.display(),
            mode & 0o7777
        ))
        .hint(format!("chmod 600 {}", file.display())));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    handle.read_to_end(&mut bytes).map_err(Failure::environment)?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
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
    let read = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
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
