//! Upstream itself: files over HTTPS, images by digest, anonymously.

use std::path::Path;

use futures::future::BoxFuture;
use kubezt_model::artifacts::ArtifactSource;
use reqwest::header::HeaderMap;

use super::Pinned;
use crate::Error;
use crate::download::{Trust, Watch};
use crate::item::Item;
use crate::registry::Registries;

/// Upstream.
#[derive(Debug)]
pub(crate) struct Release {
    registries: Registries,
}

impl Release {
    pub(crate) fn new() -> Self {
        Self { registries: Registries::new(Trust::System, None) }
    }

    /// For tests against servers on loopback.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { registries: Registries::new(Trust::Loopback, None) }
    }
}

impl Pinned for Release {
    fn kind(&self) -> ArtifactSource {
        ArtifactSource::Release
    }

    fn has_charts(&self) -> bool {
        false
    }

    fn bring<'a>(
        &'a self,
        item: &'a Item,
        path: &'a Path,
        watch: Watch<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match item {
                Item::File { url, .. } => {
                    let downloader = self.registries.downloader().await?;
                    let headers = HeaderMap::new();
                    downloader.fetch(url, &headers, item.expected(), path, watch).await.map(|_| ())
                }
                _ => self.registries.fetch(item.upstream(), &item.repository(), item, path, watch).await,
            }
        })
    }
}
