//! Image archives: an OCI image layout (OCI Image Format Specification 1.1) in one tar, as `ctr images import` reads it.
//!
//! Layers are not compressed: an archive travels to a node over a compressed connection, and a compressed layer would cost
//! every node the time to unpack it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use kubezt_model::Digest;
use serde::Serialize;
use tar::Builder;

use crate::cache::Blob;
use crate::hashing::HashingWriter;
use crate::layer::{Content, Layer, header};
use crate::recipe::Architecture;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an image says about how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// Full reference the image is imported under.
    pub reference: String,
    /// Architecture of its programs.
    pub architecture: Architecture,
    /// Numeric `uid:gid`.
    pub user: String,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub arguments: Vec<String>,
    /// Environment.
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub working_directory: Option<String>,
}

/// Assembles an image of one layer. `layer_file` is where the layer is written on the way.
///
/// # Errors
/// Files that cannot be read or written.
pub fn assemble(
    config: &ImageConfig,
    layer: &Layer,
    layer_file: &Path,
    archive: &Path,
) -> io::Result<(Digest, u64)> {
    let writer = HashingWriter::new(io::BufWriter::new(fs_err::File::create(layer_file)?));
    let (mut writer, diff_id, layer_size) = layer.write(writer)?.finish();
    writer.flush()?;
    let config_bytes = to_json(&ConfigFile {
        created: "1970-01-01T00:00:00Z",
        architecture: config.architecture.as_str(),
        os: "linux",
        config: RunConfig {
            user: &config.user,
            env: config.environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            entrypoint: &config.entrypoint,
            cmd: &config.arguments,
            working_dir: config.working_directory.as_deref(),
        },
        rootfs: RootFs { kind: "layers", diff_ids: vec![sha256(&diff_id)] },
        history: [History { created_by: "kubezt" }],
    })?;
    let config_digest = Digest::of(&config_bytes);
    let manifest = to_json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor::new(CONFIG, &config_digest, config_bytes.len() as u64),
        layers: vec![Descriptor::new(LAYER, &diff_id, layer_size)],
    })?;
    let blobs = BTreeMap::from([
        (diff_id, Content::File(layer_file.to_owned())),
        (config_digest, Content::Bytes(config_bytes)),
    ]);
    write_archive(archive, &config.reference, MANIFEST, manifest, blobs)
}

/// Writes an archive of a manifest and the blobs it names.
pub(crate) fn write_archive(
    archive: &Path,
    reference: &str,
    manifest_type: &str,
    manifest: Vec<u8>,
    mut blobs: BTreeMap<Digest, Content>,
) -> io::Result<(Digest, u64)> {
    let manifest_digest = Digest::of(&manifest);
    let mut descriptor = Descriptor::new(manifest_type, &manifest_digest, manifest.len() as u64);
    // containerd names an image by the first; the second is the specification's, which other tools read.
    for annotation in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
        descriptor.annotations.insert(annotation, reference.to_owned());
    }
    let index = to_json(&Index { schema_version: 2, media_type: INDEX, manifests: [descriptor] })?;
    blobs.insert(manifest_digest, Content::Bytes(manifest));

    let file = io::BufWriter::with_capacity(1 << 18, fs_err::File::create(archive)?);
    let mut builder = Builder::new(HashingWriter::new(file));
    let mut append = |path: &str, content: &Content| -> io::Result<()> {
        let mut header = header(0o444);
        match content {
            Content::File(file) => {
                let file = fs_err::File::open(file)?;
                header.set_size(file.metadata()?.len());
                builder.append_data(&mut header, path, io::BufReader::with_capacity(1 << 18, file))
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())
            }
            Content::Directory | Content::Link(_) => Err(io::Error::other("an image blob is a file")),
        }
    };
    append("oci-layout", &Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()))?;
    append("index.json", &Content::Bytes(index))?;
    for (digest, content) in &blobs {
        append(&format!("blobs/sha256/{digest}"), content)?;
    }
    let (mut file, digest, size) = builder.into_inner()?.finish();
    file.flush()?;
    Ok((digest, size))
}

/// As [`assemble`], in the words of the cache.
pub(crate) fn assemble_blob(
    config: &ImageConfig,
    layer: &Layer,
    workspace: &Path,
) -> io::Result<(PathBuf, Blob)> {
    let archive = workspace.join("image.tar");
    let (digest, size) = assemble(config, layer, &workspace.join("layer.tar"), &archive)?;
    Ok((archive, Blob { digest, size }))
}

fn to_json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::from)
}

fn sha256(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: [Descriptor<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
}

impl<'a> Descriptor<'a> {
    fn new(media_type: &'a str, digest: &Digest, size: u64) -> Self {
        Self { media_type, digest: sha256(digest), size, annotations: BTreeMap::new() }
    }
}

#[derive(Serialize)]
struct ConfigFile<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: RunConfig<'a>,
    rootfs: RootFs<'a>,
    history: [History<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig<'a> {
    user: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct History<'a> {
    created_by: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ImageConfig {
        ImageConfig {
            reference: "registry.k8s.io/pause:3.10.1".to_owned(),
            architecture: Architecture::Amd64,
            user: "65535:65535".to_owned(),
            entrypoint: vec!["/pause".to_owned()],
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            working_directory: None,
        }
    }

    fn built(config: &ImageConfig, program: &[u8]) -> (Digest, BTreeMap<String, Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let mut layer = Layer::new();
        layer.add("/pause", 0o755, Content::Bytes(program.to_vec()));
        let archive = folder.path().join("image.tar");
        let (digest, size) = assemble(config, &layer, &folder.path().join("layer.tar"), &archive).unwrap();
        let bytes = fs_err::read(&archive).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
        let mut entries = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            entries.insert(entry.path().unwrap().display().to_string(), content);
        }
        (digest, entries)
    }

    #[test]
    fn the_same_input_gives_the_same_digest() {
        let (digest, _) = built(&config(), b"program");
        assert_eq!(digest, built(&config(), b"program").0);
        assert_ne!(digest, built(&config(), b"Program").0);
        assert_ne!(digest, built(&ImageConfig { user: "0:0".to_owned(), ..config() }, b"program").0);
    }

    #[test]
    fn every_descriptor_leads_to_a_blob_of_its_digest_and_size() {
        let (_, entries) = built(&config(), b"program");
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &entries[&format!("blobs/sha256/{digest}")];
            assert_eq!(Digest::of(bytes).to_string(), digest);
            assert_eq!(descriptor["size"], bytes.len());
            bytes
        };
        let index: serde_json::Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let annotations = &index["manifests"][0]["annotations"];
        assert_eq!(annotations["io.containerd.image.name"], config().reference);
        assert_eq!(annotations["org.opencontainers.image.ref.name"], config().reference);
        let manifest: serde_json::Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
        let config: serde_json::Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], sha256(&Digest::of(layer)));
        assert_eq!(config["config"], serde_json::json!({"User": "65535:65535", "Entrypoint": ["/pause"]}));
        assert_eq!(config["architecture"], "amd64");
    }
}
