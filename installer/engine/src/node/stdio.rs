//! Standard input and output as byte streams.
//!
//! Standard input is read by a thread that the runtime does not wait for: a read that never returns must not keep the
//! program from ending.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::bytes::Bytes;
use tokio_util::io::StreamReader;

/// Bytes that are read at a time.
const BUFFER: usize = 64 << 10;
/// Reads that may wait.
const QUEUE: usize = 8;

/// Standard input.
pub fn input() -> impl AsyncRead + Send + Unpin {
    let (sender, receiver) = channel::<io::Result<Bytes>>(QUEUE);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; BUFFER];
        loop {
            let item = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    StreamReader::new(Box::pin(futures::stream::unfold(receiver, |mut receiver: Receiver<_>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })))
}

/// Standard output.
pub fn output() -> impl AsyncWrite + Send + Unpin {
    tokio::io::stdout()
}
