//! Importing container images into containerd without a registry.

use std::time::Duration;

use kubezt_model::Digest;
use kubezt_model::node::ImageReading;

use super::Applied;
use crate::node::blobs::BlobStore;
use crate::node::command::run;
use crate::node::images::{self, ARCHIVE_LABEL, PINNED, PINNED_LABEL};
use crate::node::{NodeError, NodeRoot, files};

/// A large image on a slow disk.
const IMPORT_LIMIT: Duration = Duration::from_secs(900);
const LABEL_LIMIT: Duration = Duration::from_secs(60);

/// Imports an archive from the content store, pins the image against garbage collection, and notes which archive it came
/// from. The archive's digest is verified before it is handed over; once it is imported the runtime has its content, and
/// the blob goes.
///
/// # Errors
/// [`NodeError::NoBlob`], [`NodeError::Corrupt`], [`NodeError::Command`], and [`NodeError::Unsuitable`] where the archive
/// does not bring the reference.
pub async fn import(root: &NodeRoot, archive: Digest, reference: &str) -> Result<Applied, NodeError> {
    let applied = import_blob(root, archive, reference).await?;
    BlobStore::of(root).remove(archive);
    Ok(applied)
}

async fn import_blob(root: &NodeRoot, archive: Digest, reference: &str) -> Result<Applied, NodeError> {
    let current = |image: &ImageReading| image.is_import_of(archive);
    if images::find(root, reference).await?.as_ref().is_some_and(current) {
        return Ok(Applied::changed(false));
    }
    let store = BlobStore::of(root);
    let path = store.path(archive);
    verify(&store, archive).await?;
    let file = path.to_string_lossy().into_owned();
    let (pinned, origin) = (format!("{PINNED_LABEL}={PINNED}"), format!("{ARCHIVE_LABEL}={archive}"));
    let namespace = ["--namespace", "k8s.io", "images"];
    // The labels come with the import, so that there is no moment in which the image is not pinned.
    // The other way, over containerd's transfer service, takes two and a half times the processor time for the same result.
    let import = ["import", "--local", "--label", &pinned, "--label", &origin, &file];
    run(root, "ctr", &[&namespace[..], &import].concat(), IMPORT_LIMIT).await?;
    match images::find(root, reference).await? {
        Some(image) if current(&image) => return Ok(Applied::changed(true)),
        // An image that was there already keeps its own labels.
        Some(_) => {}
        None => {
            let why = format!("the archive does not bring {reference}");
            return Err(NodeError::Unsuitable { path, why });
        }
    }
    let label = ["label", reference, &pinned, &origin];
    run(root, "ctr", &[&namespace[..], &label].concat(), LABEL_LIMIT).await?;
    match images::find(root, reference).await? {
        Some(image) if current(&image) => Ok(Applied::changed(true)),
        _ => {
            let why = format!("{reference} was imported and could not be pinned");
            Err(NodeError::Unsuitable { path, why })
        }
    }
}

async fn verify(store: &BlobStore, expected: Digest) -> Result<(), NodeError> {
    let store = store.clone();
    let checked = tokio::task::spawn_blocking(move || {
        drop(store.open(expected)?);
        let actual = files::digest(&store.path(expected))?;
        if actual == expected {
            return Ok(());
        }
        store.remove(expected);
        Err(NodeError::Corrupt { what: format!("image archive {}", expected.short()), actual, expected })
    });
    checked.await.unwrap_or_else(|error| Err(NodeError::Internal(error.to_string())))
}
