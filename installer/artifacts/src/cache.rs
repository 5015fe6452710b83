//! The content-addressed cache.
//!
//! ```text
//! blobs/sha256/<digest>   content, read-only; executable where it is a program
//! records/<key>.json      what a build with these inputs gave: names, digests, sizes
//! named/<digest>/<name>   hard links for programs that want a file name
//! tmp/<key>/              work of a build that is running, or was killed
//! locks/<key>             held while a build of this key runs
//! ```
//!
//! A blob or record appears whole or not at all, so readers need no lock. Digests are computed once, when a blob comes
//! in; later calls compare sizes only. [`verify`] reads everything again.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubezt_model::Digest;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hashing::digest_file;

/// A cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Content in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// SHA-256.
    pub(crate) digest: Digest,
    /// Bytes.
    pub(crate) size: u64,
}

/// What one build gave, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Record(pub(crate) BTreeMap<String, Blob>);

/// A blob whose content is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptBlob {
    /// File in the cache.
    pub path: PathBuf,
    /// Digest its name says.
    pub wanted: Digest,
    /// Digest of what is there.
    pub found: Digest,
}

/// Folder of the cache: `kubezt/artifacts` in `$XDG_CACHE_HOME`, or in `~/.cache` where that is unset or not absolute
/// (XDG Base Directory Specification).
pub fn default_cache(xdg_cache_home: Option<PathBuf>, home: &Path) -> PathBuf {
    let base = xdg_cache_home.filter(|path| path.is_absolute()).unwrap_or_else(|| home.join(".cache"));
    base.join("kubezt/artifacts")
}

/// Reads every blob again and removes those whose content is not what their name says, so that the next
/// [`crate::prepare()`] makes them anew. Returns what was removed.
///
/// # Errors
/// Files that cannot be read or removed.
pub fn verify(cache: &Path) -> Result<Vec<CorruptBlob>, Error> {
    let cache = Cache { root: cache.to_owned() };
    let doing = || Error::file("cannot check the artifact cache");
    let mut corrupt = Vec::new();
    let folder = cache.root.join("blobs/sha256");
    if !folder.exists() {
        return Ok(corrupt);
    }
    for entry in fs_err::read_dir(&folder).map_err(doing())? {
        let path = entry.map_err(doing())?.path();
        let Some(wanted) = path.file_name().and_then(|name| name.to_string_lossy().parse().ok()) else {
            continue;
        };
        let (found, _) = digest_file(&path).map_err(doing())?;
        if found != wanted {
            fs_err::remove_file(&path).map_err(doing())?;
            corrupt.push(CorruptBlob { path, wanted, found });
        }
    }
    Ok(corrupt)
}

