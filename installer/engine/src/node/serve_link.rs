//! `kubezt node link`: answers the operator over the link.
//!
//! One task reads and never waits for work to be done: each exchange has a task of its own, and a blob that comes faster
//! than it can be written is held back by the credit its sender has.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kubezt_model::Digest;
use kubezt_model::action::{Action, Outcome};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, OnceCell};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::blobs::BlobStore;
use super::listen::Listeners;
use super::lock::NodeLock;
use super::relay::{Fetch, Relay};
use super::{NodeError, NodeRoot, apply, gather, journal, stdio};
use crate::link::assembly::Assembly;
use crate::link::blob::unpack;
use crate::link::bootstrap::PROGRAM_FOLDER;
use crate::link::client::error_chain;
use crate::link::frame::{self, FrameKind};
use crate::link::message::{
    ApplyEvent, BlobHeader, INITIAL_CREDIT, NodeHello, PREAMBLE, PROTOCOL, RelayCredential, RelayOffer,
    Reply, Request, SILENCE_SECONDS,
};
use crate::link::writer::FrameWriter;

/// Exchanges at a time.
const EXCHANGES_MAXIMUM: usize = 256;
/// Credit is given back in steps of at least this many bytes.
const CREDIT_STEP: u64 = 1 << 20;
/// How long answers may take to leave when the link ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves the link on standard input and output until the operator ends it.
///
/// # Errors
/// [`NodeError::Network`] where the link broke.
pub async fn run() -> Result<(), NodeError> {
    serve_link(stdio::input(), stdio::output(), NodeRoot::host()).await
}

/// Serves the link on a pair of streams. When they end, what was begun and can wait is given up, and file operations that
/// run are finished.
///
/// # Errors
/// [`NodeError::Network`] where the link broke.
pub async fn serve_link<R, W>(mut reader: R, mut writer: W, root: NodeRoot) -> Result<(), NodeError>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let broken =
        |source| NodeError::Network { doing: "use the link to", address: "the operator".to_owned(), source };
    writer.write_all(format!("{PREAMBLE}\n").as_bytes()).await.map_err(broken)?;
    let (frames, writing) = FrameWriter::start(writer, None);
    let node = Arc::new(Node {
        root,
        frames,
        operator: OnceCell::new(),
        lock: OnceCell::new(),
        listeners: Mutex::default(),
        relay: Mutex::default(),
    });
    node.send(0, Reply::Hello(hello())).await;
    let mut exchanges = Exchanges {
        node: Arc::clone(&node),
        blobs: HashMap::new(),
        receiving: JoinSet::new(),
        tasks: JoinSet::new(),
    };
    let result = tokio::select! {
        result = exchanges.read(&mut reader) => result,
        by = node.taken_over() => {
            node.send(0, Reply::TakenOver { by }).await;
            Ok(())
        }
    };
    if let Err(why) = &result {
        node.send(0, Reply::Failed(why.clone())).await;
    }
    exchanges.tasks.shutdown().await;
    drop(node.relay.lock().await.take());
    // What arrived of a blob is kept for the next attempt; without senders its receiver ends by itself.
    exchanges.blobs.clear();
    let kept = async { while exchanges.receiving.join_next().await.is_some() {} };
    let _ = timeout(FAREWELL, kept).await;
    drop(exchanges);
    drop(node);
    let _ = timeout(FAREWELL, writing).await;
    result.map_err(|why| broken(std::io::Error::other(why)))
}

/// What all exchanges share.
struct Node {
    root: NodeRoot,
    frames: FrameWriter,
    operator: OnceCell<String>,
    /// The node's lock, from the first blob or list of actions until the link ends.
    lock: OnceCell<NodeLock>,
    /// What listens for a moment; at most until the link ends.
    listeners: Mutex<Listeners>,
    /// What hands blobs to other nodes; at most until the link ends.
    relay: Mutex<Option<Relay>>,
}

