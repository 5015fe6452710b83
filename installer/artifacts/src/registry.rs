//! Upstream's images, pulled by digest (OCI Distribution Specification 1.1), anonymously.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubezt_model::Digest;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use crate::Error;
use crate::cache::Blob;
use crate::image::{MANIFEST, write_archive};
use crate::layer::Content;
use crate::recipe::Architecture;
use crate::release::{Downloader, save};

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.docker.distribution.manifest.v2+json";

/// Pulls the image of one architecture into an archive below `workspace`.
///
/// # Errors
/// What the registry says, and anything whose digest is not the one that led to it.
pub(crate) async fn pull(
    downloader: &Downloader,
    reference: &str,
    index: Digest,
    architecture: Architecture,
    workspace: &Path,
    received: &(dyn Fn(u64, Option<u64>) + Send + Sync),
) -> Result<(PathBuf, Blob), Error> {
    let (host, repository) = split(reference)?;
    let mut registry =
        Registry { downloader, base: format!("{}://{host}/v2/{repository}", downloader.scheme), token: None };
    let (mut url, mut bytes) = registry.document(index, workspace).await?;
    let mut document: Document = parse(&url, &bytes)?;
    if document.config.is_none() {
        let fits = |entry: &&Descriptor| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os == "linux" && platform.architecture == architecture.as_str()
            })
        };
        let entry = document.manifests.iter().find(fits);
        let entry = entry.ok_or_else(|| answer(&url, format!("it has no image for linux/{architecture}")))?;
        (url, bytes) = registry.document(entry.digest, workspace).await?;
        document = parse(&url, &bytes)?;
    }
    let config = document.config.ok_or_else(|| answer(&url, "it is not an image manifest".to_owned()))?;
    let mut blobs = BTreeMap::new();
    for descriptor in document.layers.iter().chain([&config]) {
        let path = workspace.join(descriptor.digest.to_string());
        registry.blob(descriptor.digest, &path, received).await?;
        blobs.insert(descriptor.digest, Content::File(path));
    }
    let media_type = document.media_type.unwrap_or_else(|| MANIFEST.to_owned());
    let archive = workspace.join("image.tar");
    let reference = reference.to_owned();
    tokio::task::spawn_blocking(move || {
        let (digest, size) = write_archive(&archive, &reference, &media_type, bytes, blobs)?;
        Ok((archive, Blob { digest, size }))
    })
    .await
    .map_err(Error::Worker)?
    .map_err(Error::file("cannot write an image archive"))
}

struct Registry<'a> {
    downloader: &'a Downloader,
    base: String,
    token: Option<HeaderValue>,
}

