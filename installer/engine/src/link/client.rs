//! The operator's end of the link.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kubezt_model::action::{Action, Outcome};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::Endpoint;
use kubezt_model::{Digest, NodeName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::assembly::Assembly;
use super::frame::{self, FrameKind};
use super::message::{
    ApplyEvent, MissingBlob, NodeHello, OperatorHello, PING_SECONDS, PREAMBLE, PROTOCOL, RelayOffer, Reply,
    Request, SILENCE_SECONDS,
};
use super::pace::Pace;
use super::writer::FrameWriter;
use super::{LinkError, assembly};

/// How long the first frame may take: starting the program and reading its own digest.
const HELLO_SECONDS: u64 = 30;
/// How long facts may take: digests of a few hundred megabytes and a slow disk.
const GATHER_SECONDS: u64 = 180;
/// How long opening listeners may take.
const LISTEN_SECONDS: u64 = 15;
/// How long offering blobs may take: an operator who is at work on the node is waited for.
const RELAY_SECONDS: u64 = CLAIM_SECONDS;
/// How long the list of missing blobs may take.
const MISSING_SECONDS: u64 = 60;
/// How long claiming a node may take: an operator who is at work on it is waited for.
const CLAIM_SECONDS: u64 = 45;
/// How long a few lines of a journal may take.
const RECORD_SECONDS: u64 = 15;
/// How long applying may be silent; the node reports every few seconds while it waits.
const APPLY_SILENCE_SECONDS: u64 = 60;
/// What lines begin with that are meant for kubezt.
pub(super) const MARK: &str = "KUBEZT-";
/// Bytes a login shell may print before the node side speaks.
pub(super) const NOISE_MAXIMUM: usize = 64 << 10;

/// What a link cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStatistics {
    /// Bytes sent to the node, before SSH's own additions.
    pub bytes_sent: u64,
    /// Bytes received from it.
    pub bytes_received: u64,
    /// Questions that were waited for, connecting included.
    pub round_trips: u64,
}

/// Tells the end of the node side's standard error, where there is one.
pub type StderrText = Box<dyn Fn() -> String + Send + Sync>;

/// The operator's end of a link to one node. Requests run side by side.
pub struct NodeLink {
    node: String,
    hello: NodeHello,
    writer: FrameWriter,
    shared: Arc<Shared>,
    pace: Arc<Mutex<Pace>>,
    /// Set once the node hands blobs on.
    relaying: OnceCell<()>,
    next: AtomicU32,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    exchanges: Mutex<HashMap<u32, UnboundedSender<Reply>>>,
    ended: Mutex<Option<String>>,
    /// Who took the node over.
    taken_over: OnceLock<String>,
    received: AtomicU64,
    round_trips: AtomicU64,
    stderr: Option<StderrText>,
}

impl Shared {
    fn exchanges(&self) -> MutexGuard<'_, HashMap<u32, UnboundedSender<Reply>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn end(&self, why: String) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        // Whoever waits for an answer sees its channel close.
        self.exchanges().clear();
    }

    fn why_ended(&self) -> String {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = ended.unwrap_or_else(|| "the stream is closed".to_owned());
        match self.stderr.as_ref().map(|stderr| stderr()).filter(|text| !text.is_empty()) {
            Some(stderr) => format!("{why}; the node said: {stderr}"),
            None => why,
        }
    }
}

/// One question and its answers.
pub(super) struct Exchange<'a> {
    link: &'a NodeLink,
    pub(super) id: u32,
    doing: &'static str,
    replies: UnboundedReceiver<Reply>,
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.link.shared.exchanges().remove(&self.id);
    }
}

