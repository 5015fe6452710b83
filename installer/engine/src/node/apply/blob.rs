//! Installing files of components from the content store.

use kubezt_model::{Digest, Mode};

use super::Applied;
use crate::node::blobs::BlobStore;
use crate::node::files::{self, Attributes};
use crate::node::{NodeError, NodeRoot};

/// Copies a blob to a path, root's, unless it is there already. A running program of that path keeps its old file.
///
/// # Errors
/// [`NodeError::NoBlob`]; [`NodeError::Corrupt`], and the path is as before; [`NodeError::File`].
pub fn install(root: &NodeRoot, expected: Digest, name: &str, mode: Mode) -> Result<Applied, NodeError> {
    let path = root.path(name)?;
    let attributes = Attributes { mode, ids: super::file_ids(root)? };
    let current = files::metadata(&path)?.is_some_and(|metadata| metadata.is_file());
    if current && files::digest(&path)? == expected {
        return files::set_attributes(&path, attributes).map(Applied::changed);
    }
    let store = BlobStore::of(root);
    let mut blob = store.open(expected)?;
    files::replace(&path, attributes, |file| {
        let actual = files::copy(&mut blob, file).map_err(NodeError::file("copy to", &path))?;
        if actual == expected {
            return Ok(());
        }
        // A damaged blob would be found there again and again.
        store.remove(expected);
        Err(NodeError::Corrupt { what: format!("blob {}", expected.short()), actual, expected })
    })?;
    Ok(Applied::changed(true))
}