impl Cache {
    /// Opens a cache, creating its folders where they are missing.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        for folder in ["blobs/sha256", "records", "named", "tmp", "locks"] {
            fs_err::create_dir_all(root.join(folder))
                .map_err(Error::file("cannot create the artifact cache"))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Where a blob is, or would be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.to_string())
    }

    /// What a build with these inputs gave, where all of it is still there.
    pub(crate) fn record(&self, key: &Digest) -> Option<Record> {
        let bytes = fs_err::read(self.record_path(key)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let whole = |blob: &Blob| {
            fs_err::metadata(self.blob_path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.size)
        };
        record.0.values().all(whole).then_some(record)
    }

    /// Writes a record whose blobs are in the cache.
    pub(crate) fn keep_record(&self, key: &Digest, record: &Record, workspace: &Path) -> Result<(), Error> {
        let doing = || Error::file("cannot write a build record");
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| doing()(error.into()))?;
        let temporary = workspace.join("record.json");
        fs_err::write(&temporary, bytes).map_err(doing())?;
        fs_err::rename(&temporary, self.record_path(key)).map_err(doing())
    }

    /// Moves a file of a workspace into the cache. Blocks while it is hashed.
    pub(crate) fn adopt(&self, path: &Path, executable: bool) -> Result<Blob, Error> {
        let (digest, size) = digest_file(path).map_err(Error::file("cannot read what was built"))?;
        self.adopt_hashed(path, Blob { digest, size }, executable)
    }

    /// As [`Cache::adopt`] for a file that was hashed while it was written.
    pub(crate) fn adopt_hashed(&self, path: &Path, blob: Blob, executable: bool) -> Result<Blob, Error> {
        let doing = || Error::file("cannot put a file into the artifact cache");
        // The blob must be on disk before a record says so: a record is trusted without reading the blob.
        fs_err::File::open(path).and_then(|file| file.sync_all()).map_err(doing())?;
        let mode = if executable { 0o555 } else { 0o444 };
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(doing())?;
        fs_err::rename(path, self.blob_path(&blob.digest)).map_err(doing())?;
        Ok(blob)
    }

    /// A path with a name people and programs expect, for a blob.
    pub(crate) fn named(&self, digest: &Digest, name: &str) -> Result<PathBuf, Error> {
        let doing = || Error::file("cannot name a cached file");
        let folder = self.root.join("named").join(digest.to_string());
        let path = folder.join(name);
        fs_err::create_dir_all(&folder).map_err(doing())?;
        match fs_err::hard_link(self.blob_path(digest), &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(doing()(error)),
            _ => Ok(path),
        }
    }

    /// Waits until no other run builds this key, and gives an empty folder to build in.
    ///
    /// `waiting` is called once where another run is at it.
    pub(crate) async fn workspace(&self, key: &Digest, waiting: impl FnOnce()) -> Result<Workspace, Error> {
        let doing = || Error::file("cannot lock the artifact cache");
        let lock = self.root.join("locks").join(key.to_string());
        let lock =
            fs_err::OpenOptions::new().write(true).create(true).truncate(false).open(lock).map_err(doing())?;
        let lock = lock.into_parts().0;
        let mut waiting = Some(waiting);
        // Polled rather than blocked on, so that a cancelled run does not hang on the other one.
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                TryLockError::Error(error) => return Err(doing()(error)),
            }
        }
        let folder = self.root.join("tmp").join(key.to_string());
        let doing = || Error::file("cannot make a folder to build in");
        if folder.exists() {
            fs_err::remove_dir_all(&folder).map_err(doing())?;
        }
        fs_err::create_dir_all(&folder).map_err(doing())?;
        Ok(Workspace { folder, _lock: lock })
    }

    fn record_path(&self, key: &Digest) -> PathBuf {
        self.root.join("records").join(format!("{key}.json"))
    }
}

/// A folder to build in and the lock that makes it ours. Removed when dropped; what a killed run left is removed by the next.
#[derive(Debug)]
pub(crate) struct Workspace {
    folder: PathBuf,
    _lock: std::fs::File,
}

impl Workspace {
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Left-overs cost disk and nothing else, and are removed before the next build.
        let _ = fs_err::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn filled(folder: &Path) -> (Cache, Digest, Blob) {
        let cache = Cache::open(folder).unwrap();
        let key = Digest::of(b"key");
        let workspace = cache.workspace(&key, || {}).await.unwrap();
        let file = workspace.path().join("file");
        fs_err::write(&file, b"content").unwrap();
        let blob = cache.adopt(&file, true).unwrap();
        let record = Record([("file".to_owned(), blob)].into());
        cache.keep_record(&key, &record, workspace.path()).unwrap();
        (cache, key, blob)
    }

    #[tokio::test]
    async fn what_was_kept_is_found_until_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, key, blob) = filled(folder.path()).await;
        assert_eq!(blob.digest, Digest::of(b"content"));
        assert_eq!(cache.record(&key).unwrap().0["file"], blob);
        assert_eq!(verify(folder.path()).unwrap(), []);

        let path = cache.blob_path(&blob.digest);
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, b"cont").unwrap();
        assert_eq!(cache.record(&key), None, "a truncated blob counts as absent");

        fs_err::write(&path, b"CONTENT").unwrap();
        let corrupt = verify(folder.path()).unwrap();
        assert_eq!(corrupt, [CorruptBlob { path, wanted: blob.digest, found: Digest::of(b"CONTENT") }]);
        assert_eq!(cache.record(&key), None, "a corrupt blob is gone");
    }

    #[tokio::test]
    async fn one_key_is_built_by_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let first = cache.workspace(&key, || {}).await.unwrap();
        fs_err::write(first.path().join("left"), b"over").unwrap();
        let mut waited = false;
        let second =
            tokio::time::timeout(Duration::from_millis(250), cache.workspace(&key, || waited = true)).await;
        assert!(second.is_err() && waited);
        drop(first);
        let second = cache.workspace(&key, || {}).await.unwrap();
        assert!(!second.path().join("left").exists());
    }

    #[test]
    fn the_cache_follows_the_xdg_rules() {
        let home = Path::new("/home/a");
        assert_eq!(default_cache(Some("/c".into()), home), Path::new("/c/kubezt/artifacts"));
        for unusable in [None, Some("relative".into())] {
            assert_eq!(default_cache(unusable, home), Path::new("/home/a/.cache/kubezt/artifacts"));
        }
    }
}
