//! The Kubernetes API, reached through a byte stream somebody else opens (an exec channel to a control-plane node).
//!
//! One HTTP/2 connection carries everything: sshd allows few sessions on a connection, and dry runs of a hundred
//! objects should not open a hundred of them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryStreamExt as _;
use http::{Method, Request, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ConfigExt as _};
use kube::core::{ApiResource, GroupVersionKind, WatchEvent};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::ServiceBuilder;

/// Who the API server sees as the owner of the fields kubezt applies.
pub const FIELD_MANAGER: &str = "kubezt";

/// Asks for the metadata of a list's objects alone.
const METADATA_LIST: (&str, &str) =
    ("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");

/// No call takes longer, so that a dead data path shows as an error and not as silence.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A future that is boxed, because the dialler is chosen at run time.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens a byte stream to an API server.
pub type Dialler = Arc<dyn Fn() -> BoxFuture<io::Result<Box<dyn Stream>>> + Send + Sync>;

/// A client certificate with its key.
#[derive(Clone)]
pub struct Credential {
    /// Leaf first, then its intermediate.
    pub chain_pem: String,
    /// PKCS#8 key.
    pub key_pem: kubezt_model::SecretText,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered, and said no.
    #[error("the API server refused {call}: {code} {reason}: {message}")]
    Refused {
        /// Method and path.
        call: String,
        /// HTTP status.
        code: u16,
        /// Machine-readable reason.
        reason: String,
        /// What it said.
        message: String,
    },
    /// No answer.
    #[error("no answer from the API server to {call}: {cause}")]
    Unreachable {
        /// Method and path.
        call: String,
        /// Cause chain.
        cause: String,
    },
    /// Certificates or keys that cannot be used.
    #[error("the API client cannot be set up: {0}")]
    Setup(String),
}

impl ApiError {
    /// The HTTP status, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable { .. } | Self::Setup(_) => None,
        }
    }
}

/// How long one server may take until it has shown its certificate.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the API, through whichever of its servers answers.
#[derive(Clone)]
pub struct ApiClient {
    client: kube::Client,
}