impl Registry<'_> {
    async fn document(&mut self, digest: Digest, workspace: &Path) -> Result<(String, Vec<u8>), Error> {
        let url = format!("{}/manifests/sha256:{digest}", self.base);
        let path = workspace.join("document.json");
        self.save(&url, digest, &path, &|_, _| {}).await?;
        let bytes = fs_err::read(path).map_err(Error::file("cannot read a manifest"))?;
        Ok((url, bytes))
    }

    async fn blob(
        &mut self,
        digest: Digest,
        path: &Path,
        received: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<(), Error> {
        let url = format!("{}/blobs/sha256:{digest}", self.base);
        self.save(&url, digest, path, received).await
    }

    async fn save(
        &mut self,
        url: &str,
        digest: Digest,
        path: &Path,
        received: &(dyn Fn(u64, Option<u64>) + Send + Sync),
    ) -> Result<(), Error> {
        let mut response = self.downloader.get(url, self.headers()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.token.is_none() {
            let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            let token_url = challenge.and_then(token_url);
            let token_url = token_url
                .ok_or_else(|| answer(url, "it asks for credentials kubezt does not have".to_owned()))?;
            self.token = Some(self.fetch_token(&token_url).await?);
            response = self.downloader.get(url, self.headers()).await?;
        }
        save(response, url, Some(digest), path, received).await.map(|_| ())
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
        headers.extend(self.token.clone().map(|token| (AUTHORIZATION, token)));
        headers
    }

    async fn fetch_token(&self, url: &str) -> Result<HeaderValue, Error> {
        let response = self.downloader.get(url, HeaderMap::new()).await?;
        let status = response.status();
        let bytes =
            response.bytes().await.map_err(|source| Error::Download { url: url.to_owned(), source })?;
        let wrong = || answer(url, format!("it answered {status} without a token"));
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let token = token.token.or(token.access_token).ok_or_else(wrong)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Host and repository of a full reference.
fn split(reference: &str) -> Result<(&str, &str), Error> {
    let (host, rest) =
        reference.split_once('/').ok_or_else(|| answer(reference, "it names no registry".to_owned()))?;
    Ok((host, rest.split(':').next().unwrap_or(rest)))
}

/// Where a `Bearer` challenge (RFC 6750) says tokens are to be had.
fn token_url(challenge: &str) -> Option<String> {
    let parameters = challenge.strip_prefix("Bearer ")?;
    let parameter = |name: &str| {
        let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    let realm = parameter("realm")?;
    let query: Vec<_> = ["service", "scope"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", parameter(name)?)))
        .collect();
    Some(if query.is_empty() { realm.to_owned() } else { format!("{realm}?{}", query.join("&")) })
}

fn answer(url: &str, problem: String) -> Error {
    Error::Answer { url: url.to_owned(), problem }
}

fn parse<'a, T: Deserialize<'a>>(url: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| answer(url, format!("it is not a manifest: {error}")))
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// An index or a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::serve;

    struct Upstream {
        index: Digest,
        answers: Vec<(String, u16, String, Vec<u8>)>,
    }

    fn upstream(layer: &[u8], served_layer: &[u8]) -> Upstream {
        let path = |kind: &str, digest: Digest| format!("/v2/pause/{kind}/sha256:{digest}");
        let mut answers = Vec::new();
        let mut put = |kind: &str, bytes: &[u8], served: &[u8]| {
            let digest = Digest::of(bytes);
            answers.push((path(kind, digest), 200, String::new(), served.to_vec()));
            digest
        };
        let config = put("blobs", b"{}", b"{}");
        let layer = put("blobs", layer, served_layer);
        let manifest = format!(
            r#"{{"mediaType":"{MANIFEST}","config":{{"digest":"sha256:{config}"}},"layers":[{{"digest":"sha256:{layer}"}}]}}"#
        );
        let manifest = put("manifests", manifest.as_bytes(), manifest.as_bytes());
        let other = Digest::of(b"other");
        let index = format!(
            r#"{{"manifests":[{{"digest":"sha256:{other}","platform":{{"os":"linux","architecture":"s390x"}}}},{{"digest":"sha256:{manifest}","platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#
        );
        let index = put("manifests", index.as_bytes(), index.as_bytes());
        Upstream { index, answers }
    }

    async fn pulled(upstream: Upstream, architecture: Architecture) -> Result<Vec<String>, Error> {
        let token_server = serve(vec![(
            "/token?service=a&scope=b".to_owned(),
            200,
            String::new(),
            br#"{"token":"good"}"#.to_vec(),
        )])
        .await;
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{token_server}/token\",service=\"a\",scope=\"b\"\r\n"
        );
        let mut answers =
            vec![(format!("/v2/pause/manifests/sha256:{}", upstream.index), 401, challenge, Vec::new())];
        answers.extend(upstream.answers);
        let address = serve(answers).await;
        let folder = tempfile::tempdir().unwrap();
        let reference = format!("{address}/pause:3");
        // The host of this reference has a port, which is no tag.
        assert_eq!(split(&reference).unwrap(), (address.as_str(), "pause"));
        let downloader = Downloader::plain();
        let (archive, blob) =
            pull(&downloader, &reference, upstream.index, architecture, folder.path(), &|_, _| {}).await?;
        let bytes = fs_err::read(archive).unwrap();
        assert_eq!(blob.digest, Digest::of(&bytes));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        Ok(names.collect())
    }

    #[tokio::test]
    async fn an_image_is_pulled_by_digest_with_an_anonymous_token() {
        let names = pulled(upstream(b"layer", b"layer"), Architecture::Arm64).await.unwrap();
        for wanted in ["index.json".to_owned(), format!("blobs/sha256/{}", Digest::of(b"layer"))] {
            assert!(names.contains(&wanted), "{names:?}");
        }
    }

    #[tokio::test]
    async fn a_changed_layer_and_a_missing_architecture_are_refused() {
        let error = pulled(upstream(b"layer", b"LAYER"), Architecture::Arm64).await.unwrap_err();
        assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
        let error = pulled(upstream(b"layer", b"layer"), Architecture::Amd64).await.unwrap_err();
        assert!(error.to_string().contains("linux/amd64"), "{error}");
    }
}