impl NodeLink {
    /// Waits for the node side at the other end of a stream and greets it. `operator` is told to whoever finds the
    /// node locked.
    ///
    /// # Errors
    /// [`LinkError::Start`], [`LinkError::Closed`], [`LinkError::Timeout`], [`LinkError::Protocol`].
    pub async fn connect<S>(node: &str, mut stream: S, operator: &str) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let line = timeout(Duration::from_secs(HELLO_SECONDS), marked_line(&mut stream)).await;
        match line {
            Ok(Ok(line)) if line == PREAMBLE => Self::greet(node, stream, operator, None).await,
            Ok(Ok(other)) => {
                Err(LinkError::Start { node: node.to_owned(), why: format!("it says `{other}`") })
            }
            Ok(Err(why)) => Err(LinkError::Start { node: node.to_owned(), why }),
            Err(_) => Err(late(node, "starting the node side", HELLO_SECONDS)),
        }
    }

    /// Greets a node side whose preamble was read.
    pub(super) async fn greet<S>(
        node: &str,
        stream: S,
        operator: &str,
        stderr: Option<StderrText>,
    ) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let doing = "greeting the node side";
        let wrap = |source| LinkError::Message { node: node.to_owned(), doing: doing.to_owned(), source };
        let ping = assembly::frames(0, &Request::Ping).map_err(wrap)?.concat();
        let (reader, writer) = tokio::io::split(stream);
        let (writer, writing) = FrameWriter::start(writer, Some((Duration::from_secs(PING_SECONDS), ping)));
        let shared = Arc::new(Shared {
            exchanges: Mutex::default(),
            ended: Mutex::default(),
            taken_over: OnceLock::new(),
            received: AtomicU64::new(0),
            round_trips: AtomicU64::new(1),
            stderr,
        });
        let (said_hello, hello) = oneshot::channel();
        // Without answers there is nothing to write for. A writer that waits for room in a connection that is lost would wait for
        // ever, and whoever waits for it.
        let (stop_writing, ended) = (writing.abort_handle(), Arc::clone(&shared));
        let reading = tokio::spawn(async move {
            read(reader, ended, said_hello).await;
            stop_writing.abort();
        });
        let tasks = [reading, writing];
        let hello_out = Request::Hello(OperatorHello { protocol: PROTOCOL, operator: operator.to_owned() });
        let _ = writer.message(0, &hello_out).await.map_err(wrap)?;
        let hello = match timeout(Duration::from_secs(HELLO_SECONDS), hello).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(_)) => return Err(closed(node, doing, &shared)),
            Err(_) => return Err(late(node, doing, HELLO_SECONDS)),
        };
        if hello.protocol != PROTOCOL {
            return Err(LinkError::Protocol {
                node: node.to_owned(),
                theirs: hello.protocol,
                ours: PROTOCOL,
            });
        }
        let (pace, relaying, next) = (Arc::default(), OnceCell::new(), AtomicU32::new(1));
        Ok(Self { node: node.to_owned(), hello, writer, shared, pace, relaying, next, tasks })
    }

    /// Name of the node, as messages call it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Who answered.
    pub fn hello(&self) -> &NodeHello {
        &self.hello
    }

    /// How fast blobs go.
    pub(super) fn pace(&self) -> Arc<Mutex<Pace>> {
        Arc::clone(&self.pace)
    }

    /// What the link cost so far.
    pub fn statistics(&self) -> LinkStatistics {
        LinkStatistics {
            bytes_sent: self.writer.bytes_sent(),
            bytes_received: self.shared.received.load(Ordering::Relaxed),
            round_trips: self.shared.round_trips.load(Ordering::Relaxed),
        }
    }

    /// Looks at things on the node, all in one round trip; answers in the order asked.
    ///
    /// # Errors
    /// [`LinkError`] where the link fails; a thing that cannot be read is [`Reading::Failed`].
    pub async fn gather(&self, reads: Vec<Read>) -> Result<Vec<(Read, Reading)>, LinkError> {
        match self.ask(&Request::Gather(reads), GATHER_SECONDS).await? {
            (Reply::Gathered(readings), _) => Ok(readings),
            (_, doing) => Err(self.unexpected(doing)),
        }
    }

    /// Which of these blobs the node does not have.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn missing(&self, digests: Vec<Digest>) -> Result<Vec<MissingBlob>, LinkError> {
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        match self.ask(&Request::Missing(digests), MISSING_SECONDS).await? {
            (Reply::Missing(missing), _) => Ok(missing),
            (_, doing) => Err(self.unexpected(doing)),
        }
    }

    /// Lets nobody else change the node until this link ends. Who is at work on it is waited for, a few seconds; or, where it is
    /// taken over, has to end.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::is_locked`] where another operator keeps it.
    pub async fn claim(&self, take_over: bool) -> Result<(), LinkError> {
        match self.ask(&Request::Claim { take_over }, CLAIM_SECONDS).await? {
            (Reply::Claimed, _) => Ok(()),
            (_, doing) => Err(self.unexpected(doing)),
        }
    }

    /// Keeps lines of the journal of a run on the node.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn record(&self, run: &str, lines: String) -> Result<(), LinkError> {
        match self.ask(&Request::Record { run: run.to_owned(), lines }, RECORD_SECONDS).await? {
            (Reply::Recorded, _) => Ok(()),
            (_, doing) => Err(self.unexpected(doing)),
        }
    }

    /// Listens on the node, on these endpoints and on nothing else, for some seconds at most; none at all ends it. Answers with
    /// where it could not, and why.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn listen(
        &self,
        endpoints: Vec<Endpoint>,
        name: NodeName,
    ) -> Result<Vec<(Endpoint, String)>, LinkError> {
        match self.ask(&Request::Listen { endpoints, name }, LISTEN_SECONDS).await? {
            (Reply::Listening(refused), _) => Ok(refused),
            (_, doing) => Err(self.unexpected(doing)),
        }
    }

    /// Has the node hand blobs to other nodes until this link ends. Where it does already, nothing is asked.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Refused`] where it cannot listen there.
    pub async fn relay(&self, offer: impl FnOnce() -> RelayOffer) -> Result<(), LinkError> {
        let ask = || async move {
            match self.ask(&Request::Relay(offer()), RELAY_SECONDS).await? {
                (Reply::Relaying, _) => Ok(()),
                (_, doing) => Err(self.unexpected(doing)),
            }
        };
        self.relaying.get_or_try_init(ask).await.copied()
    }

    /// Does things on the node in order, and stops at the first that fails. Answers with one outcome for each action
    /// that ended, the failed one last.
    ///
    /// # Errors
    /// [`LinkError`] where the link fails or the node is locked by another operator.
    pub async fn apply(
        &self,
        actions: Vec<Action>,
        mut on_event: impl FnMut(&ApplyEvent),
    ) -> Result<Vec<Outcome>, LinkError> {
        let mut exchange = self.open(&Request::Apply(actions)).await?;
        let mut outcomes = Vec::new();
        loop {
            match exchange.reply(APPLY_SILENCE_SECONDS).await? {
                Reply::Event(event) => {
                    on_event(&event);
                    if let ApplyEvent::Done { outcome, .. } = event {
                        outcomes.push(outcome);
                    }
                }
                Reply::Applied => return Ok(outcomes),
                _ => return Err(self.unexpected(exchange.doing)),
            }
        }
    }

    /// Tells the node side that nothing more will be asked, and waits until it has ended.
    pub async fn shutdown(mut self) {
        if let Ok(Ok(())) = self.writer.message(0, &Request::Shutdown).await {
            let _ = timeout(Duration::from_secs(5), &mut self.tasks[0]).await;
        }
    }

    pub(super) fn writer(&self) -> &FrameWriter {
        &self.writer
    }

    /// Sends a request; its answers come on the exchange.
    pub(super) async fn open(&self, request: &Request) -> Result<Exchange<'_>, LinkError> {
        let doing = request.name();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = unbounded_channel();
        self.shared.exchanges().insert(id, sender);
        let exchange = Exchange { link: self, id, doing, replies };
        self.shared.round_trips.fetch_add(1, Ordering::Relaxed);
        let sent = self.writer.message(id, request).await.map_err(|source| LinkError::Message {
            node: self.node.clone(),
            doing: doing.to_owned(),
            source,
        })?;
        // The reader clears the exchanges when the stream ends; one that was opened after that would wait for ever.
        if sent.is_err() || self.shared.has_ended() {
            return Err(closed(&self.node, doing, &self.shared));
        }
        Ok(exchange)
    }

    async fn ask(&self, request: &Request, seconds: u64) -> Result<(Reply, &'static str), LinkError> {
        let mut exchange = self.open(request).await?;
        Ok((exchange.reply(seconds).await?, exchange.doing))
    }

    fn unexpected(&self, doing: &str) -> LinkError {
        LinkError::Unexpected { node: self.node.clone(), doing: doing.to_owned() }
    }
}

