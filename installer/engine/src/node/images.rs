//! Images in containerd's store, in the namespace kubelet uses, by `ctr`.

use std::collections::BTreeMap;
use std::time::Duration;

use kubezt_model::Digest;
use kubezt_model::node::ImageReading;

use super::command::run;
use super::{NodeError, NodeRoot};

/// Label that holds the digest of the archive kubezt imported an image from.
pub const ARCHIVE_LABEL: &str = "kubezt.dev/archive";
/// Label by which containerd's CRI plug-in tells kubelet never to collect an image.
pub const PINNED_LABEL: &str = "io.cri-containerd.pinned";
/// Value of [`PINNED_LABEL`].
pub const PINNED: &str = "pinned";
/// containerd's socket.
const SOCKET: &str = "/run/containerd/containerd.sock";
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// All images by reference; none where containerd is not installed or was never started.
///
/// # Errors
/// Where containerd should answer and does not.
pub async fn list(root: &NodeRoot) -> Result<BTreeMap<String, ImageReading>, NodeError> {
    if root.program("ctr").is_err() || !root.known(SOCKET).exists() {
        return Ok(BTreeMap::new());
    }
    let output = run(root, "ctr", &["--namespace", "k8s.io", "images", "list"], LIST_LIMIT).await?;
    Ok(parse(&output.stdout))
}

/// One image; `None` where it is not there.
///
/// # Errors
/// As [`list`].
pub async fn find(root: &NodeRoot, reference: &str) -> Result<Option<ImageReading>, NodeError> {
    Ok(list(root).await?.remove(reference))
}

/// The table has the columns REF TYPE DIGEST SIZE PLATFORMS LABELS; sizes have a blank in them, so the digest is known by
/// its form and the labels by being last.
fn parse(table: &str) -> BTreeMap<String, ImageReading> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let digest =
                columns.iter().skip(1).find_map(|column| column.strip_prefix("sha256:"))?.parse().ok()?;
            let label = |key: &str| {
                let labels = columns.last()?;
                labels.split(',').find_map(|label| label.strip_prefix(key)?.strip_prefix('='))
            };
            let reading = ImageReading {
                digest,
                pinned: label(PINNED_LABEL) == Some(PINNED),
                archive: label(ARCHIVE_LABEL).and_then(|digest| digest.parse::<Digest>().ok()),
            };
            Some(((*columns.first()?).to_owned(), reading))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_by_form_not_by_width() {
        let digest = Digest::of(b"image");
        let archive = Digest::of(b"archive");
        let table = format!(
            "REF TYPE DIGEST SIZE PLATFORMS LABELS \n\
             registry.k8s.io/pause:3.10 application/vnd.oci.image.manifest.v1+json sha256:{digest} 312.6 KiB linux/amd64 \
             io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned,kubezt.dev/archive={archive} \n\
             other:1 application/vnd.oci.image.index.v1+json sha256:{digest} 1.0 B linux/amd64,linux/arm64 - \n"
        );
        let images = parse(&table);
        assert_eq!(
            images["registry.k8s.io/pause:3.10"],
            ImageReading { digest, pinned: true, archive: Some(archive) }
        );
        assert_eq!(images["other:1"], ImageReading { digest, pinned: false, archive: None });
        assert_eq!(images.len(), 2);
    }
}
