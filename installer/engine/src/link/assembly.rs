//! Messages longer than a frame: cut into parts, put together again.

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroize;

use super::frame::{self, FrameKind};

/// Bytes of one part of a message.
const PART: usize = 256 << 10;
/// Bytes that unfinished messages of one link may have together.
const UNFINISHED_MAXIMUM: usize = 256 << 20;

/// Why a message could not be put together or taken apart.
#[derive(Debug, Error)]
pub enum MessageError {
    /// Unfinished messages grew too large.
    #[error(
        "messages of more than {UNFINISHED_MAXIMUM} bytes arrived; the list that was asked for is too long"
    )]
    TooLong,
    /// The JSON is not a message. The text is left out of the error: it may hold secrets.
    #[error(
        "a message could not be read (line {line}, column {column}); do both ends run the same version of kubezt?"
    )]
    Invalid {
        /// Line of the mistake.
        line: usize,
        /// Column of the mistake.
        column: usize,
    },
    /// A message could not be written.
    #[error("a message could not be written")]
    Unwritable(#[source] serde_json::Error),
}

/// The frames of a message.
///
/// # Errors
/// [`MessageError::Unwritable`].
pub fn frames<T: Serialize>(exchange: u32, message: &T) -> Result<Vec<Vec<u8>>, MessageError> {
    let mut json = serde_json::to_vec(message).map_err(MessageError::Unwritable)?;
    let mut frames = Vec::with_capacity(json.len() / PART + 1);
    let mut rest = json.as_slice();
    while rest.len() > PART {
        let (part, after) = rest.split_at(PART);
        frames.push(frame::encode(FrameKind::Part, exchange, part));
        rest = after;
    }
    frames.push(frame::encode(FrameKind::Message, exchange, rest));
    json.zeroize();
    Ok(frames)
}

/// Puts the parts of messages together, any number of exchanges side by side.
#[derive(Default)]
pub struct Assembly {
    parts: HashMap<u32, Vec<u8>>,
    unfinished: usize,
}

impl Assembly {
    /// Takes a part.
    ///
    /// # Errors
    /// [`MessageError::TooLong`].
    pub fn part(&mut self, exchange: u32, mut payload: Vec<u8>) -> Result<(), MessageError> {
        self.unfinished += payload.len();
        if self.unfinished > UNFINISHED_MAXIMUM {
            return Err(MessageError::TooLong);
        }
        self.parts.entry(exchange).or_default().append(&mut payload);
        Ok(())
    }

    /// Takes the end and answers with the whole.
    ///
    /// # Errors
    /// [`MessageError::Invalid`].
    pub fn finish<T: DeserializeOwned>(
        &mut self,
        exchange: u32,
        mut payload: Vec<u8>,
    ) -> Result<T, MessageError> {
        let mut whole = match self.parts.remove(&exchange) {
            Some(mut parts) => {
                self.unfinished -= parts.len();
                parts.append(&mut payload);
                parts
            }
            None => payload,
        };
        let message = serde_json::from_slice(&whole)
            .map_err(|error| MessageError::Invalid { line: error.line(), column: error.column() });
        whole.zeroize();
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_messages_come_back_whole_also_when_mixed() {
        let (first, second) = ("a".repeat(PART * 3), "b".repeat(PART + 1));
        let mut one = frames(1, &first).unwrap().into_iter();
        let mut two = frames(2, &second).unwrap().into_iter();
        assert_eq!((one.len(), two.len()), (4, 2));
        let mut assembly = Assembly::default();
        let mut seen = Vec::new();
        while let Some(bytes) = one.next().or_else(|| two.next()) {
            for bytes in [Some(bytes), two.next()].into_iter().flatten() {
                let frame = frame::read(&mut &bytes[..]).await.unwrap().unwrap();
                match frame.kind {
                    FrameKind::Part => assembly.part(frame.exchange, frame.payload).unwrap(),
                    _ => seen.push(assembly.finish::<String>(frame.exchange, frame.payload).unwrap()),
                }
            }
        }
        assert!(seen.contains(&first) && seen.contains(&second));
        assert_eq!(assembly.unfinished, 0);
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        let error = Assembly::default().finish::<u32>(1, b"\"secret\"".to_vec()).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
