//! Versions of images in use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::api::{objects, outcome};
use super::super::{ClusterContext, Judged};
use super::pods;

/// Each repository with a single tag or digest, over all pods that have not ended.
pub fn one_version(context: &ClusterContext<'_>) -> Result<Judged, String> {
    let reads = [pods()];
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, pod) in objects(context, &reads)? {
        if ["Succeeded", "Failed"].iter().any(|ended| pod["status"]["phase"] == *ended) {
            continue;
        }
        for image in images(pod) {
            let (repository, version) = parts(image);
            versions.entry(repository.to_owned()).or_default().insert(version.to_owned());
        }
    }
    let several = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let broken = several.map(|(repository, versions)| {
        format!("{repository}: {}", versions.iter().cloned().collect::<Vec<_>>().join(" and "))
    });
    Ok(outcome("one version of each image", versions.len(), broken.collect()))
}

fn images(pod: &Value) -> impl Iterator<Item = &str> {
    ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| pod["spec"][field].as_array().into_iter().flatten())
        .filter_map(|container| container["image"].as_str())
}

/// Repository and version: a digest where there is one, else the tag, else `latest`.
fn parts(image: &str) -> (&str, &str) {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    // A colon before the last slash belongs to the registry's port.
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match name[slash..].rfind(':') {
        Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
        None => (name, None),
    };
    (repository, digest.or(tag).unwrap_or("latest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_split_into_repository_and_version() {
        assert_eq!(parts("host:5000/a/b:v1"), ("host:5000/a/b", "v1"));
        assert_eq!(parts("host:5000/a/b"), ("host:5000/a/b", "latest"));
        assert_eq!(parts("a/b:v1@sha256:00"), ("a/b", "sha256:00"));
    }
}
