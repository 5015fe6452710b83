//! An image of one program that is at hand: kubezt itself, for pods that try the data path.

use std::path::Path;

use kubezt_model::Digest;
use kubezt_model::cluster::Role;

use crate::Error;
use crate::cache::{Cache, Record};
use crate::hashing::digest_parts;
use crate::image::{ImageConfig, assemble_blob};
use crate::layer::{Content, Layer};
use crate::prepare::ImageArchive;
use crate::recipe::Architecture;

/// Where the program is in its image.
const PATH: &str = "/kubezt";

/// Nobody in particular (the user many distroless images run as).
const USER: &str = "65532:65532";

/// Name of the archive in its record.
const IMAGE: &str = "image";

/// Assembles an image of a statically linked program, or finds the one that was assembled before. It goes to every node.
///
/// `digest` is the program's; the image is cached under it.
///
/// # Errors
/// The program or the cache cannot be read or written.
pub async fn program_image(
    cache: &Path,
    architecture: Architecture,
    program: &Path,
    digest: Digest,
    reference: &str,
) -> Result<ImageArchive, Error> {
    let cache = Cache::open(cache)?;
    let parts = ["program image 1", PATH, USER, architecture.as_str(), reference, &digest.to_string()];
    let key = digest_parts(parts.iter().map(|part| part.as_bytes()));
    let kept = cache.record(&key).and_then(|record| record.0.get(IMAGE).copied());
    let blob = match kept {
        Some(blob) => blob,
        None => {
            let workspace = cache.workspace(&key, || {}).await?;
            let mut layer = Layer::new();
            layer.add(PATH, 0o755, Content::File(program.to_owned()));
            let config = ImageConfig {
                reference: reference.to_owned(),
                architecture,
                user: USER.to_owned(),
                entrypoint: vec![PATH.to_owned()],
                arguments: Vec::new(),
                environment: std::collections::BTreeMap::new(),
                working_directory: None,
            };
            let (archive, blob) = assemble_blob(&config, &layer, workspace.path())
                .map_err(Error::file("cannot assemble an image"))?;
            let blob = cache.adopt_hashed(&archive, blob, false)?;
            let record = Record([(IMAGE.to_owned(), blob)].into());
            cache.keep_record(&key, &record, workspace.path())?;
            blob
        }
    };
    Ok(ImageArchive {
        component: "kubezt".to_owned(),
        name: "kubezt".to_owned(),
        reference: reference.to_owned(),
        roles: vec![Role::ControlPlane, Role::Worker],
        blob: cache.blob_path(&blob.digest),
        digest: blob.digest,
        size: blob.size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_program_gives_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::write(&program, b"static").unwrap();
        let digest = Digest::of(b"static");
        let mut archives = Vec::new();
        for cache in ["one", "two", "one"] {
            let cache = folder.path().join(cache);
            archives.push(
                program_image(&cache, Architecture::Amd64, &program, digest, "kubezt.dev/x:1").await.unwrap(),
            );
        }
        assert!(archives.iter().all(|archive| archive.digest == archives[0].digest));
        assert_eq!(fs_err::metadata(&archives[0].blob).unwrap().len(), archives[0].size);
    }
}
