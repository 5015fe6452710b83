//! What there is to put on nodes: the list that `kubezt images build` prints.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::{command, places};

/// What a component brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// SHA-256 of the content, in hexadecimal.
    pub digest: String,
    /// Where it goes on the node, or which image it is.
    pub target: String,
}

impl Artifact {
    /// Whether this is a file on the node; an image otherwise.
    pub fn is_file(&self) -> bool {
        self.target.starts_with('/')
    }

    /// The content in the cache.
    ///
    /// # Errors
    /// It is not there.
    pub fn content(&self) -> Result<PathBuf> {
        let path = places::cache()?.join("artifacts/blobs/sha256").join(&self.digest);
        ensure!(path.is_file(), "{} ({}) is not in the cache", path.display(), self.target);
        Ok(path)
    }
}

/// Everything an ordinary cluster has.
///
/// # Errors
/// A component cannot be obtained.
pub fn of_cluster(bench: &Bench) -> Result<Vec<Artifact>> {
    list(bench, None)
}

/// What one component brings.
///
/// # Errors
/// As [`of_cluster`].
pub fn of_component(bench: &Bench, component: &str) -> Result<Vec<Artifact>> {
    list(bench, Some(component))
}

fn list(bench: &Bench, component: Option<&str>) -> Result<Vec<Artifact>> {
    let mut build = command::program(&bench.binary, ["images", "build", "--source", "source"]);
    build.args(component);
    parse(&command::quiet(&mut build)?)
}

fn parse(text: &str) -> Result<Vec<Artifact>> {
    let artifacts: Result<Vec<_>> = text
        .lines()
        .map(|line| {
            let (digest, target) =
                line.split_once("  ").with_context(|| format!("`{line}`: no digest and target"))?;
            let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            ensure!(is_digest, "`{line}`: does not begin with a SHA-256 digest");
            Ok(Artifact { digest: digest.to_owned(), target: target.to_owned() })
        })
        .collect();
    let artifacts = artifacts?;
    ensure!(!artifacts.is_empty(), "`kubezt images build` listed nothing");
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_images_are_told_apart() {
        let digest = "ab".repeat(32);
        let text = format!("{digest}  /usr/local/bin/kubelet\n{digest}  registry.k8s.io/pause:3.10\n");
        let artifacts = parse(&text).unwrap();
        assert_eq!(artifacts.iter().map(Artifact::is_file).collect::<Vec<_>>(), [true, false]);
        assert_eq!(artifacts[1].target, "registry.k8s.io/pause:3.10");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "sha  /usr/bin/x\n", &format!("{} /one/blank\n", "a".repeat(64))] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
