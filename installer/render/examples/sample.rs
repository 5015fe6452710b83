//! Writes everything the shipped templates give for a cluster into a folder, to look at and to feed real components.
//!
//! `cargo run -p kubezt-render --example sample -- FOLDER [CLUSTER]`, where CLUSTER is a resolved cluster in YAML and the
//! sample of the testkit where it is left out.

use std::path::{Path, PathBuf};

use kubezt_model::{SecretText, yaml};
use kubezt_render::{Input, RenderError, Secrets, Templates, chart_values, render_manifests, render_node};

/// Thirty-two zero bytes: an example needs no secret.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("name a folder to write to")?;
    let cluster = match arguments.next() {
        Some(file) => yaml::read(&file.display().to_string(), &fs_err::read_to_string(&file)?)?,
        None => kubezt_testkit::sample_cluster(),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    let mut files = Vec::new();
    read(&root, &root, &mut files)?;
    let templates = Templates::load(files).map_err(RenderError::Several)?;
    let images = kubezt_testkit::sample_images();
    let secrets = Secrets { encryption_key: SecretText::new(KEY.to_owned()) };
    let input = Input { cluster: &cluster, images: &images, secrets: &secrets };
    for node in &cluster.nodes {
        let desired = render_node(&templates, &input, node)?;
        for file in &desired.files {
            write(
                &folder.join(node.name.as_str()).join(file.path.trim_start_matches('/')),
                file.body.expose(),
            )?;
        }
    }
    for (position, set) in render_manifests(&templates, &input)?.iter().enumerate() {
        let documents = set.objects.iter().map(yaml::write).collect::<Result<Vec<_>, _>>()?;
        write(&folder.join(format!("manifests/{position}-{}.yaml", set.name)), &documents.join("---\n"))?;
    }
    write(&folder.join("chart-values.yaml"), &yaml::write(&chart_values(&templates, &input)?)?)?;
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(path, text)
}

fn read(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> std::io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, fs_err::read_to_string(&path)?));
        }
    }
    Ok(())
}
