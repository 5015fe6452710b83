//! Files and folders.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use kubezt_model::{Digest, Mode, Owner};

use super::Applied;
use crate::node::accounts::Accounts;
use crate::node::files::{self, Attributes};
use crate::node::{NodeError, NodeRoot};

/// Writes a file whole, unless content, mode and owner are so already.
///
/// # Errors
/// [`NodeError`].
pub fn put(
    root: &NodeRoot,
    name: &str,
    mode: Mode,
    owner: &Owner,
    content: &[u8],
) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    let attributes = Attributes { mode, ids: Accounts::load(root)?.ids(owner)? };
    put_content(&path, attributes, content).map(Applied::changed)
}

/// As [`put`], with a path and ids that were looked up; answers whether anything changed.
///
/// # Errors
/// [`NodeError`].
pub(super) fn put_content(path: &Path, attributes: Attributes, content: &[u8]) -> Result<bool, NodeError> {
    match files::metadata(path)? {
        Some(metadata) if metadata.is_file() => {
            let same = metadata.len() == content.len() as u64 && files::digest(path)? == Digest::of(content);
            if same {
                return files::set_attributes(path, attributes);
            }
        }
        Some(metadata) if metadata.is_dir() => return Err(is_folder(path)),
        // A link is replaced, not followed: what it points to belongs to someone else.
        _ => {}
    }
    files::replace_with(path, attributes, content)?;
    Ok(true)
}

/// Makes a folder, or sets its mode and owner. Folders above it that are missing become root's, 0755.
///
/// # Errors
/// [`NodeError`].
pub fn directory(root: &NodeRoot, name: &str, mode: Mode, owner: &Owner) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    let attributes = Attributes { mode, ids: Accounts::load(root)?.ids(owner)? };
    let made = match files::metadata(&path)? {
        Some(metadata) if metadata.is_dir() => false,
        Some(_) => {
            let why = "a folder is wanted and something else is there; move it away".to_owned();
            return Err(NodeError::Unsuitable { path, why });
        }
        None => {
            if let Some(above) = path.parent() {
                std::fs::create_dir_all(above).map_err(NodeError::file("create", above))?;
            }
            // Closed to others from its first moment on; the wanted mode follows.
            std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(NodeError::file("create", &path))?;
            true
        }
    };
    let mut changed = files::set_attributes(&path, attributes)?;
    if mode.bits() & 0o077 == 0 {
        changed |= close_what_comes(&path)?;
    }
    Ok(Applied::changed(made || changed))
}

/// Extended attribute that holds what files made in a folder may be at most (acl(5)).
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// `user::rwx,group::---,other::---` as the kernel keeps it: version 2, then tag, permissions and no id of each entry.
const OWNER_ONLY: [u8; 28] = [
    2, 0, 0, 0, //
    0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, //
    0x04, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, //
    0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

/// What a program makes later in a folder that is closed to others is closed too, whatever its umask: etcd writes a
/// snapshot every 10 000 changes that would be world-readable (V-242459). A file system without access lists keeps the
/// folder's own mode as the only barrier.
fn close_what_comes(path: &Path) -> Result<bool, NodeError> {
    let mut present = [0; OWNER_ONLY.len()];
    if rustix::fs::getxattr(path, DEFAULT_ACL, &mut present[..]).is_ok() && present == OWNER_ONLY {
        return Ok(false);
    }
    match rustix::fs::setxattr(path, DEFAULT_ACL, &OWNER_ONLY, rustix::fs::XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(NodeError::file("set the access list of", path)(error.into())),
    }
}

/// Removes a file or a link; nothing to do where nothing is there. A folder is refused.
///
/// # Errors
/// [`NodeError`].
pub fn remove(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    match files::metadata(&path)? {
        None => return Ok(Applied::changed(false)),
        Some(metadata) if metadata.is_dir() => return Err(is_folder(&path)),
        Some(_) => {}
    }
    std::fs::remove_file(&path).map_err(NodeError::file("remove", &path))?;
    files::sync_folder(files::folder_of(&path)?)?;
    Ok(Applied::changed(true))
}

/// Moves a directory to a name beside it that has the time in it. Nothing to do where it is absent.
///
/// # Errors
/// [`NodeError::Path`], [`NodeError::File`].
pub fn set_aside(root: &NodeRoot, name: &str) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    if files::metadata(&path)?.is_none() {
        return Ok(Applied::changed(false));
    }
    let time =
        jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = root.path(&format!("{name}.{time}"))?;
    std::fs::rename(&path, &aside).map_err(NodeError::file("move", &path))?;
    files::sync_folder(files::folder_of(&path)?)?;
    Ok(Applied::changed(true))
}

fn is_folder(path: &Path) -> NodeError {
    NodeError::Unsuitable {
        path: path.to_owned(),
        why: "a file is meant and a folder is there; move it away".to_owned(),
    }
}