impl Exchange<'_> {
    /// The next answer; a refusal is an error.
    pub(super) async fn reply(&mut self, seconds: u64) -> Result<Reply, LinkError> {
        let (node, doing) = (&self.link.node, self.doing);
        match timeout(Duration::from_secs(seconds), self.replies.recv()).await {
            Ok(Some(Reply::Failed(why))) => {
                Err(LinkError::Refused { node: node.clone(), doing: doing.to_owned(), why })
            }
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(closed(node, doing, &self.link.shared)),
            Err(_) => Err(late(node, doing, seconds)),
        }
    }

    /// The error for a stream that takes no more; where the node said why, that.
    pub(super) async fn cut_off(&mut self) -> LinkError {
        match self.reply(1).await {
            Err(refused @ LinkError::Refused { .. }) => refused,
            _ => closed(&self.link.node, self.doing, &self.link.shared),
        }
    }

    pub(super) fn unexpected(&self) -> LinkError {
        self.link.unexpected(self.doing)
    }
}

impl Drop for NodeLink {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for NodeLink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NodeLink")
            .field("node", &self.node)
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

/// Routes what arrives to whoever waits for it.
async fn read<R: AsyncRead + Unpin>(
    mut reader: R,
    shared: Arc<Shared>,
    said_hello: oneshot::Sender<NodeHello>,
) {
    let mut said_hello = Some(said_hello);
    let mut assembly = Assembly::default();
    let why = loop {
        let frame = match timeout(Duration::from_secs(SILENCE_SECONDS), frame::read(&mut reader)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => break "the node side ended".to_owned(),
            Ok(Err(error)) => break error_chain(&error),
            Err(_) => break format!("nothing came for {SILENCE_SECONDS} s"),
        };
        shared.received.fetch_add(frame.payload.len() as u64 + 9, Ordering::Relaxed);
        let exchange = frame.exchange;
        let reply = match frame.kind {
            FrameKind::Chunk => break "a chunk arrived, which only the operator sends".to_owned(),
            FrameKind::Part => match assembly.part(exchange, frame.payload) {
                Ok(()) => continue,
                Err(error) => break error.to_string(),
            },
            FrameKind::Message => match assembly.finish::<Reply>(exchange, frame.payload) {
                Ok(reply) => reply,
                Err(error) => break error.to_string(),
            },
        };
        match (exchange, reply) {
            (0, Reply::Hello(hello)) => {
                if let Some(said_hello) = said_hello.take() {
                    let _ = said_hello.send(hello);
                }
            }
            (0, Reply::Failed(why)) => break why,
            (0, Reply::TakenOver { by }) => {
                let why = format!("{by} took the node over");
                let _ = shared.taken_over.set(by);
                break why;
            }
            (0, _) => {}
            (exchange, reply) => {
                // An exchange that was given up is no longer in the map, and nobody wants its answers.
                if let Some(sender) = shared.exchanges().get(&exchange) {
                    let _ = sender.send(reply);
                }
            }
        }
    };
    shared.end(why);
}

/// The next line that begins with `KUBEZT-`; everything else is what a login shell prints, and skipped. Reads not one
/// byte beyond it.
pub(super) async fn marked_line<R: AsyncRead + Unpin>(reader: &mut R) -> Result<String, String> {
    let mut line = Vec::new();
    let mut noise = String::new();
    for _ in 0..NOISE_MAXIMUM {
        match reader.read_u8().await {
            Ok(b'\n') => {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                if text.starts_with(MARK) {
                    return Ok(text);
                }
                noise = text;
                line.clear();
            }
            Ok(byte) => line.push(byte),
            Err(_) if noise.is_empty() => return Err("nothing came back".to_owned()),
            Err(_) => return Err(format!("only this came back: {noise}")),
        }
    }
    Err(format!("the login shell printed more than {NOISE_MAXIMUM} bytes"))
}

fn closed(node: &str, doing: &str, shared: &Shared) -> LinkError {
    let node = node.to_owned();
    match shared.taken_over.get() {
        Some(by) => LinkError::TakenOver { node, by: by.clone() },
        None => LinkError::Closed { node, doing: doing.to_owned(), why: shared.why_ended() },
    }
}

pub(super) fn late(node: &str, doing: &str, seconds: u64) -> LinkError {
    LinkError::Timeout { node: node.to_owned(), doing: doing.to_owned(), seconds }
}

/// An error and its causes on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
