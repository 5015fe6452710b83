//! Connections with one request each, many at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::tls::Tls;

/// What takes longer than this is lost.
const LOST: Duration = Duration::from_secs(10);
/// How long a program may take until it forwards.
const START: Duration = Duration::from_secs(20);

/// Whoever connects to a balancer.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    balancer: SocketAddr,
}

impl Client {
    /// Connects to this one.
    pub fn new(tls: &Tls, balancer: SocketAddr) -> Self {
        Self { connector: TlsConnector::from(Arc::clone(&tls.client)), balancer }
    }

    /// Waits until a request is answered.
    pub async fn wait_until_answered(&self) {
        let answered = async {
            while self.ask_once().await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(START, answered).await.unwrap_or_else(|_| panic!("nobody answers on {}", self.balancer));
    }

    /// Connects, and asks nothing yet.
    pub async fn connect(&self) -> Result<Connection, String> {
        let stream =
            TcpStream::connect(self.balancer).await.map_err(|error| format!("connecting: {error}"))?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::from(self.balancer.ip());
        let stream =
            self.connector.connect(name, stream).await.map_err(|error| format!("the handshake: {error}"))?;
        let (requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| format!("HTTP/2: {error}"))?;
        let running = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        Ok(Connection { requests, running })
    }

    /// Makes this many short connections, so many at a time. Each answers with how long it took, or why it failed.
    pub async fn load(&self, connections: usize, at_once: usize) -> Vec<Result<Duration, String>> {
        let mut loads = JoinSet::new();
        for _ in 0..at_once {
            let client = self.clone();
            loads.spawn(async move {
                let mut answers = Vec::new();
                for _ in 0..connections / at_once {
                    answers.push(client.ask_once().await);
                }
                answers
            });
        }
        loads.join_all().await.into_iter().flatten().collect()
    }

    async fn ask_once(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let asked = async { self.connect().await?.ask().await };
        timeout(LOST, asked).await.map_err(|_| format!("no answer within {} s", LOST.as_secs()))??;
        Ok(began.elapsed())
    }
}

/// One connection.
pub struct Connection {
    requests: SendRequest<String>,
    running: AbortOnDropHandle<()>,
}

impl Connection {
    /// Asks which server this is.
    pub async fn ask(&mut self) -> Result<usize, String> {
        let request = Request::get("https://127.0.0.1/version").body(String::new()).unwrap();
        let answer =
            self.requests.send_request(request).await.map_err(|error| format!("the request: {error}"))?;
        let body =
            answer.into_body().collect().await.map_err(|error| format!("the answer: {error}"))?.to_bytes();
        str::from_utf8(&body)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| "an odd answer".to_owned())
    }

    /// Waits until somebody else ends it.
    pub async fn ended(self) {
        let _ = self.running.await;
    }
}
