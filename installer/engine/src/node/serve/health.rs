//! Whether an API server is there and ready, asked by somebody it knows.
//!
//! One connection a server stays open. The server's answers to pings tell within four seconds when it hangs or its node is gone;
//! they cost it nothing and leave no audit record. Whether it is ready it is asked less often, because that leaves one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kubezt_model::SecretText;
use kubezt_model::health::ApiServerAnswer;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::servers::{Server, State};
use crate::api::{self, Credential};

/// How often the server is pinged.
const PING: Duration = Duration::from_secs(1);
/// How long its answer may take. A machine that is short of processors takes a second or two, and must not lose its clients for that.
const PONG: Duration = Duration::from_secs(3);
/// How long connecting, and then the handshake, may take: no less than an answer to a ping.
const CONNECT: Duration = PONG;
/// How long the answer to `/readyz` may take; it asks etcd, for two seconds at most.
const READY: Duration = Duration::from_secs(10);
/// How often it is asked.
const READY_EVERY: Duration = Duration::from_secs(10);
/// How long to wait before a server that failed, or that has just started, is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of an answer that are looked at; it lists some dozens of checks.
const ANSWER: usize = 16 << 10;
/// Failed checks of `/readyz` with which a server answers nothing. Others fail while it starts.
const WITHOUT_ETCD: &str = "[-]etcd";
const ENDS: &str = "[-]shutdown";
/// How long a server may be without etcd until that is taken for more than an election, during which every server is. It takes a
/// second or two, and a few more on a machine that is short of processors.
const ELECTION: Duration = Duration::from_secs(6);

/// What the balancer shows and trusts when it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// PEM file with the authority of API servers.
    pub authority: PathBuf,
    /// PEM file with the client certificate and its intermediates.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// How asking ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It answers no more, and nobody said why.
    Silence,
    /// It closed the connection, or refuses connections.
    Closed,
    /// It says that it would not answer.
    NotReady,
    /// It says that it has no etcd. Most requests it has would be kept for minutes, and a client does not ask elsewhere while its
    /// connection lasts.
    WithoutEtcd,
    /// It does not tell: it has just started, does not know who asks, or is not known to who asks.
    Unclear,
}

/// What the server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ready,
    WithoutEtcd,
    Ends,
    Starts,
    Refuses,
}

/// Asks until it is dropped.
pub async fn follow(server: Arc<Server>, health: Health) {
    let mut without_etcd: Option<Instant> = None;
    loop {
        let end = ask(&server, &health).await;
        if end != End::WithoutEtcd {
            without_etcd = None;
        }
        match end {
            End::Silence => server.is_lost(),
            End::Closed => server.is(State::Gone),
            End::NotReady => server.is(State::NotReady),
            End::WithoutEtcd if without_etcd.get_or_insert_with(Instant::now).elapsed() >= ELECTION => {
                server.is(State::NotReady);
                server.end_connections();
            }
            End::WithoutEtcd | End::Unclear => server.is(State::Unknown),
        }
        sleep(AGAIN).await;
    }
}

/// One connection, from its start to its end. The pair is read each time, because it is renewed.
async fn ask(server: &Server, health: &Health) -> End {
    let stream = match open(server.address, health).await {
        Ok(stream) => stream,
        Err((end, _)) => return end,
    };
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .handshake::<_, String>(TokioIo::new(stream));
    let Ok((mut requests, connection)) = handshake.await else { return End::Closed };
    tokio::pin!(connection);
    let readiness = async {
        loop {
            match timeout(READY, ready(&mut requests, server)).await {
                Ok(Some(Answer::Ready)) => server.is(State::Ready),
                Ok(Some(Answer::WithoutEtcd)) => return End::WithoutEtcd,
                Ok(Some(Answer::Ends)) | Err(_) => return End::NotReady,
                Ok(Some(Answer::Starts)) => return End::Unclear,
                Ok(Some(Answer::Refuses)) => {
                    server.is(State::Unknown);
                    sleep(READY_EVERY).await;
                    return End::Unclear;
                }
                // The connection's own end says why.
                Ok(None) => std::future::pending().await,
            }
            sleep(READY_EVERY).await;
        }
    };
    tokio::select! {
        ended = &mut connection => match ended {
            // A ping without an answer.
            Err(error) if error.is_timeout() => End::Silence,
            _ => End::Closed,
        },
        end = readiness => end,
    }
}

