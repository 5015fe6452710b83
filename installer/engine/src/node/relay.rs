//! Handing blobs from node to node, so that each leaves the operator's machine once.
//!
//! One node listens for as long as its link lasts. Another one connects, says which blob it wants and from which byte on, and gets
//! the content and nothing else. Both show the credential of the run (mutual TLS 1.3); that the content is the right one the
//! receiver sees from its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubezt_model::Digest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::AbortOnDropHandle;

use super::NodeError;
use super::blobs::{BlobStore, Receiving};
use crate::link::message::{BlobHeader, RELAY_NAME, RelayCredential, RelayOffer};

/// How long connecting may take: a firewall that drops what comes must not hold anybody up.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the handshake, and then each [`STRIDE`], may take: whoever is slower than that is left for somebody else.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that have to come within [`PATIENCE`].
const STRIDE: u64 = 8 << 20;
/// Bytes that are read and written at a time.
const BLOCK: usize = 1 << 20;
/// Connections at a time; the operator sends a few at most.
const CONNECTIONS_MAXIMUM: usize = 64;

/// What a node hands on. Dropping it ends that.
pub struct Relay {
    held: Arc<Held>,
    _serving: AbortOnDropHandle<()>,
}

/// The blobs that may be handed on, and those that are there. They stay open: an archive that is imported leaves the store, and its
/// space is free again when the link ends, however it does.
struct Held {
    wanted: BTreeSet<Digest>,
    files: Mutex<BTreeMap<Digest, Arc<File>>>,
}

impl Relay {
    /// Begins to listen, and holds what is in the store already.
    ///
    /// # Errors
    /// [`NodeError::Network`].
    pub async fn open(store: &BlobStore, offer: RelayOffer) -> Result<Self, NodeError> {
        let refused = |source| NodeError::Network {
            doing: "hand blobs on at",
            address: offer.listen.to_string(),
            source,
        };
        let acceptor = TlsAcceptor::from(Arc::new(server(&offer.credential).map_err(refused)?));
        let listener = TcpListener::bind(offer.listen).await.map_err(refused)?;
        let held = Arc::new(Held { wanted: offer.blobs, files: Mutex::default() });
        let _serving = AbortOnDropHandle::new(tokio::spawn(serve(listener, acceptor, Arc::clone(&held))));
        let relay = Self { held, _serving };
        relay.held.wanted.iter().for_each(|digest| relay.hold(store, *digest));
        Ok(relay)
    }

    /// Holds a blob that is in the store, where it may be handed on.
    pub fn hold(&self, store: &BlobStore, digest: Digest) {
        if self.held.wanted.contains(&digest)
            && let Ok(file) = store.open(digest)
        {
            self.held.files().insert(digest, Arc::new(file));
        }
    }
}

impl Held {
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, held: Arc<Held>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAXIMUM));
    // Connections end with the listener.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; trying again at once would only burn the processor.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (acceptor, held) = (acceptor.clone(), Arc::clone(&held));
        connections.spawn(async move {
            // Who was cut off asks again, here or elsewhere.
            let _ = hand_on(stream, acceptor, &held).await;
            drop(place);
        });
    }
}

/// Answers one request. What is not held is an answer without content.
async fn hand_on(stream: TcpStream, acceptor: TlsAcceptor, held: &Held) -> io::Result<()> {
    let asked = async {
        let mut stream = acceptor.accept(stream).await?;
        let mut digest = [0; 32];
        stream.read_exact(&mut digest).await?;
        let offset = stream.read_u64().await?;
        Ok::<_, io::Error>((stream, Digest::from_bytes(digest), offset))
    };
    let (mut stream, digest, mut offset) = timeout(PATIENCE, asked).await??;
    let file = held.files().get(&digest).cloned();
    if let Some(file) = file {
        let mut block = vec![0; BLOCK];
        loop {
            let file = Arc::clone(&file);
            let read = move || file.read_at(&mut block, offset).map(|length| (block, length));
            let length;
            (block, length) = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            if length == 0 {
                break;
            }
            offset += length as u64;
            timeout(PATIENCE, stream.write_all(&block[..length])).await??;
        }
    }
    timeout(PATIENCE, stream.shutdown()).await?
}

/// A blob that comes from another node. Dropped half-way, what came stays for the next attempt, as with any other transfer.
pub struct Fetch {
    header: BlobHeader,
    from: SocketAddr,
    stream: TlsStream<TcpStream>,
    receiving: Option<Receiving>,
    there: u64,
}

