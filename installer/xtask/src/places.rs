//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The target of the binary that is shipped, on operators' machines and on nodes.
pub const TARGET: &str = "x86_64-unknown-linux-musl";

/// The checkout this task was built from.
pub fn checkout() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => checkout().join(folder),
        None => checkout().join("target"),
    }
}

/// The binary that is shipped.
pub fn binary() -> PathBuf {
    target().join(TARGET).join("release/kubezt")
}

/// The project's cache, shared by all checkouts.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        return Ok(Path::new(&folder).join("kubezt"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/kubezt"))
}

/// What all labs share of the cache: the boxes and the key that opens their nodes.
///
/// # Errors
/// See [`cache`].
pub fn lab_cache() -> Result<PathBuf> {
    Ok(cache()?.join("lab"))
}

/// The private key that opens every lab node.
///
/// # Errors
/// See [`cache`].
pub fn node_key() -> Result<PathBuf> {
    Ok(lab_cache()?.join("node.key"))
}
