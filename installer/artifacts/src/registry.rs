//! Content of registries, by digest (OCI Distribution Specification 1.1, "Pull").
//!
//! A registry that asks who is there gets what it asks for: a token, had anonymously or with credentials (its `Bearer` challenge,
//! RFC 6750), or the credentials themselves (`Basic`, RFC 7617), and never before it asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubezt_model::SecretText;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use zeroize::Zeroizing;

use crate::Error;
use crate::credentials::Credentials;
use crate::download::{Downloader, Trust, Watch};
use crate::item::Item;

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.docker.distribution.manifest.v2+json";

/// The most that an answer with a token may have, in bytes.
const LARGEST_TOKEN: u64 = 1 << 20;

/// Registries, with what they let kubezt in by.
#[derive(Debug)]
pub(crate) struct Registries {
    trust: Trust,
    credentials: Option<PathBuf>,
    downloader: OnceCell<Downloader>,
    /// What was let in, by URL of the repository.
    granted: Mutex<BTreeMap<String, HeaderValue>>,
}

impl Registries {
    /// Neither files nor servers are looked at before the first fetch: what is cached needs neither.
    pub(crate) fn new(trust: Trust, credentials: Option<PathBuf>) -> Self {
        Self { trust, credentials, downloader: OnceCell::new(), granted: Mutex::default() }
    }

    /// What fetches.
    pub(crate) async fn downloader(&self) -> Result<&Downloader, Error> {
        self.downloader.get_or_try_init(async || Downloader::new(&self.trust)).await
    }

    /// Puts an item of a repository at `path`.
    ///
    /// # Errors
    /// An item without a digest, what the registry says, and anything whose digest is not the one asked for.
    pub(crate) async fn fetch(
        &self,
        host: &str,
        repository: &str,
        item: &Item,
        path: &Path,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let scheme = if matches!(self.trust, Trust::Loopback) { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}");
        let kind = if matches!(item, Item::Document { .. }) { "manifests" } else { "blobs" };
        let digest = item.digest().ok_or_else(|| Error::Answer {
            url: base.clone(),
            problem: "the lock has no digest to ask a registry for".to_owned(),
        })?;
        let url = format!("{base}/{kind}/sha256:{digest}");
        let downloader = self.downloader().await?;
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
        if let Some(granted) = self.granted.lock().await.get(&base) {
            headers.insert(AUTHORIZATION, granted.clone());
        }
        let challenges = match downloader.fetch(&url, &headers, item.expected(), path, watch).await {
            Err(Error::Unauthorized { challenges, .. }) => challenges,
            other => return other.map(|_| ()),
        };
        // Nothing was shown yet, or it has expired meanwhile.
        let granted = self.let_in(host, repository, &url, &challenges, watch).await?;
        headers.insert(AUTHORIZATION, granted.clone());
        self.granted.lock().await.insert(base, granted);
        match downloader.fetch(&url, &headers, item.expected(), path, watch).await {
            Err(Error::Unauthorized { .. }) => Err(self.refused(&url)),
            other => other.map(|_| ()),
        }
    }

    /// What answers a challenge.
    async fn let_in(
        &self,
        host: &str,
        repository: &str,
        url: &str,
        challenges: &[String],
        watch: Watch<'_>,
    ) -> Result<HeaderValue, Error> {
        let credentials = match &self.credentials {
            Some(file) => Some(Credentials::read(file, host, repository)?),
            None => None,
        };
        let basic = credentials.map(|credentials| credentials.basic());
        if let Some(challenge) = challenges.iter().find_map(|text| Bearer::parse(text)) {
            return self.token(url, &challenge, basic, watch).await;
        }
        let takes_basic = challenges.iter().any(|text| scheme(text).eq_ignore_ascii_case("basic"));
        match basic.filter(|_| takes_basic) {
            Some(basic) => header(url, "Basic", &basic),
            None => Err(self.refused(url)),
        }
    }

    async fn token(
        &self,
        url: &str,
        challenge: &Bearer,
        basic: Option<SecretText>,
        watch: Watch<'_>,
    ) -> Result<HeaderValue, Error> {
        let realm = challenge.url().ok_or_else(|| Error::Refused {
            url: url.to_owned(),
            problem: "it names no URL to have a token from".to_owned(),
        })?;
        let mut headers = HeaderMap::new();
        if let Some(basic) = basic {
            headers.insert(AUTHORIZATION, header(&realm, "Basic", &basic)?);
        }
        let downloader = self.downloader().await?;
        let bytes = match downloader.read(&realm, &headers, LARGEST_TOKEN, watch).await {
            Err(Error::Unauthorized { .. }) => return Err(self.refused(url)),
            other => Zeroizing::new(other?),
        };
        let none = || Error::Refused { url: url.to_owned(), problem: format!("{realm} gave no token") };
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| none())?;
        header(url, "Bearer", &token.token.or(token.access_token).ok_or_else(none)?)
    }

    fn refused(&self, url: &str) -> Error {
        let problem = match &self.credentials {
            Some(file) => format!("the registry refuses the credentials of {}", file.display()),
            None => {
                "the registry asks for credentials; name a file as `docker login` writes it (config.json) as \
                     `artifacts.registryCredentialsFile`"
                    .to_owned()
            }
        };
        Error::Refused { url: url.to_owned(), problem }
    }
}

fn header(url: &str, scheme: &str, secret: &SecretText) -> Result<HeaderValue, Error> {
    let text = Zeroizing::new(format!("{scheme} {}", secret.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Refused {
        url: url.to_owned(),
        problem: "the token or password has characters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn scheme(challenge: &str) -> &str {
    challenge.split_whitespace().next().unwrap_or_default()
}

/// A `Bearer` challenge: where tokens are to be had, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Bearer {
    realm: String,
    query: Vec<(&'static str, String)>,
}

impl Bearer {
    fn parse(challenge: &str) -> Option<Self> {
        let parameters =
            challenge.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))?.1;
        let parameter = |name: &str| {
            let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let query = ["service", "scope"].into_iter().filter_map(|name| Some((name, parameter(name)?)));
        Some(Self { realm: parameter("realm")?, query: query.collect() })
    }

    fn url(&self) -> Option<String> {
        let mut url = Url::parse(&self.realm).ok()?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Some(url.into())
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<SecretText>,
    access_token: Option<SecretText>,
}

#[cfg(test)]
mod tests;
