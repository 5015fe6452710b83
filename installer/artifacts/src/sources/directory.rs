//! A folder of the site, for machines without a network. [`crate::export()`] fills it on another.
//!
//! ```text
//! files/<component>-<version>/<architecture>/<name>   upstream's files
//! charts/<tool>-<version>.tar                         charts as kubezt packs them
//! images/<registry>/<repository>/<digest>             indexes, manifests, configurations and layers of images
//! ```
//!
//! Nothing in the folder is believed: each file has the digest of the lock, or one that it leads to.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use kubezt_model::Digest;
use kubezt_model::artifacts::ArtifactSource;

use super::Pinned;
use crate::Error;
use crate::download::Watch;
use crate::error::{FolderProblem, Found};
use crate::hashing::{HashingWriter, blocking, digest_file};
use crate::item::Item;
use crate::part::Part;
use crate::pull::{Next, next};
use crate::recipe::Architecture;

/// A folder.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    folder: PathBuf,
}

impl Directory {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn lacks(&self, problems: Vec<FolderProblem>) -> Error {
        Error::Folder { folder: self.folder.clone(), problems }
    }

    /// The file of an item, where there is one, and the digest it must have.
    fn locate(&self, item: &Item) -> Result<(PathBuf, Digest), FolderProblem> {
        let wanted = item.digest().unwrap_or_else(|| Digest::from_bytes([0; 32]));
        let path = self.folder.join(item.path());
        let problem = |found| FolderProblem { path: item.path(), wanted, found };
        match fs_err::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok((path, wanted)),
            // Reading a pipe could wait for ever.
            Ok(_) => Err(problem(Found::Unreadable("it is not a file".to_owned()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(problem(Found::Missing)),
            Err(error) => Err(problem(Found::Unreadable(error.kind().to_string()))),
        }
    }

    fn check(&self, item: &Item) -> Result<PathBuf, FolderProblem> {
        let (path, wanted) = self.locate(item)?;
        let problem = |found| FolderProblem { path: item.path(), wanted, found };
        match digest_file(&path) {
            Ok((found, _)) if found == wanted => Ok(path),
            Ok((found, _)) => Err(problem(Found::Other(found))),
            Err(error) => Err(problem(Found::Unreadable(error.kind().to_string()))),
        }
    }

    /// Checks items, and what the documents among them lead to.
    fn check_all(&self, mut items: Vec<Item>, architecture: Architecture) -> Vec<FolderProblem> {
        let mut problems: Vec<FolderProblem> = Vec::new();
        while let Some(item) = items.pop() {
            match (self.check(&item), &item) {
                (Err(problem), _) => problems.push(problem),
                (Ok(path), Item::Document { reference, digest }) => {
                    let unreadable = |why| FolderProblem {
                        path: item.path(),
                        wanted: *digest,
                        found: Found::Unreadable(why),
                    };
                    let bytes = fs_err::read(path).map_err(|error| error.kind().to_string());
                    match bytes.and_then(|bytes| next(bytes, architecture)) {
                        Ok(Next::Image(image)) => items.extend(image.blobs(reference)),
                        Ok(Next::Manifest(digest)) => {
                            items.push(Item::Document { reference: reference.clone(), digest });
                        }
                        Err(why) => problems.push(unreadable(why)),
                    }
                }
                (Ok(_), _) => {}
            }
        }
        // Images share layers.
        problems.sort_by(|one, other| one.path.cmp(&other.path));
        problems.dedup();
        problems
    }

    /// Copies an item, and looks at every byte of it on the way.
    fn copy(&self, item: &Item, path: &Path) -> Result<(), Error> {
        let (from, wanted) = self.locate(item).map_err(|problem| self.lacks(vec![problem]))?;
        let doing = || Error::file(format!("cannot copy {}", item.path()));
        let mut from = fs_err::File::open(from).map_err(doing())?;
        let (part, file) = Part::begin(path).map_err(doing())?;
        let mut writer = HashingWriter::new(file);
        std::io::copy(&mut from, &mut writer).map_err(doing())?;
        let (file, found, _) = writer.finish();
        if found != wanted {
            let problem = FolderProblem { path: item.path(), wanted, found: Found::Other(found) };
            return Err(self.lacks(vec![problem]));
        }
        part.finish(&file).map_err(doing())
    }
}

impl Pinned for Directory {
    fn kind(&self) -> ArtifactSource {
        ArtifactSource::Directory
    }

    fn doing(&self) -> &'static str {
        "copy"
    }

    fn bring<'a>(&'a self, item: &'a Item, path: &'a Path, _: Watch<'a>) -> BoxFuture<'a, Result<(), Error>> {
        let (directory, item, path) = (self.clone(), item.clone(), path.to_owned());
        Box::pin(blocking(move || directory.copy(&item, &path)))
    }

    fn inspect(&self, items: Vec<Item>, architecture: Architecture) -> BoxFuture<'_, Result<(), Error>> {
        let directory = self.clone();
        Box::pin(blocking(move || match directory.check_all(items, architecture) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(directory.lacks(problems)),
        }))
    }
}
