//! A TLS ClientHello written by hand, because no maintained TLS library offers what must be refused.
//!
//! Only the first answer matters: a ServerHello means the offer was taken, an alert means it was not.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::api::Stream;

/// What a client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Highest protocol version: 0x0301 is TLS 1.0, 0x0302 TLS 1.1, 0x0303 TLS 1.2.
    pub version: u16,
    /// Cipher suites, by their IANA numbers.
    pub suites: Vec<u16>,
}

/// TLS_ECDHE_ECDSA/RSA_WITH_AES_128_CBC_SHA and static-RSA CBC: no AEAD (RFC 9325 advises against all of them).
const CBC_SUITES: [u16; 6] = [0xc009, 0xc013, 0xc00a, 0xc014, 0x002f, 0x0035];

/// TLS_ECDHE_ECDSA/RSA with AES-128-GCM and AES-256-GCM.
const GCM_SUITES: [u16; 4] = [0xc02b, 0xc02f, 0xc02c, 0xc030];

impl Offer {
    /// TLS 1.1 with every suite named here.
    pub fn old_protocol() -> Self {
        Self { version: 0x0302, suites: [CBC_SUITES.as_slice(), GCM_SUITES.as_slice()].concat() }
    }

    /// TLS 1.2 with nothing but CBC suites.
    pub fn weak_suites() -> Self {
        Self { version: 0x0303, suites: CBC_SUITES.to_vec() }
    }

    /// TLS 1.2 with the four approved suites: what must be taken, or the other answers mean nothing.
    pub fn approved() -> Self {
        Self { version: 0x0303, suites: GCM_SUITES.to_vec() }
    }
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took the offer.
    Accepted {
        /// Suite it chose.
        suite: u16,
    },
    /// It refused with this alert (RFC 8446 §6).
    Alert(u8),
    /// It hung up without a word.
    Closed,
}

/// Makes an offer and waits for the first answer.
///
/// # Errors
/// The stream breaks, or the answer is not TLS.
pub async fn offer(mut stream: Box<dyn Stream>, offer: &Offer, random: [u8; 32]) -> std::io::Result<Answer> {
    stream.write_all(&record(offer, random)).await?;
    stream.flush().await?;
    let mut header = [0; 5];
    if stream.read_exact(&mut header).await.is_err() {
        return Ok(Answer::Closed);
    }
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    match header[0] {
        21 => body.get(1).copied().map(Answer::Alert).ok_or_else(|| invalid("an alert without a code")),
        22 if body.first() == Some(&2) => {
            // ServerHello: type, length(3), version(2), random(32), session id, suite(2).
            let session = usize::from(*body.get(38).ok_or_else(|| invalid("a short ServerHello"))?);
            let suite = body.get(39 + session..41 + session).ok_or_else(|| invalid("a short ServerHello"))?;
            Ok(Answer::Accepted { suite: u16::from_be_bytes([suite[0], suite[1]]) })
        }
        other => Err(invalid(&format!("record type {other} is not TLS"))),
    }
}

fn record(offer: &Offer, random: [u8; 32]) -> Vec<u8> {
    let mut hello = Vec::new();
    hello.extend(offer.version.to_be_bytes());
    hello.extend(random);
    hello.push(0); // no session to resume
    let suites: Vec<u8> = offer.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    hello.extend(length16(&suites));
    hello.extend([1, 0]); // no compression
    let mut extensions = Vec::new();
    // supported_groups: P-256, P-384, X25519; ec_point_formats: uncompressed.
    extensions.extend([0, 10, 0, 8, 0, 6, 0, 23, 0, 24, 0, 29]);
    extensions.extend([0, 11, 0, 2, 1, 0]);
    // signature_algorithms: ECDSA and RSA with SHA-256, SHA-384, and the SHA-1 an old client would offer.
    extensions.extend([0, 13, 0, 14, 0, 12, 4, 3, 5, 3, 4, 1, 5, 1, 2, 3, 2, 1]);
    hello.extend(length16(&extensions));

    let mut handshake = vec![1];
    handshake.extend(&(u32::try_from(hello.len()).unwrap_or(u32::MAX)).to_be_bytes()[1..]);
    handshake.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend(length16(&handshake));
    record
}

fn length16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(bytes: &'static [u8]) -> std::io::Result<Answer> {
        let (near, mut far) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut sink = [0; 1024];
            let _ = far.read(&mut sink).await;
            let _ = far.write_all(bytes).await;
        });
        let answer = offer(Box::new(near), &Offer::weak_suites(), [7; 32]).await;
        server.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn alerts_and_silence_are_refusals() {
        assert_eq!(answer(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap(), Answer::Alert(40));
        assert_eq!(answer(&[]).await.unwrap(), Answer::Closed);
        assert!(answer(b"HTTP/1.0 400 Bad Request\r\n").await.is_err());
    }

    #[test]
    fn lengths_add_up() {
        let bytes = record(&Offer::approved(), [0; 32]);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[3], bytes[4]])), bytes.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[7], bytes[8]])), bytes.len() - 9);
    }
}
