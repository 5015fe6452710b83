//! Writing files so that a reader sees the old content or the new one, whole and with the right mode.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kubezt_model::{Digest, Mode};
use rustix::fs::{Gid, Uid};
use sha2::Digest as _;

use super::NodeError;

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

/// Mode and owner a file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Mode,
    /// Owning user and group.
    pub ids: (u32, u32),
}

/// What temporary names begin with: a dot, which kubelet's manifest folder and every `*.conf` reader pass over.
const TEMPORARY: &str = ".kubezt-";

/// Replaces a file: a temporary one in the same folder, content, owner, mode, to disk, and then the name. Folders that
/// are missing are made, root's and 0755.
///
/// Who replaces files in a folder keeps its lock meanwhile, so a temporary file that is there before is that of somebody who was
/// killed, and goes.
///
/// # Errors
/// [`NodeError::File`].
pub fn replace(
    path: &Path,
    attributes: Attributes,
    write: impl FnOnce(&mut File) -> Result<(), NodeError>,
) -> Result<(), NodeError> {
    let folder = folder_of(path)?;
    std::fs::create_dir_all(folder).map_err(NodeError::file("create", folder))?;
    let _kept = kept(folder)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(folder)
        .map_err(NodeError::file("create a file in", folder))?;
    write(temporary.as_file_mut())?;
    set_attributes(temporary.path(), attributes)?;
    temporary.as_file().sync_all().map_err(NodeError::file("write", path))?;
    temporary.persist(path).map_err(|error| NodeError::file("replace", path)(error.error))?;
    sync_folder(folder)
}

/// Keeps a folder from everybody else who replaces files there until it is dropped, and clears away what others left half-done.
fn kept(folder: &Path) -> Result<File, NodeError> {
    let failed = |doing| NodeError::file(doing, folder);
    let lock = File::open(folder).map_err(failed("open"))?;
    lock.lock().map_err(failed("lock"))?;
    for entry in std::fs::read_dir(folder).map_err(failed("read"))?.filter_map(Result::ok) {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(lock)
}

/// The same with content from memory.
///
/// # Errors
/// [`NodeError::File`].
pub fn replace_with(path: &Path, attributes: Attributes, content: &[u8]) -> Result<(), NodeError> {
    replace(path, attributes, |file| file.write_all(content).map_err(NodeError::file("write", path)))
}

/// Sets owner and mode where they differ; answers whether they did.
///
/// # Errors
/// [`NodeError::File`].
pub fn set_attributes(path: &Path, attributes: Attributes) -> Result<bool, NodeError> {
    let metadata = std::fs::symlink_metadata(path).map_err(NodeError::file("look at", path))?;
    let (uid, gid) = attributes.ids;
    let owned = (metadata.uid(), metadata.gid()) == (uid, gid);
    if !owned {
        // Changing the owner clears set-id bits, so the mode comes after it.
        rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|error| NodeError::file("change the owner of", path)(error.into()))?;
    }
    let allowed = metadata.permissions().mode() & 0o7777 == attributes.mode.bits();
    if !owned || !allowed {
        std::fs::set_permissions(path, Permissions::from_mode(attributes.mode.bits()))
            .map_err(NodeError::file("change the mode of", path))?;
    }
    Ok(!owned || !allowed)
}

/// Makes a rename or removal in this folder survive a power loss.
///
/// # Errors
/// [`NodeError::File`].
pub fn sync_folder(folder: &Path) -> Result<(), NodeError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(NodeError::file("write", folder))
}

/// The folder a file is in.
///
/// # Errors
/// [`NodeError::Path`] for the root itself.
pub fn folder_of(path: &Path) -> Result<&Path, NodeError> {
    path.parent().ok_or_else(|| NodeError::Path(path.display().to_string()))
}

/// Digest of a file's content.
///
/// # Errors
/// [`NodeError::File`].
pub fn digest(path: &Path) -> Result<Digest, NodeError> {
    let mut file = File::open(path).map_err(NodeError::file("read", path))?;
    copy(&mut file, &mut io::sink()).map_err(NodeError::file("read", path))
}

/// Copies everything and answers with the digest of it.
///
/// # Errors
/// What reading and writing say.
pub fn copy(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<Digest> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => {
                hasher.update(&buffer[..count]);
                writer.write_all(&buffer[..count])?;
            }
        }
    }
}

/// Metadata of a path itself; `None` where nothing is there.
///
/// # Errors
/// [`NodeError::File`].
pub fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>, NodeError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(NodeError::file("look at", path)(error)),
    }
}

/// Content of a small file as text; `None` where it is not there.
///
/// # Errors
/// [`NodeError::File`].
pub fn text(path: &Path) -> Result<Option<String>, NodeError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(NodeError::file("read", path)(error)),
    }
}

/// Content of a small file that has to be there, as text.
///
/// # Errors
/// [`NodeError::File`], also where it is not there.
pub fn required(path: &Path) -> Result<String, NodeError> {
    text(path)?.ok_or_else(|| NodeError::file("read", path)(io::ErrorKind::NotFound.into()))
}

/// Removes a file or a link; answers whether it was there.
///
/// # Errors
/// [`NodeError::File`].
pub fn remove(path: &Path) -> Result<bool, NodeError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(NodeError::file("remove", path)(error)),
    }
}

/// Whether the error says that nothing is there, a file in place of a folder on the way included.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Attributes {
        let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Attributes { mode: Mode::new(0o600), ids }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.service");
        for left in [".kubezt-psT8cX", ".kubezt-unit", ".bashrc"] {
            std::fs::write(folder.path().join(left), "half").unwrap();
        }
        std::fs::create_dir(folder.path().join(".kubezt-folder")).unwrap();
        replace_with(&path, ours(), b"whole").unwrap();
        assert_eq!(names(folder.path()), [".bashrc", ".kubezt-folder", "kubelet.service"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn two_that_write_into_a_folder_do_not_clear_each_others_files_away() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let folder = folder.path();
                scope.spawn(move || {
                    for round in 0..50 {
                        let path = folder.join(format!("file-{}", (writer + round) % 3));
                        replace_with(&path, ours(), b"whole").unwrap();
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["file-0", "file-1", "file-2"]);
    }
}
