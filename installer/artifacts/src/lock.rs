//! `images/lock.yaml`: the one place of versions and upstream digests.

use std::collections::BTreeMap;

use kubezt_model::Digest;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::recipe::Architecture;

/// What is pinned, by component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lock(pub BTreeMap<String, Pin>);

/// What is pinned of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// Version, the same from every source.
    pub version: Version,
    /// SHA-256 of upstream's files, by the recipe's name for the download and by architecture.
    #[serde(default)]
    pub downloads: BTreeMap<String, BTreeMap<Architecture, Digest>>,
    /// Digest of upstream's multi-platform image index, by the recipe's name for the image.
    #[serde(default)]
    pub images: BTreeMap<String, Digest>,
    /// SHA-256 of a chart folder as a deterministic tar, by the recipe's name for the tool; holds for every source.
    #[serde(default)]
    pub charts: BTreeMap<String, Digest>,
}