impl Fetch {
    /// Asks another node for a blob.
    ///
    /// # Errors
    /// As [`BlobStore::receive`]; [`NodeError::Network`] where the other node is not reached, or is not of the run.
    pub async fn begin(
        store: BlobStore,
        header: BlobHeader,
        from: SocketAddr,
        credential: &RelayCredential,
    ) -> Result<Self, NodeError> {
        let failed =
            |source| NodeError::Network { doing: "fetch a blob from", address: from.to_string(), source };
        let late = |limit: Duration| {
            let why = format!("no answer within {} s", limit.as_secs());
            failed(io::Error::new(io::ErrorKind::TimedOut, why))
        };
        let config = Arc::new(client(credential).map_err(failed)?);
        let name = ServerName::try_from(RELAY_NAME).map_err(|error| failed(io::Error::other(error)))?;
        let receiving = blocking(move || store.receive(header)).await?;
        let connecting = timeout(CONNECT, TcpStream::connect(from));
        let stream = connecting.await.map_err(|_| late(CONNECT))?.map_err(failed)?;
        let asking = async {
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            stream.write_all(header.digest.as_bytes()).await?;
            stream.write_u64(header.offset).await?;
            stream.flush().await?;
            Ok::<_, io::Error>(stream)
        };
        let stream = timeout(PATIENCE, asking).await.map_err(|_| late(PATIENCE))?.map_err(failed)?;
        Ok(Self { header, from, stream, receiving: Some(receiving), there: header.offset })
    }

    /// Takes some more of it; answers with the bytes that are there, and with `None` once it was verified and is in the store.
    ///
    /// # Errors
    /// [`NodeError::Transfer`] where not all of it comes, or it comes too slowly; as [`Receiving::write`] and [`Receiving::finish`].
    pub async fn next(&mut self) -> Result<Option<u64>, NodeError> {
        let why =
            format!("less than {} MiB came from {} in {} s", STRIDE >> 20, self.from, PATIENCE.as_secs());
        let late = NodeError::Transfer { digest: self.header.digest, why };
        timeout(PATIENCE, self.stride()).await.unwrap_or(Err(late))
    }

    async fn stride(&mut self) -> Result<Option<u64>, NodeError> {
        let until = self.header.size.min(self.there + STRIDE);
        let gone = || NodeError::Internal("a blob is fetched that is there, or failed, already".to_owned());
        while self.there < until {
            let mut block = vec![0; BLOCK.min(usize::try_from(until - self.there).unwrap_or(BLOCK))];
            self.stream.read_exact(&mut block).await.map_err(|error| self.cut(&error))?;
            self.there += block.len() as u64;
            let mut receiving = self.receiving.take().ok_or_else(gone)?;
            let write = move || receiving.write(&block).map(|()| receiving);
            self.receiving = Some(blocking(write).await?);
        }
        if self.there < self.header.size {
            return Ok(Some(self.there));
        }
        let receiving = self.receiving.take().ok_or_else(gone)?;
        blocking(move || receiving.finish()).await.map(|()| None)
    }

    fn cut(&self, error: &io::Error) -> NodeError {
        let why = format!("{} of {} bytes came from {}: {error}", self.there, self.header.size, self.from);
        NodeError::Transfer { digest: self.header.digest, why }
    }
}

/// Does what waits for a disk where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T, NodeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(NodeError::Internal(error.to_string())))
}

fn server(credential: &RelayCredential) -> io::Result<ServerConfig> {
    let (roots, chain, key) = parts(credential)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let known = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_client_cert_verifier(known)
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    // Everybody shows the credential each time.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(credential: &RelayCredential) -> io::Result<ClientConfig> {
    let (roots, chain, key) = parts(credential)?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(io::Error::other)
}

type Parts = (RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The errors say nothing of the text: a part of it is a key.
fn parts(credential: &RelayCredential) -> io::Result<Parts> {
    let unreadable =
        || io::Error::new(io::ErrorKind::InvalidData, "the credential of the run cannot be read");
    let certificates = |pem: &str| {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unreadable())
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&credential.authority_pem)? {
        roots.add(certificate).map_err(|_| unreadable())?;
    }
    let key =
        PrivateKeyDer::from_pem_slice(credential.key_pem.expose().as_bytes()).map_err(|_| unreadable())?;
    Ok((roots, certificates(&credential.leaf_pem)?, key))
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
