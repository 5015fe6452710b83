//! One command on a connection, as a byte stream.
//!
//! The library hands the messages of all channels to bounded queues from one loop, so a channel that nobody reads
//! stops every other one. Each command therefore has a task that always reads, and what its user has not taken yet
//! waits here, up to a bound.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use russh::Pty;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::bytes::{Buf, Bytes};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Bytes of output that may wait for a slow reader before the command is cut off.
const BACKLOG_MAXIMUM: usize = 256 << 20;
/// Bytes of standard error that are kept, the last ones.
const STDERR_KEPT: usize = 8 << 10;

/// A terminal that passes every byte on as it is.
const RAW: &[(Pty, u32)] = &[
    (Pty::ICRNL, 0),
    (Pty::INLCR, 0),
    (Pty::IGNCR, 0),
    (Pty::IXON, 0),
    (Pty::IXOFF, 0),
    (Pty::ISIG, 0),
    (Pty::ICANON, 0),
    (Pty::IEXTEN, 0),
    (Pty::ECHO, 0),
    (Pty::OPOST, 0),
];

/// A running command, or a TCP connection that the other end makes: its standard output is read, its standard input written. Shutting the writer down ends the input.
///
/// Dropping it closes the channel.
pub struct ExecStream {
    output: UnboundedReceiver<Bytes>,
    current: Bytes,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The library lets a writer wait for room that a command which has ended never makes.
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: Arc<Shared>,
    pump: Option<JoinHandle<Exit>>,
    channel: Arc<ChannelWriteHalf<Msg>>,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit status; `None` where the server sent none.
    pub status: Option<u32>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Bytes that were read from it.
    pub bytes_read: u64,
    /// The end of its standard error.
    pub stderr: String,
    /// Whether the output was cut off because it was not read.
    pub cut_off: bool,
}

impl Exit {
    /// Whether it ended well: status 0 and nothing lost.
    pub fn is_success(&self) -> bool {
        self.status == Some(0) && !self.cut_off
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cut_off, self.status, &self.signal) {
            (true, ..) => formatter.write_str("its output cut off"),
            (_, Some(status), _) => write!(formatter, "exit status {status}"),
            (_, None, Some(signal)) => write!(formatter, "signal {signal}"),
            (_, None, None) => formatter.write_str("no exit status (connection lost?)"),
        }
    }
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    read: AtomicU64,
    stderr: Mutex<Vec<u8>>,
    stderr_grew: Notify,
}

impl Shared {
    fn stderr(&self) -> String {
        let bytes = self.stderr.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl ExecStream {
    /// Starts a command on a fresh channel, on a terminal where one is wanted; `None` where the server refuses.
    pub(super) async fn start(
        channel: Channel<Msg>,
        command: &str,
        terminal: bool,
    ) -> Result<Option<Self>, russh::Error> {
        let (mut reader, writer) = channel.split();
        if terminal {
            writer.request_pty(true, "dumb", 80, 24, 0, 0, RAW).await?;
            if !granted(&mut reader).await? {
                return Ok(None);
            }
        }
        writer.exec(true, command).await?;
        Ok(granted(&mut reader).await?.then(|| Self::pumped(reader, writer)))
    }

    /// A channel on which bytes go back and forth from the start.
    pub(super) fn tunnel(channel: Channel<Msg>) -> Self {
        let (reader, writer) = channel.split();
        Self::pumped(reader, writer)
    }

    fn pumped(reader: ChannelReadHalf, writer: ChannelWriteHalf<Msg>) -> Self {
        let (sender, output) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        let channel = Arc::new(writer);
        let ended = CancellationToken::new();
        let pump = pump(reader, sender, Arc::clone(&shared), Arc::clone(&channel));
        let guard = ended.clone().drop_guard();
        let pump = tokio::spawn(async move {
            let _guard = guard;
            pump.await
        });
        let input = Box::pin(channel.make_writer());
        let ended = Box::pin(ended.cancelled_owned());
        Self { output, current: Bytes::new(), input, ended, shared, pump: Some(pump), channel }
    }

    /// What it printed to standard error so far (the end of it).
    pub fn stderr(&self) -> String {
        self.shared.stderr()
    }

    /// A handle that tells the standard error also after the stream went elsewhere.
    pub fn stderr_reader(&self) -> StderrReader {
        StderrReader(Arc::clone(&self.shared))
    }

    /// Waits for the end; unread output is thrown away.
    pub async fn finish(mut self) -> Exit {
        self.output.close();
        match self.pump.take() {
            Some(pump) => pump.await.unwrap_or_default(),
            None => Exit::default(),
        }
    }
}

async fn granted(reader: &mut ChannelReadHalf) -> Result<bool, russh::Error> {
    loop {
        match reader.wait().await {
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure | ChannelMsg::Close) => return Ok(false),
            Some(_) => {}
            None => return Err(russh::Error::Disconnect),
        }
    }
}

/// Tells the standard error of a command.
#[derive(Clone)]
pub struct StderrReader(Arc<Shared>);

impl StderrReader {
    /// The end of it, trimmed.
    pub fn text(&self) -> String {
        self.0.stderr()
    }

    /// Waits until more of it came.
    pub async fn grew(&self) {
        self.0.stderr_grew.notified().await;
    }
}

async fn pump(
    mut reader: ChannelReadHalf,
    sender: UnboundedSender<Bytes>,
    shared: Arc<Shared>,
    channel: Arc<ChannelWriteHalf<Msg>>,
) -> Exit {
    let mut exit = Exit::default();
    let mut sender = Some(sender);
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                shared.read.fetch_add(data.len() as u64, Ordering::Relaxed);
                let waiting = shared.waiting.fetch_add(data.len(), Ordering::Relaxed) + data.len();
                if waiting > BACKLOG_MAXIMUM {
                    exit.cut_off = true;
                    sender = None;
                    let _ = channel.close().await;
                } else if let Some(sender) = &sender {
                    let _ = sender.send(data);
                }
            }
            ChannelMsg::ExtendedData { data, .. } => {
                let mut stderr = shared.stderr.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                stderr.extend_from_slice(&data);
                let excess = stderr.len().saturating_sub(STDERR_KEPT);
                stderr.drain(..excess);
                drop(stderr);
                shared.stderr_grew.notify_one();
            }
            ChannelMsg::ExitStatus { exit_status } => exit.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => exit.signal = Some(format!("{signal_name:?}")),
            ChannelMsg::Eof => sender = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    exit.bytes_read = shared.read.load(Ordering::Relaxed);
    exit.stderr = shared.stderr();
    exit
}

impl AsyncRead for ExecStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.output.poll_recv(context)) {
                Some(bytes) => {
                    self.shared.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    self.current = bytes;
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = self.input.as_mut().poll_write(context, bytes) {
            return Poll::Ready(written);
        }
        ready!(self.ended.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(context)
    }
}

impl Drop for ExecStream {
    fn drop(&mut self) {
        let channel = Arc::clone(&self.channel);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = channel.close().await;
            });
        }
    }
}

impl fmt::Debug for ExecStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ExecStream").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}
