//! Frames: a big-endian length, a kind, the exchange they belong to, and a payload.
//!
//! ```text
//! 0        4      5          9
//! ┌────────┬──────┬──────────┬─────────┐
//! │ length │ kind │ exchange │ payload │      length counts everything after itself
//! └────────┴──────┴──────────┴─────────┘
//! ```

use std::io;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes a frame may have after its length field.
pub const FRAME_MAXIMUM: usize = 1 << 20;
/// Bytes of kind and exchange.
const HEADER: usize = 5;
/// Bytes a payload may have.
pub const PAYLOAD_MAXIMUM: usize = FRAME_MAXIMUM - HEADER;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A JSON message, or the end of one.
    Message,
    /// The beginning or middle of a JSON message that does not fit one frame.
    Part,
    /// Bytes of a blob.
    Chunk,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Part => 2,
            Self::Chunk => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Message),
            2 => Some(Self::Part),
            3 => Some(Self::Chunk),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: FrameKind,
    /// Exchange it belongs to; 0 is the link itself.
    pub exchange: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Why the bytes that arrived are not a frame. The stream cannot be used after any of these.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The length is impossible.
    #[error(
        "a frame of {0} bytes was announced; 5 to {FRAME_MAXIMUM} are possible (is something else writing to the channel?)"
    )]
    Length(u32),
    /// The kind is unknown.
    #[error("a frame of unknown kind {0} arrived; do both ends run the same version of kubezt?")]
    Kind(u8),
    /// The stream ended within a frame.
    #[error("the stream ended in the middle of a frame")]
    Cut,
    /// Reading failed.
    #[error("the stream could not be read")]
    Read(#[source] io::Error),
}

/// The bytes of a frame. The payload has at most [`PAYLOAD_MAXIMUM`] bytes; callers split what is longer.
pub fn encode(kind: FrameKind, exchange: u32, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= PAYLOAD_MAXIMUM);
    let length = u32::try_from(payload.len() + HEADER).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(payload.len() + HEADER + 4);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind.code());
    bytes.extend_from_slice(&exchange.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads one frame; `None` where the stream ended between two of them.
///
/// Not safe to cancel: a frame that was read in part is lost.
///
/// # Errors
/// [`FrameError`].
pub async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<Frame>, FrameError> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    while filled < prefix.len() {
        match reader.read(&mut prefix[filled..]).await.map_err(FrameError::Read)? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(FrameError::Cut),
            count => filled += count,
        }
    }
    let announced = u32::from_be_bytes(prefix);
    let length = usize::try_from(announced)
        .ok()
        .filter(|length| (HEADER..=FRAME_MAXIMUM).contains(length))
        .ok_or(FrameError::Length(announced))?;
    let mut header = [0; HEADER];
    read_exact(reader, &mut header).await?;
    let [code, exchange @ ..] = header;
    let kind = FrameKind::of(code).ok_or(FrameError::Kind(code))?;
    let mut payload = vec![0; length - HEADER];
    read_exact(reader, &mut payload).await?;
    Ok(Some(Frame { kind, exchange: u32::from_be_bytes(exchange), payload }))
}

async fn read_exact<R: AsyncRead + Unpin>(reader: &mut R, buffer: &mut [u8]) -> Result<(), FrameError> {
    match reader.read_exact(buffer).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(FrameError::Cut),
        Err(error) => Err(FrameError::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn frames_that_are_too_long_or_too_short_or_cut_are_refused() {
        runtime().block_on(async {
            for (bytes, expected) in [
                (&[0xff, 0xff, 0xff, 0xff, 1][..], "announced"),
                (&[0, 16, 0, 1, 1], "announced"),
                (&[0, 0, 0, 4, 1, 0, 0, 0], "announced"),
                (&[0, 0, 0, 5, 9, 0, 0, 0, 0], "unknown kind 9"),
                (&[0, 0, 0, 9, 1, 0, 0, 0, 0, 1], "middle of a frame"),
                (&[0, 0], "middle of a frame"),
            ] {
                let error = read(&mut &bytes[..]).await.unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
            }
            assert!(read(&mut &[][..]).await.unwrap().is_none());
        });
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_make_no_panic_and_frames_come_back(bytes: Vec<u8>, exchange: u32, payload: Vec<u8>) {
            runtime().block_on(async {
                let mut reader = &bytes[..];
                while let Ok(Some(_)) = read(&mut reader).await {}
                let encoded = encode(FrameKind::Chunk, exchange, &payload);
                let frame = read(&mut &encoded[..]).await.unwrap().unwrap();
                assert_eq!(frame, Frame { kind: FrameKind::Chunk, exchange, payload });
            });
        }
    }
}
