//! What the operator keeps: `.kubezt/` beside `cluster.yaml`.
//!
//! | file | content |
//! |---|---|
//! | `root.crt` | certificate of the cluster's root |
//! | `secrets.sealed` | root key and encryption key, sealed under the passphrase |
//! | `known_hosts` | host keys recorded by `kubezt trust` |
//! | `journal/*.jsonl` | one journal a run |
//! | `lock` | held while a run changes the cluster |
//!
//! The folder is 0700 and ignores itself in git.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use kubezt_model::SecretText;
use kubezt_pki::{CertificateChain, PkiError, PrivateKeyPem, RootAuthority, SealError};
use rustix::fs::{FlockOperation, Mode, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Why the operator's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written; the message names it.
    #[error("the operator's state cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// Wrong passphrase, or a damaged file.
    #[error("{path}: {source}")]
    Sealed {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A certificate or key that cannot be used.
    #[error("{path}: {source}")]
    Pki {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<PkiError>,
    },
    /// The opened secrets are not what they should be.
    #[error("{path}: the opened secrets are malformed: restore the file from a backup")]
    Malformed {
        /// File.
        path: PathBuf,
    },
    /// Another run holds the lock.
    #[error(
        "another run is changing this cluster ({holder}): wait for it to end; if it was killed, the lock is free already"
    )]
    Locked {
        /// Who, as the lock file says.
        holder: String,
    },
    /// One of the two files of the root is missing.
    #[error(
        "{missing} is missing while {present} is there: the cluster's root is incomplete, restore the file from a backup"
    )]
    Incomplete {
        /// The missing file.
        missing: PathBuf,
        /// The one that is there.
        present: PathBuf,
    },
}

/// The operator's secrets, opened.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SealedContent {
    /// Root key, PKCS#8 PEM.
    root_key: SecretText,
    /// 32 bytes in base64: the key Secrets are encrypted with in etcd.
    encryption_key: SecretText,
}

/// The operator's secrets, opened and checked.
pub struct Secrets {
    /// The root with its key.
    pub root: RootAuthority,
    /// Key of `EncryptionConfiguration`: 32 bytes in base64.
    pub encryption_key: SecretText,
}

/// The operator's folder.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

/// Held while a run changes the cluster; the operating system frees it when the process ends, however it ends.
pub struct Lock {
    _file: fs::File,
}

impl State {
    /// The folder `.kubezt` beside a cluster file. It is made when something is first kept in it, so that whoever only looks
    /// leaves nothing behind.
    pub fn beside(cluster_file: &Path) -> Self {
        let parent = match cluster_file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Self { folder: parent.join(".kubezt") }
    }