impl ApiClient {
    /// A client that opens its connection through the first of `dials` that leads to a server, trusts `trust_pem`, expects the
    /// server to be `server_name`, and shows `credential` where there is one.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub fn new(
        dials: Vec<Dialler>,
        trust_pem: &str,
        server_name: &str,
        credential: Option<&Credential>,
    ) -> Result<Self, ApiError> {
        let tls = tls_config(trust_pem, credential)?;
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|error| ApiError::Setup(format!("{server_name}: {error}")))?;
        let connector = Connector { dials, tls: tokio_rustls::TlsConnector::from(Arc::new(tls)), name };
        let hyper: hyper_util::client::legacy::Client<_, Body> =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build(connector);
        // The connector ignores the address: the stream already ends at the server.
        let url: Uri = "https://kubernetes.invalid"
            .parse()
            .map_err(|error| ApiError::Setup(format!("base address: {error}")))?;
        let config = kube::Config::new(url);
        let service = ServiceBuilder::new().layer(config.base_uri_layer()).service(hyper);
        Ok(Self { client: kube::Client::new(service, "default") })
    }

    /// One call; answers with the parsed body.
    ///
    /// # Errors
    /// The server refused, or did not answer within 30 seconds.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        self.send(method, path, &[(http::header::CONTENT_TYPE.as_str(), content_type)], body).await
    }

    /// Reads a path under an audit id of our own choice, by which its record can be found.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn call_with_audit_id(&self, path: &str, audit_id: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, &[("Audit-ID", audit_id)], Vec::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let call = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let unreachable = |cause: String| ApiError::Unreachable { call: call.clone(), cause };
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == METADATA_LIST.0) {
            request = request.header(http::header::ACCEPT, "application/json");
        }
        let request = request.body(body).map_err(|error| ApiError::Setup(error.to_string()))?;
        match tokio::time::timeout(CALL_TIMEOUT, self.client.request_text(request)).await {
            Err(_) => Err(unreachable(format!("nothing within {} s", CALL_TIMEOUT.as_secs()))),
            Ok(Ok(text)) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            Ok(Err(kube::Error::Api(status))) => Err(ApiError::Refused {
                call: call.clone(),
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            }),
            Ok(Err(error)) => Err(unreachable(chain(&error))),
        }
    }

    /// Reads a path; `None` where it does not exist.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn read(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.call(Method::GET, path, "application/json", Vec::new()).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until an object is another than it was at this version, `within` at most. An empty version stands for an object
    /// that did not exist.
    ///
    /// # Errors
    /// The server does not let it be watched, ends the watch, or knows nothing of so old a version any more. Whoever asks again
    /// after an error waits first.
    pub async fn changed(&self, object: &str, version: &str, within: Duration) -> Result<(), ApiError> {
        let call = format!("watch {object}");
        let (collection, name) = object.rsplit_once('/').unwrap_or((object, ""));
        let query = format!("watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}");
        let request =
            Request::get(format!("{collection}?{query}&timeoutSeconds={}", within.as_secs().max(1)));
        let request = request.body(Vec::new()).map_err(|error| ApiError::Setup(error.to_string()))?;
        let event = async {
            let events = self.client.request_events::<Value>(request).await?;
            std::pin::pin!(events).try_next().await
        };
        let unreachable = |cause: String| Err(ApiError::Unreachable { call, cause });
        match tokio::time::timeout(within, event).await {
            Ok(Err(error)) => unreachable(chain(&error)),
            Ok(Ok(None)) => unreachable("the watch was ended".to_owned()),
            Ok(Ok(Some(WatchEvent::Error(status)))) => unreachable(status.message.clone()),
            Ok(Ok(Some(_))) | Err(_) => Ok(()),
        }
    }

    /// Every object of a list, page by page.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, ApiError> {
        self.list_with(path, "", &[]).await
    }

    /// As [`ApiClient::list`], of those objects that a field selector takes.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn list_selected(&self, path: &str, fields: &str) -> Result<Vec<Value>, ApiError> {
        let escaped = fields.replace('!', "%21").replace('=', "%3D").replace(',', "%2C");
        self.list_with(path, &format!("&fieldSelector={escaped}"), &[]).await
    }

    /// As [`ApiClient::list`], but nothing of the objects except their `metadata`.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn list_metadata(&self, path: &str) -> Result<Vec<Value>, ApiError> {
        self.list_with(path, "", &[METADATA_LIST]).await
    }

    async fn list_with(
        &self,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Result<Vec<Value>, ApiError> {
        let mut items = Vec::new();
        let mut page = format!("{path}?limit=500{query}");
        loop {
            let mut list = self.send(Method::GET, &page, headers, Vec::new()).await?;
            if let Some(Value::Array(more)) = list.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => {
                    page = format!("{path}?limit=500{query}&continue={token}")
                }
                _ => return Ok(items),
            }
        }
    }

    /// Server-side apply of one object, taking over fields others own; with `dry_run` nothing is stored.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn apply(&self, object: &Value, dry_run: bool) -> Result<Value, ApiError> {
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force=true{dry}", object_path(object)?);
        let body = serde_json::to_vec(object).map_err(|error| ApiError::Setup(error.to_string()))?;
        let content = (http::header::CONTENT_TYPE.as_str(), "application/apply-patch+yaml");
        self.send(Method::PATCH, &path, &[content], body).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        self.create_with(object, "").await
    }

    /// A dry run of [`ApiClient::create`]: everything is asked that decides about it, and nothing is stored.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn would_create(&self, object: &Value) -> Result<Value, ApiError> {
        self.create_with(object, "?dryRun=All").await
    }

    async fn create_with(&self, object: &Value, query: &str) -> Result<Value, ApiError> {
        let path = object_path(object)?;
        let collection = path.rsplit_once('/').map_or(path.as_str(), |(collection, _)| collection);
        let body = serde_json::to_vec(object).map_err(|error| ApiError::Setup(error.to_string()))?;
        self.call(Method::POST, &format!("{collection}{query}"), "application/json", body).await
    }

    /// Deletes a path with all that depends on it; nothing to do where it does not exist.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn delete(&self, path: &str) -> Result<(), ApiError> {
        let options = br#"{"propagationPolicy":"Background","gracePeriodSeconds":0}"#.to_vec();
        match self.call(Method::DELETE, path, "application/json", options).await {
            Err(error) if error.code() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The text at this place of an object; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Path of an object. One without a namespace is taken for cluster-wide, so manifests name theirs.
///
/// # Errors
/// An object without `apiVersion`, `kind` or name.
pub fn object_path(object: &Value) -> Result<String, ApiError> {
    let text = |pointer: &str| text(object, pointer);
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    if version.is_empty() || kind.is_empty() || name.is_empty() {
        return Err(ApiError::Setup("an object needs apiVersion, kind and metadata.name".to_owned()));
    }
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Ok(format!("{}/{name}", collection_path(group, version, &resource.plural, text("/metadata/namespace"))))
}

/// Path of a collection; an empty namespace means cluster-wide, or all namespaces.
pub fn collection_path(group: &str, version: &str, plural: &str, namespace: &str) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    if namespace.is_empty() {
        format!("{root}/{plural}")
    } else {
        format!("{root}/namespaces/{namespace}/{plural}")
    }
}

