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
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::tls::Tls;

/// How many there are, as in a control plane of three.
const SERVERS: usize = 3;

/// The servers; they end when this is dropped.
pub struct Servers {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    silent: Vec<watch::Sender<bool>>,
    _serving: JoinSet<()>,
}

impl Servers {
    /// Starts them.
    pub async fn start(tls: &Tls) -> Self {
        let (mut addresses, mut silent, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
        for number in 0..SERVERS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let sender = watch::Sender::new(false);
            serving.spawn(serve(
                number,
                listener,
                TlsAcceptor::from(Arc::clone(&tls.server)),
                sender.subscribe(),
            ));
            silent.push(sender);
        }
        Self { addresses, silent, _serving: serving }
    }

    /// From now on this one is as if its machine hung: connections stay, the kernel accepts new ones, and nobody answers.
    pub fn fall_silent(&self, number: usize) {
        self.silent[number].send_replace(true);
    }
}

async fn serve(number: usize, listener: TcpListener, acceptor: TlsAcceptor, silent: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let mut is_silent = silent.clone();
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = is_silent.wait_for(|silent| *silent) => pending().await,
        };
        let (stream, _) = accepted.unwrap();
        connections.spawn(answer(number, stream, acceptor.clone(), silent.clone()));
    }
}

/// Answers what comes over one connection. Whoever breaks off is not the server's business.
async fn answer(number: usize, stream: TcpStream, acceptor: TlsAcceptor, mut silent: watch::Receiver<bool>) {
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
        _ = silent.wait_for(|silent| *silent) => pending().await,
    }
}
