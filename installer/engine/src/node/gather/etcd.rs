//! The raw value etcd holds under a key: what is really on disk, past the API server and its decryption.
//!
//! The running API server says on its command line where etcd is and which files open it; those are used. The call is
//! etcd's own gRPC (`etcdserverpb.KV/Range`), small enough to be written out here.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::Body;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::node::{NodeError, NodeRoot, processes};

const LIMIT: Duration = Duration::from_secs(10);
/// Bytes an answer may have; etcd's own limit for a value is 1.5 MiB.
const ANSWER_MAXIMUM: usize = 8 << 20;

/// How the API server reaches etcd.
struct Access {
    server: Uri,
    authority: String,
    certificate: String,
    key: String,
}

/// The value under a key; `None` where etcd holds none.
///
/// # Errors
/// Where no API server runs here, or etcd does not answer.
pub async fn value(root: &NodeRoot, key: &str) -> Result<Option<Vec<u8>>, NodeError> {
    let access = access(root)?;
    let address = access.server.to_string();
    match timeout(LIMIT, range(root, &access, key)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure::Node(error))) => Err(error),
        Ok(Err(Failure::Call(why))) => {
            Err(NodeError::Network { doing: "ask etcd at", address, source: std::io::Error::other(why) })
        }
        Err(_) => {
            let source = std::io::ErrorKind::TimedOut.into();
            Err(NodeError::Network { doing: "ask etcd at", address, source })
        }
    }
}

enum Failure {
    Node(NodeError),
    Call(String),
}

impl Failure {
    fn call(error: impl std::fmt::Display) -> Self {
        Self::Call(error.to_string())
    }
}

fn access(root: &NodeRoot) -> Result<Access, NodeError> {
    let processes = processes::named(root, "kube-apiserver")?;
    let arguments = processes.first().map(|process| process.arguments.as_slice()).unwrap_or_default();
    let argument = |name: &str| {
        let found = arguments
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned));
        found.ok_or_else(|| NodeError::Unsuitable {
            path: root.known("/proc"),
            why: format!("no kube-apiserver with {name} runs on this node"),
        })
    };
    let servers = argument("--etcd-servers")?;
    let first = servers.split(',').next().unwrap_or_default();
    let server = first.parse().map_err(|_| NodeError::Unsuitable {
        path: root.known("/proc"),
        why: format!("`{first}` in --etcd-servers of kube-apiserver is not an address"),
    })?;
    Ok(Access {
        server,
        authority: argument("--etcd-cafile")?,
        certificate: argument("--etcd-certfile")?,
        key: argument("--etcd-keyfile")?,
    })
}

async fn range(root: &NodeRoot, access: &Access, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let host = access.server.host().ok_or_else(|| Failure::call("--etcd-servers names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = access.server.port_u16().unwrap_or(2379);
    let name = ServerName::try_from(host.clone()).map_err(Failure::call)?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(Failure::call)?;
    let connector = TlsConnector::from(Arc::new(tls(root, access)?));
    let stream = connector.connect(name, stream).await.map_err(Failure::call)?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(Failure::call)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("https://{host}:{port}/etcdserverpb.KV/Range"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(message(&range_request(key.as_bytes()))))
        .map_err(Failure::call)?;
    let response = sender.send_request(request).await.map_err(Failure::call)?;
    let answer = collect(response).await;
    connection.abort();
    let answer = answer?;
    // Without content there is a status that says why.
    let payload = answer.get(5..).ok_or_else(|| Failure::call("etcd answered nothing"))?;
    first_value(payload).map_err(Failure::call)
}

async fn collect(response: http::Response<Incoming>) -> Result<Vec<u8>, Failure> {
    check(response.headers())?;
    if !response.status().is_success() {
        return Err(Failure::call(format_args!("HTTP status {}", response.status())));
    }
    let mut body = response.into_body();
    let mut content = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(Failure::call)?;
        match frame.into_data() {
            Ok(data) => content.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    check(&trailers)?;
                }
            }
        }
        if content.len() > ANSWER_MAXIMUM {
            return Err(Failure::call("the answer is too long"));
        }
    }
    Ok(content)
}

