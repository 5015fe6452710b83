//! The content store: blobs under the digest of their content, visible only once that was verified.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kubezt_model::Digest;
use sha2::Digest as _;

use super::{NodeError, NodeRoot, files};
use crate::link::bootstrap::PROGRAM_FOLDER;
use crate::link::message::{BlobHeader, MissingBlob};

/// Folder of the store: root's, 0700.
pub const BLOB_FOLDER: &str = "/var/lib/kubezt/blobs";

/// How long a transfer of the same blob that was cut off may take to end.
const PATIENCE: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(50);

/// The content store of a node.
#[derive(Debug, Clone)]
pub struct BlobStore {
    folder: PathBuf,
    programs: PathBuf,
}

impl BlobStore {
    /// The store of this node; its folder is made when something is received.
    pub fn of(root: &NodeRoot) -> Self {
        Self { folder: root.known(BLOB_FOLDER), programs: root.known(PROGRAM_FOLDER) }
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Whether a blob is there.
    pub fn has(&self, digest: Digest) -> bool {
        self.path(digest).is_file() || self.program(digest).is_file()
    }

    /// Where the program of this digest is, which was brought to the node before anything else could be: what is also
    /// installed for the node's own service need not be sent twice. Its folder is root's alone, and whoever reads a blob
    /// checks the digest again.
    fn program(&self, digest: Digest) -> PathBuf {
        self.programs.join(format!("kubezt-{digest}"))
    }

    /// The blobs of this list that are not there, each once, with what an interrupted transfer left.
    pub fn missing(&self, digests: &[Digest]) -> Vec<MissingBlob> {
        let wanted: std::collections::BTreeSet<Digest> = digests.iter().copied().collect();
        let partial = |digest| std::fs::metadata(self.partial(digest)).map_or(0, |metadata| metadata.len());
        wanted
            .into_iter()
            .filter(|digest| !self.has(*digest))
            .map(|digest| MissingBlob { digest, present: partial(digest) })
            .collect()
    }

    /// Removes a blob that is needed no more.
    pub fn remove(&self, digest: Digest) {
        // What stays costs space and nothing else.
        let _ = std::fs::remove_file(self.path(digest));
    }

    /// Opens a blob and checks that it is there.
    ///
    /// # Errors
    /// [`NodeError::NoBlob`], [`NodeError::File`].
    pub fn open(&self, digest: Digest) -> Result<File, NodeError> {
        let path = self.path(digest);
        match File::open(&path).or_else(|error| File::open(self.program(digest)).map_err(|_| error)) {
            Ok(file) => Ok(file),
            Err(error) if files::is_absent(&error) => Err(NodeError::NoBlob(digest)),
            Err(error) => Err(NodeError::file("read", &path)(error)),
        }
    }

    /// Begins to receive a blob, or goes on with one. Blocks for a few seconds where another transfer of it is ending.
    ///
    /// # Errors
    /// [`NodeError::Transfer`] where the offset is not what is there, or another transfer of it runs.
    pub fn receive(&self, header: BlobHeader) -> Result<Receiving, NodeError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(NodeError::file("create", &self.folder))?;
        let path = self.partial(header.digest);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(NodeError::file("open", &path))?;
        let transfer = |why: String| NodeError::Transfer { digest: header.digest, why };
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(transfer("it is being received already".to_owned()));
                }
                Err(TryLockError::Error(error)) => return Err(NodeError::file("lock", &path)(error)),
            }
        }
        let present = file.metadata().map_err(NodeError::file("look at", &path))?.len();
        if header.offset > present || header.offset > header.size {
            return Err(transfer(format!(
                "sending goes on at byte {}, but {present} are here",
                header.offset
            )));
        }
        let mut hasher = Hashing(sha2::Sha256::new());
        file.set_len(header.offset)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| io::copy(&mut file, &mut hasher))
            .map_err(NodeError::file("read", &path))?;
        Ok(Receiving { store: self.clone(), header, path, file, hasher, length: header.offset })
    }

    fn partial(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!(".{digest}.partial"))
    }
}

struct Hashing(sha2::Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blob that is being received. Dropped half-way, what came stays for the next attempt, invisible.
pub struct Receiving {
    store: BlobStore,
    header: BlobHeader,
    path: PathBuf,
    file: File,
    hasher: Hashing,
    length: u64,
}

impl Receiving {
    /// Whether everything came.
    pub fn is_complete(&self) -> bool {
        self.length == self.header.size
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`NodeError::Transfer`] where more comes than was announced; [`NodeError::File`].
    pub fn write(&mut self, content: &[u8]) -> Result<(), NodeError> {
        self.length += content.len() as u64;
        if self.length > self.header.size {
            let why = format!("more than the announced {} bytes came", self.header.size);
            return Err(NodeError::Transfer { digest: self.header.digest, why });
        }
        self.hasher.0.update(content);
        self.file.write_all(content).map_err(NodeError::file("write", &self.path))
    }

    /// Verifies the digest and makes the blob visible.
    ///
    /// # Errors
    /// [`NodeError::Corrupt`], and nothing is left of it; [`NodeError::File`].
    pub fn finish(self) -> Result<(), NodeError> {
        let expected = self.header.digest;
        let actual = Digest::from_bytes(self.hasher.0.finalize().into());
        if actual != expected {
            // Going on after damaged bytes would never end well.
            let _ = std::fs::remove_file(&self.path);
            return Err(NodeError::Corrupt { what: format!("blob {}", expected.short()), actual, expected });
        }
        // Not forced to disk: whoever uses a blob checks its digest again, so one that a power loss damaged is found and
        // sent once more, and most of what comes here is removed again before it would be written.
        let path = self.store.path(expected);
        std::fs::rename(&self.path, &path).map_err(NodeError::file("replace", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_visible_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::of(&NodeRoot::at(folder.path()));
        let content = b"content of a blob";
        let digest = Digest::of(content);
        let header = BlobHeader { digest, size: content.len() as u64, offset: 0 };
        assert_eq!(store.missing(&[digest, digest]), [MissingBlob { digest, present: 0 }]);

        let mut receiving = store.receive(header).unwrap();
        receiving.write(&content[..5]).unwrap();
        assert!(store.receive(header).is_err(), "two transfers of one blob");
        drop(receiving);
        assert_eq!(store.missing(&[digest]), [MissingBlob { digest, present: 5 }]);
        assert!(store.open(digest).is_err());

        let mut receiving = store.receive(BlobHeader { offset: 5, ..header }).unwrap();
        receiving.write(&content[5..]).unwrap();
        assert!(receiving.is_complete());
        receiving.finish().unwrap();
        assert!(store.has(digest) && store.missing(&[digest]).is_empty());
        assert_eq!(files::digest(&store.path(digest)).unwrap(), digest);
    }

    #[test]
    fn damaged_content_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::of(&NodeRoot::at(folder.path()));
        let header = BlobHeader { digest: Digest::of(b"good"), size: 4, offset: 0 };
        let mut receiving = store.receive(header).unwrap();
        receiving.write(b"evil").unwrap();
        assert!(matches!(receiving.finish(), Err(NodeError::Corrupt { .. })));
        assert_eq!(std::fs::read_dir(&store.folder).unwrap().count(), 0);
        assert!(store.receive(BlobHeader { offset: 3, ..header }).is_err());
        assert!(store.receive(header).unwrap().write(b"longer").is_err());
    }
}
