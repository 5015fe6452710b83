//! Prepares components from source: `cargo run -p kubezt-artifacts --example build -- [--release-files] [component...]`.
//!
//! Without names, everything an ordinary cluster has. The recipes are read from `images/` of this checkout.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its terminal")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use kubezt_artifacts::{Architecture, Catalogue, Extent, Origin, Wanted, default_cache, prepare};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let release = names.iter().position(|name| name == "--release-files").map(|index| names.remove(index));
    let origin = if release.is_some() { Origin::Release } else { Origin::Source };
    let catalogue = Catalogue::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images"))?;
    let wanted = match names.is_empty() {
        true => catalogue.installed(),
        false => names.iter().map(String::as_str).collect(),
    };
    let home = PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?);
    let cache = default_cache(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), &home);
    let architecture = Architecture::host().ok_or("no components for this architecture")?;
    let started = Instant::now();
    let prepared = prepare(
        &catalogue,
        &origin,
        architecture,
        Wanted { components: &wanted, extent: Extent::Everything },
        &cache,
        &|progress| eprintln!("{progress:?}"),
    )
    .await?;
    eprintln!("prepared in {:?}", started.elapsed());
    for file in &prepared.node_files {
        println!("{} {} {} {} {:?}", file.digest.short(), file.size, file.mode, file.path, file.roles);
    }
    for image in &prepared.images {
        println!("{} {} {} {:?}", image.digest.short(), image.size, image.reference, image.roles);
    }
    for (name, tool) in &prepared.tools {
        println!("{} {name} {}", tool.digest.short(), tool.path.display());
    }
    Ok(())
}