/// gRPC says how a call ended in a header or, after the content, in a trailer.
fn check(headers: &http::HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    match text("grpc-status").as_deref() {
        None | Some("0") => Ok(()),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(Failure::call(format_args!("gRPC status {status}: {message}")))
        }
    }
}

fn tls(root: &NodeRoot, access: &Access) -> Result<ClientConfig, Failure> {
    let read = |name: &str| {
        let path = root.path(name).map_err(Failure::Node)?;
        std::fs::read(&path)
            .map(zeroize::Zeroizing::new)
            .map_err(|error| Failure::Node(NodeError::file("read", &path)(error)))
    };
    let unusable = |name: &str| {
        let path = Path::new(name).to_owned();
        move || Failure::Node(NodeError::Unsuitable { path, why: "it is not what TLS needs".to_owned() })
    };
    let certificates = |name: &str| {
        let pem = read(name)?;
        let list: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .filter_map(Result::ok)
            .map(CertificateDer::into_owned)
            .collect();
        if list.is_empty() { Err(unusable(name)()) } else { Ok(list) }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&access.authority)? {
        roots.add(certificate).map_err(|_| unusable(&access.authority)())?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&access.key)?).map_err(|_| unusable(&access.key)())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::call)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&access.certificate)?, key)
        .map_err(|_| unusable(&access.certificate)())?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    Ok(configuration)
}

/// A gRPC message: not compressed, its length, its bytes.
fn message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], payload].concat()
}

/// `RangeRequest { key = 1 }` in protocol buffers.
fn range_request(key: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x0a];
    let mut length = key.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(key);
    bytes
}

/// `RangeResponse { kvs = 2 { value = 5 } }`: the value of the first pair.
fn first_value(payload: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let Some(pair) = field(payload, 2)? else { return Ok(None) };
    Ok(Some(field(pair, 5)?.unwrap_or_default().to_vec()))
}

/// The first length-delimited field with this number.
fn field(mut bytes: &[u8], wanted: u64) -> Result<Option<&[u8]>, &'static str> {
    const DAMAGED: &str = "etcd's answer is damaged";
    while !bytes.is_empty() {
        let (tag, rest) = varint(bytes).ok_or(DAMAGED)?;
        let (number, kind) = (tag >> 3, tag & 7);
        let (content, rest) = match kind {
            0 => (&[][..], varint(rest).ok_or(DAMAGED)?.1),
            1 => rest.split_at_checked(8).ok_or(DAMAGED)?,
            2 => {
                let (length, rest) = varint(rest).ok_or(DAMAGED)?;
                rest.split_at_checked(usize::try_from(length).map_err(|_| DAMAGED)?).ok_or(DAMAGED)?
            }
            5 => rest.split_at_checked(4).ok_or(DAMAGED)?,
            _ => return Err(DAMAGED),
        };
        if number == wanted && kind == 2 {
            return Ok(Some(content));
        }
        bytes = rest;
    }
    Ok(None)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_protocol_buffers() {
        assert_eq!(range_request(b"/a"), [0x0a, 2, b'/', b'a']);
        assert_eq!(range_request(&[0; 300])[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(message(b"x"), [0, 0, 0, 0, 1, b'x']);
        // header {cluster_id = 1}, kvs { key "/a", mod_revision 7, value "v" }, count 1
        let answer = [0x0a, 2, 8, 1, 0x12, 9, 0x0a, 2, b'/', b'a', 0x18, 7, 0x2a, 1, b'v', 0x20, 1];
        assert_eq!(first_value(&answer), Ok(Some(b"v".to_vec())));
        assert_eq!(first_value(&answer[..4]), Ok(None));
        assert!(first_value(&answer[..10]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn random_answers_make_no_panic(bytes: Vec<u8>) {
            let _ = first_value(&bytes);
        }
    }
}
