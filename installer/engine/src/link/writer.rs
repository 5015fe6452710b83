//! The one task that writes to the stream.
//!
//! Frames reach it over a short queue, so a request that is given up half-way never leaves half a frame behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::assembly::{self, MessageError};
use super::frame::{self, FrameKind};

/// Frames that may wait to be written.
const QUEUE: usize = 16;

/// Queues frames.
#[derive(Clone)]
pub struct FrameWriter {
    queue: Sender<Vec<u8>>,
    sent: Arc<AtomicU64>,
}

/// The stream took no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed for writing")]
pub struct WriterClosed;

impl FrameWriter {
    /// Starts the task; with `idle`, these bytes are written whenever nothing else was for that long.
    pub fn start<W>(writer: W, idle: Option<(Duration, Vec<u8>)>) -> (Self, JoinHandle<()>)
    where
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (queue, receiver) = channel(QUEUE);
        let sent = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(run(writer, receiver, Arc::clone(&sent), idle));
        (Self { queue, sent }, task)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// [`MessageError`] in the outer result, [`WriterClosed`] in the inner one.
    pub async fn message<T: Serialize>(
        &self,
        exchange: u32,
        message: &T,
    ) -> Result<Result<(), WriterClosed>, MessageError> {
        for frame in assembly::frames(exchange, message)? {
            if self.queue.send(frame).await.is_err() {
                return Ok(Err(WriterClosed));
            }
        }
        Ok(Ok(()))
    }

    /// Queues a chunk.
    ///
    /// # Errors
    /// [`WriterClosed`].
    pub async fn chunk(&self, exchange: u32, bytes: &[u8]) -> Result<(), WriterClosed> {
        self.queue.send(frame::encode(FrameKind::Chunk, exchange, bytes)).await.map_err(|_| WriterClosed)
    }

    /// Bytes written so far.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

async fn run<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut receiver: Receiver<Vec<u8>>,
    sent: Arc<AtomicU64>,
    idle: Option<(Duration, Vec<u8>)>,
) {
    loop {
        let next = match &idle {
            None => receiver.recv().await,
            Some((after, bytes)) => match tokio::time::timeout(*after, receiver.recv()).await {
                Ok(next) => next,
                Err(_) => Some(bytes.clone()),
            },
        };
        let Some(mut bytes) = next else { break };
        loop {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            match receiver.try_recv() {
                Ok(more) => bytes = more,
                Err(_) => break,
            }
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
