//! Servers that answer every request with their number, until they fall silent.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::tls::Tls;

/// How many there are, as in a control plane of three.
const SERVERS: usize = 3;

/// The servers; they end when this is dropped.
pub struct Servers {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    silent: Vec<CancellationToken>,
    _serving: JoinSet<()>,
}

impl Servers {
    /// Starts them.
    pub async fn start(tls: &Tls) -> Self {
        let (mut addresses, mut silent, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
        for number in 0..SERVERS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let is_silent = CancellationToken::new();
            serving.spawn(serve(
                number,
                listener,
                TlsAcceptor::from(Arc::clone(&tls.server)),
                is_silent.clone(),
            ));
            silent.push(is_silent);
        }
        Self { addresses, silent, _serving: serving }
    }

    /// From now on this one is as if its machine hung: connections stay, the kernel accepts new ones, and nobody answers.
    pub fn fall_silent(&self, number: usize) {
        self.silent[number].cancel();
    }
}

async fn serve(number: usize, listener: TcpListener, acceptor: TlsAcceptor, is_silent: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = is_silent.cancelled() => pending().await,
        };
        let (stream, _) = accepted.unwrap();
        connections.spawn(answer(number, stream, acceptor.clone(), is_silent.clone()));
    }
}

/// Answers what comes over one connection. Whoever breaks off is not the server's business.
async fn answer(number: usize, stream: TcpStream, acceptor: TlsAcceptor, is_silent: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(
            |_: Request<Incoming>| async move { Ok::<_, Infallible>(Response::new(number.to_string())) },
        );
    let answering = async {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let _ =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    };
    tokio::pin!(answering);
    tokio::select! {
        () = &mut answering => {}
        () = is_silent.cancelled() => pending().await,
    }
}
