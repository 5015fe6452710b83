//! Everything that an image of one architecture is made of: its index, its manifest, its configuration and layers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubezt_model::Digest;
use serde::Deserialize;

use crate::Error;
use crate::cache::Blob;
use crate::download::Watch;
use crate::hashing::{blocking, digest_file};
use crate::image::{MANIFEST, write_archive};
use crate::item::Item;
use crate::layer::Content;
use crate::recipe::Architecture;
use crate::sources::Pinned;

/// A manifest that was found, and what it names.
pub(crate) struct Image {
    manifest: Vec<u8>,
    media_type: String,
    parts: Vec<(Digest, u64)>,
}

impl Image {
    /// What the manifest names, as items.
    pub(crate) fn blobs(&self, reference: &str) -> Vec<Item> {
        let blob = |&(digest, size)| Item::Blob { reference: reference.to_owned(), digest, size };
        self.parts.iter().map(blob).collect()
    }
}

/// What an index or a manifest leads to next.
pub(crate) enum Next {
    /// The manifest of the architecture.
    Manifest(Digest),
    /// All that there is.
    Image(Image),
}

/// Reads an index or a manifest whose digest was checked.
///
/// # Errors
/// What is wrong with it, as text.
pub(crate) fn next(bytes: Vec<u8>, architecture: Architecture) -> Result<Next, String> {
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
    if let Some(config) = document.config {
        let parts = document.layers.iter().chain([&config]);
        let parts = parts.map(|descriptor| (descriptor.digest, descriptor.size)).collect();
        let media_type = document.media_type.unwrap_or_else(|| MANIFEST.to_owned());
        return Ok(Next::Image(Image { manifest: bytes, media_type, parts }));
    }
    let fits = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform
            .is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture.as_str())
    };
    let entry = document.manifests.iter().find(fits);
    let entry = entry.ok_or_else(|| format!("it has no image for linux/{architecture}"))?;
    Ok(Next::Manifest(entry.digest))
}

/// An image whose parts are in a folder, each under its digest.
pub(crate) struct Collected {
    image: Image,
    /// Everything it is made of.
    pub(crate) items: Vec<Item>,
}

/// Puts everything that an index leads to into `folder`, each under its digest; what is there already and right is left.
///
/// # Errors
/// What the source says, and documents that are not of an image for the architecture.
pub(crate) async fn collect(
    source: &dyn Pinned,
    index: Item,
    architecture: Architecture,
    folder: &Path,
    watch: Watch<'_>,
) -> Result<Collected, Error> {
    let mut items = Vec::new();
    let mut document = index;
    let image = loop {
        let path = bring(source, &document, folder, watch).await?;
        let bytes = fs_err::read(path).map_err(Error::file("cannot read a manifest"))?;
        let url = document.path();
        let wrong = |problem: String| Error::Answer { url: url.clone(), problem };
        let followed = !items.is_empty();
        let Item::Document { reference, .. } = &document else {
            return Err(wrong("it is no document of an image".to_owned()));
        };
        let found = next(bytes, architecture).map_err(wrong)?;
        let reference = reference.clone();
        items.push(document);
        match found {
            Next::Image(image) => {
                items.extend(image.blobs(&reference));
                break image;
            }
            // An index leads to a manifest; an index in it would be one too many.
            Next::Manifest(_) if followed => return Err(wrong("it leads to yet another index".to_owned())),
            Next::Manifest(digest) => document = Item::Document { reference, digest },
        }
    };
    for item in &items {
        bring(source, item, folder, watch).await?;
    }
    Ok(Collected { image, items })
}

async fn bring(source: &dyn Pinned, item: &Item, folder: &Path, watch: Watch<'_>) -> Result<PathBuf, Error> {
    let digest = item.digest().unwrap_or_else(|| Digest::from_bytes([0; 32]));
    let path = folder.join(digest.to_string());
    if !is_there(&path, digest).await? {
        source.bring(item, &path, watch).await?;
    }
    Ok(path)
}

/// Whether a file with this content is at a path.
///
/// # Errors
/// A file that cannot be read.
pub(crate) async fn is_there(path: &Path, digest: Digest) -> Result<bool, Error> {
    let path = path.to_owned();
    blocking(move || {
        let found = path.is_file().then(|| digest_file(&path)).transpose();
        let found = found.map_err(Error::file("cannot look at what is there already"))?;
        Ok(found.is_some_and(|(found, _)| found == digest))
    })
    .await
}

/// Puts the image of one architecture into an archive below `workspace`.
///
/// # Errors
/// As [`collect`], and files that cannot be written.
pub(crate) async fn pull(
    source: &dyn Pinned,
    reference: &str,
    index: Digest,
    architecture: Architecture,
    workspace: &Path,
    watch: Watch<'_>,
) -> Result<(PathBuf, Blob), Error> {
    let index = Item::Document { reference: reference.to_owned(), digest: index };
    let Collected { image, .. } = collect(source, index, architecture, workspace, watch).await?;
    let file = |(digest, _): &(Digest, u64)| (*digest, Content::File(workspace.join(digest.to_string())));
    let files: BTreeMap<_, _> = image.parts.iter().map(file).collect();
    let archive = workspace.join("image.tar");
    let reference = reference.to_owned();
    blocking(move || {
        let written = write_archive(&archive, &reference, &image.media_type, image.manifest, files);
        let (digest, size) = written.map_err(Error::file("cannot write an image archive"))?;
        Ok((archive, Blob { digest, size }))
    })
    .await
}

/// An index or a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}