    /// Makes the folder where it is missing, and private where it is not.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self) -> Result<(), StateError> {
        let folder = &self.folder;
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(folder)
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
        rustix::fs::chmod(folder, Mode::from_raw_mode(0o700)).map_err(std::io::Error::from)?;
        if !self.path(".gitignore").exists() {
            self.put(".gitignore", b"*\n")?;
        }
        Ok(())
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Takes the lock; `holder` says who and since when.
    ///
    /// # Errors
    /// [`StateError::Locked`] where another run holds it.
    pub fn lock(&self, holder: &str) -> Result<Lock, StateError> {
        self.make()?;
        let path = self.path("lock");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(StateError::Locked { holder: holder.trim().to_owned() });
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Lock { _file: file })
    }

    /// The root's certificate, where a root was made.
    ///
    /// # Errors
    /// It cannot be read or is not a certificate.
    pub fn root_certificate(&self) -> Result<Option<CertificateChain>, StateError> {
        let path = self.path("root.crt");
        match fs::read_to_string(&path) {
            Ok(text) => CertificateChain::parse(&text)
                .map(Some)
                .map_err(|source| StateError::Pki { path, source: Box::new(source) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether secrets were made.
    pub fn has_secrets(&self) -> bool {
        self.path("secrets.sealed").exists()
    }

    /// Opens the secrets.
    ///
    /// # Errors
    /// Wrong passphrase, damaged or missing files.
    pub fn open(&self, passphrase: &[u8]) -> Result<Secrets, StateError> {
        let path = self.path("secrets.sealed");
        let sealed = fs::read(&path)?;
        let plain = kubezt_pki::open(passphrase, &sealed)
            .map_err(|source| StateError::Sealed { path: path.clone(), source })?;
        let content: SealedContent =
            serde_json::from_slice(&plain).map_err(|_| StateError::Malformed { path: path.clone() })?;
        let certificate = self.root_certificate()?.ok_or_else(|| StateError::Incomplete {
            missing: self.path("root.crt"),
            present: path.clone(),
        })?;
        let root = PrivateKeyPem::parse(content.root_key.expose())
            .and_then(|key| RootAuthority::from_parts(certificate, key))
            .map_err(|source| StateError::Pki { path, source: Box::new(source) })?;
        Ok(Secrets { root, encryption_key: content.encryption_key })
    }

    /// Makes root and encryption key and seals them; `encryption_key` brings a key of the site's own.
    ///
    /// The sealed file is written before the certificate, so that a killed run never leaves a certificate whose key
    /// is lost: without the certificate the next run starts over.
    ///
    /// # Errors
    /// The state cannot be written, or there is a root certificate already.
    pub fn create(
        &self,
        passphrase: &[u8],
        root: RootAuthority,
        encryption_key: SecretText,
    ) -> Result<Secrets, StateError> {
        if self.path("root.crt").exists() {
            return Err(StateError::Incomplete {
                missing: self.path("secrets.sealed"),
                present: self.path("root.crt"),
            });
        }
        let path = self.path("secrets.sealed");
        let content = SealedContent {
            root_key: SecretText::new(root.key().expose().to_owned()),
            encryption_key: encryption_key.clone(),
        };
        let plain = Zeroizing::new(
            serde_json::to_vec(&content).map_err(|_| StateError::Malformed { path: path.clone() })?,
        );
        let sealed = kubezt_pki::seal(passphrase, &plain)
            .map_err(|source| StateError::Sealed { path: path.clone(), source })?;
        self.write("secrets.sealed", &sealed)?;
        self.write("root.crt", root.certificate().to_pem().as_bytes())?;
        Ok(Secrets { root, encryption_key })
    }

    /// Writes a file of the folder whole, 0600: temporary file, fsync, rename.
    ///
    /// # Errors
    /// The disk is full or gone.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.make()?;
        self.put(name, bytes)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.new"));
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::beside(&folder.path().join("cluster.yaml"));
        (folder, state)
    }

    fn root() -> RootAuthority {
        kubezt_pki::new_root("demo", jiff::Timestamp::UNIX_EPOCH, 10).unwrap()
    }

    #[test]
    fn secrets_come_back_only_with_the_passphrase() {
        let (_folder, state) = state();
        let root = root();
        let fingerprint = root.info().clone();
        state.create(b"correct", root, SecretText::new("planted-key".to_owned())).unwrap();
        let opened = state.open(b"correct").unwrap();
        assert_eq!(opened.root.info(), &fingerprint);
        assert_eq!(opened.encryption_key.expose(), "planted-key");
        assert!(matches!(state.open(b"wrong"), Err(StateError::Sealed { .. })));
        let sealed = fs::read(state.path("secrets.sealed")).unwrap();
        assert!(!sealed.windows(11).any(|window| window == b"planted-key"));
    }

    #[test]
    fn a_root_without_its_key_is_never_replaced() {
        let (_folder, state) = state();
        state.create(b"one", root(), SecretText::new("key".to_owned())).unwrap();
        fs::remove_file(state.path("secrets.sealed")).unwrap();
        assert!(matches!(
            state.create(b"two", root(), SecretText::new("key".to_owned())),
            Err(StateError::Incomplete { .. })
        ));
    }

    #[test]
    fn the_lock_is_exclusive_and_says_who_holds_it() {
        let (_folder, state) = state();
        let held = state.lock("first").unwrap();
        match state.lock("second") {
            Err(StateError::Locked { holder }) => assert_eq!(holder, "first"),
            other => panic!("{:?}", other.map(|_| ())),
        }
        drop(held);
        state.lock("third").unwrap();
    }

    #[test]
    fn the_folder_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, state) = state();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is kept yet");
        state.write("root.crt", b"").unwrap();
        let mode = fs::metadata(state.path("")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_to_string(state.path(".gitignore")).unwrap(), "*\n");
    }
}
