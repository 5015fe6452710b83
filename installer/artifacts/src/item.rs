//! Content that a digest pins: what a source is asked for, and where each source has it.

use kubezt_model::Digest;
use semver::Version;

use crate::download::{Expected, MOST, Size};
use crate::recipe::{Architecture, last_part};

/// The most a manifest or an index may have (OCI Distribution Specification 1.1, "Pushing Manifests").
const LARGEST_DOCUMENT: u64 = 4 << 20;

/// One piece of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A file of upstream's.
    File {
        /// Component it is of.
        component: String,
        /// Version of that.
        version: Version,
        /// Architecture of what is in it.
        architecture: Architecture,
        /// Where upstream has it.
        url: String,
        /// Its digest; `None` where the lock has that of what is made of it.
        digest: Option<Digest>,
    },
    /// A chart, as the tar that the lock's digest is of.
    Chart {
        /// Component it is of.
        component: String,
        /// Version of that.
        version: Version,
        /// Name of the tool in the recipe.
        tool: String,
        /// Its digest.
        digest: Digest,
    },
    /// An index or manifest of an image.
    Document {
        /// Reference of the image.
        reference: String,
        /// Its digest.
        digest: Digest,
    },
    /// A configuration or layer of an image.
    Blob {
        /// Reference of the image.
        reference: String,
        /// Its digest.
        digest: Digest,
        /// Its size, as the manifest says.
        size: u64,
    },
}

impl Item {
    /// Its digest, where it has one of its own.
    pub(crate) const fn digest(&self) -> Option<Digest> {
        match self {
            Self::File { digest, .. } => *digest,
            Self::Chart { digest, .. } | Self::Document { digest, .. } | Self::Blob { digest, .. } => {
                Some(*digest)
            }
        }
    }

    /// What it must be to be kept.
    pub(crate) const fn expected(&self) -> Expected {
        let size = match self {
            Self::File { .. } | Self::Chart { .. } => Size::AtMost(MOST),
            Self::Document { .. } => Size::AtMost(LARGEST_DOCUMENT),
            Self::Blob { size, .. } => Size::Exactly(*size),
        };
        Expected { digest: self.digest(), size }
    }

    /// Its path in a folder of components.
    pub(crate) fn path(&self) -> String {
        let name = match self {
            Self::File { url, .. } => last_part(url).to_owned(),
            Self::Chart { version, tool, .. } => format!("{tool}-{version}.tar"),
            Self::Document { digest, .. } | Self::Blob { digest, .. } => digest.to_string(),
        };
        format!("{}/{name}", self.folder())
    }

    /// The folder of that.
    pub(crate) fn folder(&self) -> String {
        match self {
            Self::File { component, version, architecture, .. } => {
                format!("files/{component}-{version}/{architecture}")
            }
            Self::Chart { .. } => "charts".to_owned(),
            Self::Document { reference, .. } | Self::Blob { reference, .. } => {
                let (host, repository) = split(reference);
                format!("images/{host}/{repository}")
            }
        }
    }

    /// The repository of a registry that holds it, below the registry's prefix.
    pub(crate) fn repository(&self) -> String {
        match self {
            Self::File { component, .. } | Self::Chart { component, .. } => format!("kubezt/{component}"),
            Self::Document { reference, .. } | Self::Blob { reference, .. } => split(reference).1.to_owned(),
        }
    }

    /// The registry that upstream has it in, or the host of its URL; with the port.
    pub(crate) fn upstream(&self) -> &str {
        match self {
            Self::File { url, .. } => {
                url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default()
            }
            Self::Document { reference, .. } | Self::Blob { reference, .. } => split(reference).0,
            Self::Chart { .. } => "",
        }
    }
}

/// Host and repository of a full reference, without its tag.
fn split(reference: &str) -> (&str, &str) {
    let (host, rest) = reference.split_once('/').unwrap_or(("", reference));
    (host, rest.split(':').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_by_path_repository_and_host() {
        let digest = Digest::of(b"a");
        let file = Item::File {
            component: "kubernetes".to_owned(),
            version: Version::new(1, 36, 3),
            architecture: Architecture::Arm64,
            url: "https://dl.k8s.io/release/v1.36.3/bin/linux/arm64/kubelet".to_owned(),
            digest: Some(digest),
        };
        let told = (file.path(), file.repository(), file.upstream());
        let wanted =
            ("files/kubernetes-1.36.3/arm64/kubelet".to_owned(), "kubezt/kubernetes".to_owned(), "dl.k8s.io");
        assert_eq!(told, wanted);
        // The host of this reference has a port, which is no tag.
        let document = Item::Document { reference: "127.0.0.1:5000/coredns/coredns:v1".to_owned(), digest };
        let told = (document.path(), document.repository(), document.upstream());
        let wanted = (
            format!("images/127.0.0.1:5000/coredns/coredns/{digest}"),
            "coredns/coredns".to_owned(),
            "127.0.0.1:5000",
        );
        assert_eq!(told, wanted);
    }
}
