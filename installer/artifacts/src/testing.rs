//! For tests: servers on loopback that behave as they are told, and a small catalogue with everything that it pins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubezt_model::Digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{Architecture, Catalogue};

/// What was asked.
pub(crate) struct Request {
    method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of the range that is asked for; 0 where none is.
    pub(crate) fn offset(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |first| first.parse().unwrap())
    }
}

/// What is answered.
pub(crate) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    end: End,
}

enum End {
    /// As it should be.
    Whole,
    /// The connection is closed after this many bytes.
    Cut(usize),
    /// Nothing more comes after this many bytes.
    Stall(usize),
    /// A byte at a time, for ever.
    Trickle,
    /// Whole, with no length said before.
    Chunked,
}

impl Reply {
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self { status: 200, headers: String::new(), body: body.to_vec(), end: End::Whole }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::ok(b"") }
    }

    /// What a good server answers: the part that is asked for.
    pub(crate) fn part(request: &Request, body: &[u8]) -> Self {
        match request.offset() {
            0 => Self::ok(body),
            offset => {
                let range = format!("bytes {offset}-{}/{}", body.len() - 1, body.len());
                Self { status: 206, ..Self::ok(&body[offset..]) }.with("Content-Range", &range)
            }
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn cut(self, bytes: usize) -> Self {
        Self { end: End::Cut(bytes), ..self }
    }

    pub(crate) fn stall(self, bytes: usize) -> Self {
        Self { end: End::Stall(bytes), ..self }
    }

    pub(crate) fn trickle(self) -> Self {
        Self { end: End::Trickle, ..self }
    }

    pub(crate) fn chunked(self) -> Self {
        Self { end: End::Chunked, ..self }
    }
}

/// A server for plain HTTP. Returns its address, as `127.0.0.1:port`.
pub(crate) async fn serve(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { converse(stream, answer.as_ref()).await });
        }
    });
    address
}

/// A server for HTTPS with a certificate for 127.0.0.1. Returns its address and its certificate in PEM.
pub(crate) async fn serve_tls(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                // A client that refuses the certificate ends the conversation before it begins.
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, answer.as_ref()).await;
                }
            });
        }
    });
    (address, made.cert.pem())
}

/// A host that takes connections and says nothing.
pub(crate) struct Silent {
    pub(crate) address: String,
    _listener: TcpListener,
}

pub(crate) async fn silent() -> Silent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Silent { address: listener.local_addr().unwrap().to_string(), _listener: listener }
}

/// An address on which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(dyn Fn(Request) -> Reply + Send + Sync),
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let request = Request { method, path, headers };
    let is_head = request.method == "HEAD";
    let Reply { status, headers, body, end } = answer(request);
    let length = match end {
        End::Chunked => "Transfer-Encoding: chunked".to_owned(),
        _ => format!("Content-Length: {}", body.len()),
    };
    let head = format!("HTTP/1.1 {status} Answer\r\n{length}\r\nConnection: close\r\n{headers}\r\n");
    // The other side may be gone whenever it has seen enough.
    let _ = stream.write_all(head.as_bytes()).await;
    if is_head {
        return;
    }
    let _ = match end {
        End::Whole => stream.write_all(&body).await,
        End::Cut(bytes) => stream.write_all(&body[..bytes]).await,
        End::Stall(bytes) => {
            let _ = stream.write_all(&body[..bytes]).await;
            let _ = stream.flush().await;
            return std::future::pending().await;
        }
        End::Trickle => loop {
            if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        },
        End::Chunked => {
            let _ = stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await;
            let _ = stream.write_all(&body).await;
            stream.write_all(b"\r\n0\r\n\r\n").await
        }
    };
    let _ = stream.shutdown().await;
}

/// A catalogue of one component, and the content it pins.
pub(crate) struct Sample {
    pub(crate) catalogue: Catalogue,
    /// Every blob and document, by digest.
    pub(crate) content: BTreeMap<Digest, Vec<u8>>,
    /// Digests of the documents, children before what names them.
    pub(crate) documents: Vec<Digest>,
    /// Digest of the layer of amd64.
    pub(crate) layer: Digest,
    /// Digest of the program of amd64.
    pub(crate) program: Digest,
    /// Digest of the chart.
    pub(crate) chart: Digest,
}

/// The one architecture that tests prepare.
pub(crate) const ARCHITECTURE: Architecture = Architecture::Amd64;

/// `host` is where its image is upstream.
pub(crate) fn sample(host: &str) -> Sample {
    let mut content = BTreeMap::new();
    let mut put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        content.insert(digest, bytes.to_vec());
        digest
    };
    let program = put(b"program of amd64");
    let other = put(b"program of arm64");
    let chart = put(b"chart");
    let layer = put(b"layer of amd64");
    let mut documents = Vec::new();
    let mut entries = Vec::new();
    for (architecture, layer, size) in [("arm64", put(b"layer of arm64"), 14), ("amd64", layer, 14)] {
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        let (config, config_size) = (put(config.as_bytes()), config.len());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config}","size":{config_size}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{layer}","size":{size}}}]}}"#
        );
        let digest = put(manifest.as_bytes());
        documents.push(digest);
        entries.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
            manifest.len()
        ));
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        entries.join(",")
    );
    let index = put(index.as_bytes());
    documents.push(index);
    let recipe = format!(
        "name: sample\nlicense: MIT\nrole: node\nmodule: {{path: example.org/sample}}\n\
         downloads: {{binary: {{url: \"https://{host}/{{version}}/{{arch}}/sample\"}}}}\n\
         binaries: {{sample: {{package: example.org/sample, download: binary}}}}\n\
         files: [{{binary: sample, path: /usr/local/bin/sample, mode: \"0755\", nodes: all}}]\n\
         tools: {{sample-chart: {{chart: chart, download: binary, member: chart}}}}\n\
         images: {{sample: {{reference: \"{host}/team/sample:v{{version}}\", nodes: all, user: \"0:0\"}}}}\n"
    );
    let lock = format!(
        "sample:\n  version: 1.2.3\n  downloads: {{binary: {{amd64: {program}, arm64: {other}}}}}\n  \
         images: {{sample: {index}}}\n  charts: {{sample-chart: {chart}}}\n"
    );
    let files = [
        ("lock.yaml", lock),
        ("sample/component.yaml", recipe),
        ("sample/go.mod", "module a\nrequire example.org/sample v1.2.3\n".to_owned()),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    let catalogue = Catalogue::from_files(files.into()).unwrap();
    Sample { catalogue, content, documents, layer, program, chart }
}

/// Answers as a registry that has this content in every repository.
pub(crate) fn registry(content: &BTreeMap<Digest, Vec<u8>>, request: &Request) -> Reply {
    let digest = request.path.rsplit('/').next().and_then(|digest| digest.parse().ok());
    match digest.and_then(|digest: Digest| content.get(&digest)) {
        Some(bytes) => Reply::part(request, bytes),
        None => Reply::status(404),
    }
}

/// Every file below a folder, hidden ones too.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
