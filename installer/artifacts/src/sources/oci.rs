//! A registry of the site: everything by digest, so that tags do not matter.
//!
//! An image is in the repository it has upstream, below the prefix: `registry.k8s.io/coredns/coredns` is in
//! `PREFIX/coredns/coredns`, under the digest of its multi-platform index. Upstream's files, and charts as tar, are blobs
//! in `PREFIX/kubezt/COMPONENT`, as `oras push` puts files there.

use std::net::SocketAddr;
use std::path::Path;

use futures::future::BoxFuture;
use kubezt_model::artifacts::ArtifactSource;

use super::{OciRegistry, Pinned};
use crate::Error;
use crate::download::{Trust, Watch};
use crate::item::Item;
use crate::registry::Registries;

/// A registry.
#[derive(Debug)]
pub(crate) struct Oci {
    host: String,
    prefix: String,
    registries: Registries,
}

impl Oci {
    pub(crate) fn new(registry: &OciRegistry) -> Self {
        let OciRegistry { host, prefix, ca_file, credentials_file } = registry;
        let trust = match ca_file {
            Some(file) => Trust::Authorities(file.clone()),
            None if is_loopback(host) => Trust::Loopback,
            None => Trust::System,
        };
        let registries = Registries::new(trust, credentials_file.clone());
        Self { host: host.clone(), prefix: prefix.clone(), registries }
    }
}

/// Whether a host, with a port or without, is a loopback address; names are not, whatever they resolve to.
fn is_loopback(host: &str) -> bool {
    let with_port = |host: &str| host.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    with_port(host) || with_port(&format!("{host}:80"))
}

impl Pinned for Oci {
    fn kind(&self) -> ArtifactSource {
        ArtifactSource::Oci
    }

    fn bring<'a>(
        &'a self,
        item: &'a Item,
        path: &'a Path,
        watch: Watch<'a>,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut repository = item.repository();
            if !self.prefix.is_empty() {
                repository = format!("{}/{repository}", self.prefix);
            }
            self.registries.fetch(&self.host, &repository, item, path, watch).await
        })
    }
}