/// The causes of an error in one line, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Asks an HTTPS server for a path without showing a certificate, and without checking the server's, because the
/// answer is only looked at and never trusted; answers with the status line.
///
/// # Errors
/// The server ends the handshake or the connection.
pub(crate) async fn request_without_certificate(dial: &Dialler, path: &str) -> io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let config = unverified::config().map_err(io::Error::other)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let stream = dial().await?;
    let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    tls.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = vec![0; 512];
    let length = tls.read(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer")),
    }
}

/// A TLS client that accepts any server: only for looking at how servers treat strangers.
mod unverified {
    use std::sync::Arc;

    use rustls::DigitallySignedStruct;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    pub(super) fn config() -> Result<rustls::ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(AnyServer(Arc::clone(&provider)));
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }

    #[derive(Debug)]
    struct AnyServer(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyServer {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

pub(crate) fn tls_config(
    trust_pem: &str,
    credential: Option<&Credential>,
) -> Result<rustls::ClientConfig, ApiError> {
    let setup = |what: &str, error: &dyn std::fmt::Display| ApiError::Setup(format!("{what}: {error}"));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| setup("trusted certificates", &error))?;
        roots.add(certificate).map_err(|error| setup("trusted certificates", &error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| setup("TLS", &error))?
        .with_root_certificates(roots);
    let mut config = match credential {
        None => builder.with_no_client_auth(),
        Some(credential) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(credential.chain_pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| setup("client certificate", &error))?;
            let key = PrivateKeyDer::from_pem_slice(credential.key_pem.expose().as_bytes())
                .map_err(|error| setup("client key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| setup("client certificate", &error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[derive(Clone)]
struct Connector {
    dials: Vec<Dialler>,
    tls: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Tls>;
    type Error = io::Error;
    type Future = BoxFuture<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { dials, tls, name } = self.clone();
        Box::pin(async move {
            let mut failed = io::Error::other("there is no way to a server");
            for dial in dials {
                let connecting = async { tls.connect(name.clone(), dial().await?).await };
                match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                    Ok(Ok(stream)) => return Ok(TokioIo::new(Tls(stream))),
                    Ok(Err(error)) => failed = error,
                    Err(_) => failed = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(failed)
        })
    }
}

struct Tls(tokio_rustls::client::TlsStream<Box<dyn Stream>>);

impl Connection for Tls {
    fn connected(&self) -> Connected {
        Connected::new().negotiated_h2()
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_follow_group_version_and_namespace() {
        let path = |value: Value| object_path(&value).unwrap();
        assert_eq!(
            path(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}})
            ),
            "/api/v1/namespaces/b/configmaps/a"
        );
        assert_eq!(
            path(
                json!({"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "a"}})
            ),
            "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies/a"
        );
        assert!(object_path(&json!({"kind": "ConfigMap"})).is_err());
    }
}