impl Node {
    fn operator(&self) -> &str {
        self.operator.get().map_or("unknown", String::as_str)
    }

    /// Takes the node's lock, where this link does not have it yet.
    async fn locked(&self) -> Result<(), NodeError> {
        self.lock.get_or_try_init(|| NodeLock::take(&self.root, self.operator())).await.map(drop)
    }

    /// Takes it away from whoever has it.
    async fn take_over(&self) -> Result<(), NodeError> {
        self.lock.get_or_try_init(|| NodeLock::take_over(&self.root, self.operator())).await.map(drop)
    }

    /// Waits until another operator takes the node away from this link; answers with who.
    async fn taken_over(&self) -> String {
        loop {
            match self.lock.get() {
                Some(lock) => return lock.asked_for().await,
                None => sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// Hands blobs to other nodes from now on.
    async fn relay(&self, offer: RelayOffer) -> Result<(), NodeError> {
        self.locked().await?;
        let mut relay = self.relay.lock().await;
        if relay.is_none() {
            *relay = Some(Relay::open(&BlobStore::of(&self.root), offer).await?);
        }
        Ok(())
    }

    /// A blob is in the store: whoever hands blobs on has one more.
    async fn stored(&self, digest: Digest) {
        if let Some(relay) = self.relay.lock().await.as_ref() {
            relay.hold(&BlobStore::of(&self.root), digest);
        }
    }

    /// A link that takes no more needs no answer.
    async fn send(&self, exchange: u32, reply: Reply) {
        if let Err(error) = self.frames.message(exchange, &reply).await {
            let _ = self.frames.message(exchange, &Reply::Failed(error.to_string())).await;
        }
    }
}

/// A chunk and the credit it used.
type Chunk = Vec<u8>;

struct BlobInbox {
    sender: UnboundedSender<Chunk>,
    waiting: Arc<AtomicU64>,
}

struct Exchanges {
    node: Arc<Node>,
    blobs: HashMap<u32, BlobInbox>,
    receiving: JoinSet<()>,
    tasks: JoinSet<()>,
}

impl Exchanges {
    /// Reads until the operator ends the link; the reason where it broke.
    async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<(), String> {
        let mut assembly = Assembly::default();
        loop {
            let frame = match timeout(Duration::from_secs(SILENCE_SECONDS), frame::read(reader)).await {
                Ok(Ok(Some(frame))) => frame,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error_chain(&error)),
                Err(_) => return Err(format!("nothing came for {SILENCE_SECONDS} s")),
            };
            while self.tasks.try_join_next().is_some() || self.receiving.try_join_next().is_some() {}
            match frame.kind {
                FrameKind::Chunk => self.chunk(frame.exchange, frame.payload).await,
                FrameKind::Part => {
                    assembly.part(frame.exchange, frame.payload).map_err(|error| error.to_string())?
                }
                FrameKind::Message => {
                    let request =
                        assembly.finish(frame.exchange, frame.payload).map_err(|error| error.to_string())?;
                    if !self.request(frame.exchange, request).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn chunk(&mut self, exchange: u32, payload: Chunk) {
        // Chunks of a blob that was refused are still on their way for a while.
        let Some(inbox) = self.blobs.get(&exchange) else { return };
        let length = payload.len() as u64;
        let waiting = inbox.waiting.fetch_add(length, Ordering::Relaxed) + length;
        if waiting > INITIAL_CREDIT {
            self.blobs.remove(&exchange);
            let why = "more was sent than there was credit for".to_owned();
            self.node.send(exchange, Reply::Failed(why)).await;
        } else if inbox.sender.send(payload).is_err() {
            self.blobs.remove(&exchange);
        }
    }

    /// Answers whether the link goes on.
    async fn request(&mut self, exchange: u32, request: Request) -> Result<bool, String> {
        if self.tasks.len() + self.receiving.len() >= EXCHANGES_MAXIMUM {
            return Err(format!("more than {EXCHANGES_MAXIMUM} things were asked at once"));
        }
        let node = Arc::clone(&self.node);
        match request {
            Request::Hello(hello) if hello.protocol != PROTOCOL => {
                return Err(format!("the operator speaks protocol {}, this node {PROTOCOL}", hello.protocol));
            }
            Request::Hello(hello) => drop(node.operator.set(hello.operator)),
            Request::Ping => node.send(exchange, Reply::Pong).await,
            Request::Shutdown => return Ok(false),
            Request::Gather(reads) => drop(self.tasks.spawn(async move {
                let readings = gather::gather(&node.root, reads).await;
                node.send(exchange, Reply::Gathered(readings)).await;
            })),
            Request::Missing(digests) => {
                let missing = BlobStore::of(&node.root).missing(&digests);
                node.send(exchange, Reply::Missing(missing)).await;
            }
            Request::PutBlob(header) => {
                let (sender, chunks) = unbounded_channel();
                let waiting = Arc::new(AtomicU64::new(0));
                self.blobs.insert(exchange, BlobInbox { sender, waiting: Arc::clone(&waiting) });
                self.blobs.retain(|_, inbox| !inbox.sender.is_closed());
                self.receiving.spawn(async move {
                    let reply = match receive(&node, exchange, header, chunks, &waiting).await {
                        Ok(()) => Reply::Stored,
                        Err(error) => Reply::Failed(error.chain()),
                    };
                    node.send(exchange, reply).await;
                });
            }
            Request::Claim { take_over } => drop(self.tasks.spawn(async move {
                let claimed = if take_over { node.take_over().await } else { node.locked().await };
                let reply = claimed.map_or_else(|error| Reply::Failed(error.chain()), |()| Reply::Claimed);
                node.send(exchange, reply).await;
            })),
            Request::Record { run, lines } => {
                let reply = match journal::append(&node.root, &run, &lines) {
                    Ok(()) => Reply::Recorded,
                    Err(error) => Reply::Failed(error.chain()),
                };
                node.send(exchange, reply).await;
            }
            Request::Apply(actions) => drop(self.tasks.spawn(async move {
                let reply = match apply_all(&node, exchange, actions).await {
                    Ok(()) => Reply::Applied,
                    Err(error) => Reply::Failed(error.chain()),
                };
                node.send(exchange, reply).await;
            })),
            Request::Listen { endpoints, name } => drop(self.tasks.spawn(async move {
                let refused = node.listeners.lock().await.replace(endpoints, name.as_str()).await;
                node.send(exchange, Reply::Listening(refused)).await;
            })),
            Request::Relay(offer) => drop(self.tasks.spawn(async move {
                let relayed = node.relay(offer).await;
                let reply = relayed.map_or_else(|error| Reply::Failed(error.chain()), |()| Reply::Relaying);
                node.send(exchange, reply).await;
            })),
            Request::FetchBlob { header, from, credential } => drop(self.tasks.spawn(async move {
                let fetched = fetch(&node, exchange, header, from, &credential).await;
                let reply = fetched.map_or_else(|error| Reply::Failed(error.chain()), |()| Reply::Stored);
                node.send(exchange, reply).await;
            })),
        }
        Ok(true)
    }
}

/// Receives one blob: unpacks, writes and hashes where that may block, and gives credit back.
async fn receive(
    node: &Arc<Node>,
    exchange: u32,
    header: BlobHeader,
    mut chunks: UnboundedReceiver<Chunk>,
    waiting: &AtomicU64,
) -> Result<(), NodeError> {
    let internal = |error: tokio::task::JoinError| NodeError::Internal(error.to_string());
    // The node side of a connection that was just lost still takes what had come, and may make the same blob visible meanwhile.
    node.locked().await?;
    let store = BlobStore::of(&node.root);
    let mut receiving =
        tokio::task::spawn_blocking(move || store.receive(header)).await.map_err(internal)??;
    let mut owed = 0;
    while !receiving.is_complete() {
        let Some(chunk) = chunks.recv().await else {
            let why = "the transfer was cut off".to_owned();
            return Err(NodeError::Transfer { digest: header.digest, why });
        };
        let length = chunk.len() as u64;
        receiving = tokio::task::spawn_blocking(move || {
            let content = unpack(&chunk)
                .map_err(|error| NodeError::Transfer { digest: header.digest, why: error.to_string() })?;
            receiving.write(&content)?;
            Ok::<_, NodeError>(receiving)
        })
        .await
        .map_err(internal)??;
        waiting.fetch_sub(length, Ordering::Relaxed);
        owed += length;
        if owed >= CREDIT_STEP {
            node.send(exchange, Reply::Credit(owed)).await;
            owed = 0;
        }
    }
    tokio::task::spawn_blocking(move || receiving.finish()).await.map_err(internal)??;
    node.stored(header.digest).await;
    Ok(())
}

/// Fetches one blob from another node, and says how far that is.
async fn fetch(
    node: &Node,
    exchange: u32,
    header: BlobHeader,
    from: SocketAddr,
    credential: &RelayCredential,
) -> Result<(), NodeError> {
    node.locked().await?;
    let mut fetch = Fetch::begin(BlobStore::of(&node.root), header, from, credential).await?;
    while let Some(bytes) = fetch.next().await? {
        node.send(exchange, Reply::Arrived(bytes)).await;
    }
    node.stored(header.digest).await;
    Ok(())
}

/// Applies actions in order, under the node's lock where one of them changes it, and stops at the first that fails. Lists that the
/// operator sends side by side are applied side by side: they are steps of a plan that do not need each other.
async fn apply_all(node: &Arc<Node>, exchange: u32, actions: Vec<Action>) -> Result<(), NodeError> {
    if actions.iter().any(Action::changes_node) {
        node.locked().await?;
    }
    // Progress comes from within synchronous calls; a task of its own sends it in order.
    let (events, mut queue) = unbounded_channel();
    let sender = {
        let node = Arc::clone(node);
        tokio::spawn(async move {
            while let Some(event) = queue.recv().await {
                node.send(exchange, Reply::Event(event)).await;
            }
        })
    };
    for (index, action) in actions.into_iter().enumerate() {
        let _ = events.send(ApplyEvent::Started { index });
        let progress = |message: String| drop(events.send(ApplyEvent::Progress { index, message }));
        let outcome = apply::apply(&node.root, action, &progress).await;
        let failed = matches!(outcome, Outcome::Failed { .. });
        let _ = events.send(ApplyEvent::Done { index, outcome });
        if failed {
            break;
        }
    }
    drop(events);
    sender.await.map_err(|error| NodeError::Internal(error.to_string()))
}

fn hello() -> NodeHello {
    let names = rustix::system::uname();
    NodeHello {
        protocol: PROTOCOL,
        program: own_digest(),
        host_name: names.nodename().to_string_lossy().into_owned(),
    }
}

/// Digest of this program: in the folder that only root writes to, its name says it; elsewhere it is computed.
fn own_digest() -> Digest {
    static OWN: OnceLock<Digest> = OnceLock::new();
    *OWN.get_or_init(find_own_digest)
}

fn find_own_digest() -> Digest {
    let named = std::fs::read_link("/proc/self/exe").ok().and_then(|path| {
        let name = path.strip_prefix(PROGRAM_FOLDER).ok()?.to_str()?.strip_prefix("kubezt-")?.to_owned();
        name.parse().ok()
    });
    named
        .or_else(|| super::files::digest(std::path::Path::new("/proc/self/exe")).ok())
        .unwrap_or_else(|| Digest::from_bytes([0; 32]))
}

#[cfg(test)]
#[path = "serve_link_tests.rs"]
pub(super) mod tests;