/// A connection to a server, or how trying ended and why.
async fn open(address: SocketAddr, health: &Health) -> Result<TlsStream<TcpStream>, (End, String)> {
    let silence = || (End::Silence, format!("nothing within {} s", CONNECT.as_secs()));
    let config =
        tls(health).ok_or_else(|| (End::Unclear, "the balancer's own pair cannot be read".to_owned()))?;
    let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Err(_) => return Err(silence()),
        Ok(Err(error)) => return Err((End::Closed, error.to_string())),
        Ok(Ok(stream)) => stream,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    match timeout(CONNECT, connector.connect(ServerName::from(address.ip()), stream)).await {
        Err(_) => Err(silence()),
        // Its certificate is for its clients to judge.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err((End::Unclear, error.to_string()))
        }
        Ok(Err(error)) => Err((End::Closed, error.to_string())),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// Asks a server once which of its checks fail.
pub async fn checks(address: SocketAddr, health: &Health) -> ApiServerAnswer {
    let stream = match open(address, health).await {
        Ok(stream) => stream,
        Err((_, why)) => return ApiServerAnswer::Silent(why),
    };
    let answered = async {
        let (mut requests, connection) =
            http2::handshake::<_, _, String>(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::get(format!("https://{address}/readyz?verbose")).body(String::new());
        // Nothing in it comes from outside but an address.
        let answer = requests.send_request(request.unwrap_or_default()).await?;
        let status = answer.status();
        let text = Limited::new(answer.into_body(), ANSWER).collect().await;
        Ok::<_, hyper::Error>((status, text.map(|text| text.to_bytes()).unwrap_or_default()))
    };
    match timeout(READY, answered).await {
        Err(_) => ApiServerAnswer::Silent(format!("no answer to /readyz within {} s", READY.as_secs())),
        Ok(Err(error)) => ApiServerAnswer::Silent(api::chain(&error)),
        Ok(Ok((StatusCode::OK, _))) => ApiServerAnswer::Ready,
        Ok(Ok((status, text))) if status.is_server_error() => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let failed = text.lines().filter_map(|line| line.strip_prefix("[-]"));
            let name = |line: &str| line.split_whitespace().next().unwrap_or(line).to_owned();
            ApiServerAnswer::Failing(failed.map(name).collect())
        }
        Ok(Ok((status, _))) => ApiServerAnswer::Refused(status.as_u16()),
    }
}

async fn ready(requests: &mut http2::SendRequest<String>, server: &Server) -> Option<Answer> {
    let request = Request::get(format!("https://{}/readyz", server.address)).body(String::new()).ok()?;
    let answer = requests.send_request(request).await.ok()?;
    match answer.status() {
        StatusCode::OK => return Some(Answer::Ready),
        status if !status.is_server_error() => return Some(Answer::Refuses),
        _ => {}
    }
    let checks = Limited::new(answer.into_body(), ANSWER).collect().await.ok()?.to_bytes();
    let checks = String::from_utf8_lossy(&checks);
    let has = |failed: &str| checks.lines().any(|line| line.starts_with(failed));
    Some(match () {
        () if has(ENDS) => Answer::Ends,
        () if has(WITHOUT_ETCD) => Answer::WithoutEtcd,
        () => Answer::Starts,
    })
}

fn tls(health: &Health) -> Option<rustls::ClientConfig> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).ok();
    let credential =
        Credential { chain_pem: read(&health.certificate)?, key_pem: SecretText::new(read(&health.key)?) };
    api::tls_config(&read(&health.authority)?, Some(&credential)).ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;

    use http::Response;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use jiff::Timestamp;
    use kubezt_pki::{
        AuthorityKind, CertificateChain, LeafSpec, PrivateKeyPem, Usage, generate, issue_intermediate,
        new_root, sign_leaf, spki_of,
    };
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    struct Pki {
        root_pem: String,
        intermediate: CertificateChain,
        key: PrivateKeyPem,
    }

    impl Pki {
        fn new() -> Self {
            let root = new_root("test", Timestamp::now(), 1).unwrap();
            let key = generate().unwrap();
            let public = spki_of(&key).unwrap();
            let kind = AuthorityKind::Kubernetes;
            let intermediate = issue_intermediate(&root, kind, &public, Timestamp::now(), DAY).unwrap();
            Self { root_pem: root.info().to_pem(), intermediate, key }
        }

        /// A chain and its key, as PEM.
        fn leaf(&self, usage: Usage) -> (String, String) {
            let key = generate().unwrap();
            let leaf = LeafSpec {
                authority: AuthorityKind::Kubernetes,
                common_name: "leaf".to_owned(),
                organizations: Vec::new(),
                dns_names: Vec::new(),
                ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                usage,
            };
            let public = spki_of(&key).unwrap();
            let chain =
                sign_leaf(&self.intermediate, &self.key, &leaf, &public, Timestamp::now(), DAY).unwrap();
            (chain.to_pem(), key.expose().to_owned())
        }

        fn health(&self, folder: &Path) -> Health {
            let (chain, key) = self.leaf(Usage::Client);
            let write = |name: &str, text: &str| {
                let path = folder.join(name);
                std::fs::write(&path, text).unwrap();
                path
            };
            Health {
                authority: write("root.crt", &self.root_pem),
                certificate: write("balancer.crt", &chain),
                key: write("balancer.key", &key),
            }
        }

        /// Serves `/readyz` with this status to clients of this authority, on one connection at a time, until `hangs`: then
        /// the connection stays open and nobody reads from it.
        async fn serve(
            &self,
            listener: TcpListener,
            (status, checks): (StatusCode, &'static str),
            mut hangs: watch::Receiver<bool>,
        ) {
            let (chain, key) = self.leaf(Usage::Server);
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.root_pem.as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::clone(&provider),
            );
            let mut config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(clients.build().unwrap())
                .with_single_cert(
                    CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect(),
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Whoever says nothing must not keep the others waiting.
                let accepted = timeout(Duration::from_millis(200), acceptor.accept(stream)).await;
                let Ok(Ok(stream)) = accepted else { continue };
                let answer = service_fn(|request: Request<Incoming>| async move {
                    assert_eq!(request.uri().path(), "/readyz");
                    let mut answer = Response::new(checks.to_owned());
                    *answer.status_mut() = status;
                    Ok::<_, Infallible>(answer)
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), answer);
                tokio::pin!(connection);
                tokio::select! {
                    _ = &mut connection => {}
                    _ = hangs.wait_for(|hangs| *hangs) => std::future::pending().await,
                }
            }
        }
    }

    async fn becomes(server: &Server, wanted: State) {
        let reached = async {
            while server.state() != wanted {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = timeout(Duration::from_secs(20), reached).await;
        assert!(waited.is_ok(), "it is {:?} and never {wanted:?}", server.state());
    }

    #[tokio::test]
    async fn a_server_is_ready_until_it_hangs() {
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(listener.local_addr().unwrap());
        let hangs = watch::Sender::new(false);
        let test = async {
            becomes(&server, State::Ready).await;
            let mut upstream = super::super::servers::connect(&[Arc::clone(&server)]).await.unwrap();
            hangs.send_replace(true);
            becomes(&server, State::Gone).await;
            timeout(Duration::from_secs(1), upstream.parts().1).await.unwrap();
        };
        tokio::select! {
            () = test => {}
            () = pki.serve(listener, (StatusCode::OK, "ok"), hangs.subscribe()) => {}
            () = follow(Arc::clone(&server), pki.health(folder.path())) => {}
        }
    }

    #[tokio::test]
    async fn only_a_server_that_would_not_answer_is_not_used() {
        const FAILS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        let (pki, stranger) = (Pki::new(), Pki::new());
        for (asking, answer, wanted) in [
            (&pki, (FAILS, "[+]ping ok\n[-]etcd failed: reason withheld\n"), State::NotReady),
            (&pki, (FAILS, "[+]ping ok\n[-]shutdown failed: reason withheld\n"), State::NotReady),
            (&pki, (FAILS, "[+]etcd ok\n[-]poststarthook/rbac/bootstrap-roles failed\n"), State::Unknown),
            (&pki, (StatusCode::FORBIDDEN, ""), State::Unknown),
            (&stranger, (StatusCode::OK, "ok"), State::Unknown),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Server::new(listener.local_addr().unwrap());
            server.is(State::Gone);
            let hangs = watch::Sender::new(false);
            tokio::select! {
                () = becomes(&server, wanted) => {}
                () = pki.serve(listener, answer, hangs.subscribe()) => {}
                () = follow(Arc::clone(&server), asking.health(folder.path())) => {}
            }
        }
    }

    /// kubelet asks for its node before it starts the first static pod, and waits: a connection made before the server was first
    /// asked would keep the member of etcd from coming back.
    #[tokio::test]
    async fn connections_to_a_server_that_stays_without_etcd_end() {
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(listener.local_addr().unwrap());
        let hangs = watch::Sender::new(false);
        let answer = (StatusCode::INTERNAL_SERVER_ERROR, "[-]etcd failed: reason withheld\n");
        let test = async {
            let mut upstream = super::super::servers::connect(&[Arc::clone(&server)]).await.unwrap();
            becomes(&server, State::NotReady).await;
            timeout(ELECTION * 4, upstream.parts().1).await.unwrap();
        };
        tokio::select! {
            () = test => {}
            () = pki.serve(listener, answer, hangs.subscribe()) => {}
            () = follow(Arc::clone(&server), pki.health(folder.path())) => {}
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_gone() {
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(listener.local_addr().unwrap());
        drop(listener);
        tokio::select! {
            () = becomes(&server, State::Gone) => {}
            () = follow(Arc::clone(&server), pki.health(folder.path())) => {}
        }
    }
    #[tokio::test]
    async fn somebody_who_looks_once_hears_what_fails() {
        const FAILS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let health = pki.health(folder.path());
        let failing = ApiServerAnswer::Failing(vec!["etcd".to_owned(), "shutdown".to_owned()]);
        for (answer, wanted) in [
            ((StatusCode::OK, "ok"), ApiServerAnswer::Ready),
            ((FAILS, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]shutdown failed\n"), failing),
            ((StatusCode::FORBIDDEN, ""), ApiServerAnswer::Refused(403)),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let hangs = watch::Sender::new(false);
            tokio::select! {
                said = checks(address, &health) => assert_eq!(said, wanted),
                () = pki.serve(listener, answer, hangs.subscribe()) => {}
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(matches!(checks(address, &health).await, ApiServerAnswer::Silent(_)));
    }
}
