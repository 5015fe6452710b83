//! Sending content-addressed blobs, and having them fetched from another node.
//!
//! A blob travels as blocks, each compressed on its own, so that an interrupted transfer goes on where it stopped and
//! a block that does not shrink goes as it is.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use flate2::write::{DeflateDecoder, DeflateEncoder};
use kubezt_model::Digest;
use tokio::sync::mpsc::{Receiver, channel};

use super::client::{Exchange, NodeLink};
use super::frame::PAYLOAD_MAXIMUM;
use super::message::{BlobHeader, INITIAL_CREDIT, MissingBlob, RelayCredential, Reply, Request};
use super::pace::Pace;
use super::{LinkError, frame};

/// Bytes of a block before compression.
pub const BLOCK: usize = 512 << 10;
/// Blocks that are read ahead.
const READ_AHEAD: usize = 3;
/// How long the node may take for the next credit, or for writing the whole blob to disk at the end.
const SILENCE_SECONDS: u64 = 300;

const STORED: u8 = 0;
const DEFLATED: u8 = 1;

const _: () = assert!(BLOCK < PAYLOAD_MAXIMUM && frame::FRAME_MAXIMUM < INITIAL_CREDIT as usize);

/// A blob on the operator's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Whether blocks are compressed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// They go as they are: on a fast network, or for content that is compressed already.
    None,
    /// Raw deflate (RFC 1951) at its fastest setting.
    Deflate,
    /// Whichever of the two moves content faster on this link, as measured while sending.
    Adaptive,
}

/// What the sender's reading thread hands over: a block ready to send, and the bytes of content in it.
type Block = io::Result<(Vec<u8>, u64)>;

impl NodeLink {
    /// Sends a blob into the node's store, after the bytes that are there already. `progress` is told the bytes of
    /// content that are under way or there.
    ///
    /// The node makes the blob visible only once its digest was verified.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Refused`] where the digest is another one.
    pub async fn put_blob(
        &self,
        source: &BlobSource,
        missing: MissingBlob,
        compression: Compression,
        mut progress: impl FnMut(u64),
    ) -> Result<(), LinkError> {
        let unreadable = |error| LinkError::Blob {
            node: self.node().to_owned(),
            digest: source.digest,
            path: source.path.clone(),
            source: error,
        };
        let offset = missing.present.min(source.size);
        let mut blocks = read_ahead(source.path.clone(), offset, compression, self.pace());
        let header = BlobHeader { digest: source.digest, size: source.size, offset };
        let mut exchange = self.open(&Request::PutBlob(header)).await?;
        let mut credit = INITIAL_CREDIT;
        let mut done = offset;
        progress(done);
        while done < source.size {
            let (block, length) = match blocks.recv().await {
                Some(block) => block.map_err(unreadable)?,
                None => return Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
            };
            let cost = block.len() as u64;
            while credit < cost {
                match exchange.reply(SILENCE_SECONDS).await? {
                    Reply::Credit(more) => credit += more,
                    _ => return Err(exchange.unexpected()),
                }
            }
            credit -= cost;
            if self.writer().chunk(exchange.id, &block).await.is_err() {
                return Err(exchange.cut_off().await);
            }
            done += length;
            progress(done);
        }
        stored(&mut exchange, progress).await
    }

    /// Has the node fetch a blob from another node, after the bytes that are there already. `progress` is told the bytes of
    /// content that are there.
    ///
    /// The node makes the blob visible only once its digest was verified.
    ///
    /// # Errors
    /// [`LinkError`]; [`LinkError::Refused`] where the other node is not reached, does not hand it on, is too slow, or sends
    /// something else.
    pub async fn fetch_blob(
        &self,
        source: &BlobSource,
        missing: MissingBlob,
        from: SocketAddr,
        credential: &RelayCredential,
        mut progress: impl FnMut(u64),
    ) -> Result<(), LinkError> {
        let offset = missing.present.min(source.size);
        let header = BlobHeader { digest: source.digest, size: source.size, offset };
        let request = Request::FetchBlob { header, from, credential: credential.clone() };
        let mut exchange = self.open(&request).await?;
        progress(offset);
        stored(&mut exchange, progress).await
    }
}

async fn stored(exchange: &mut Exchange<'_>, mut progress: impl FnMut(u64)) -> Result<(), LinkError> {
    loop {
        match exchange.reply(SILENCE_SECONDS).await? {
            Reply::Credit(_) => {}
            Reply::Arrived(bytes) => progress(bytes),
            Reply::Stored => return Ok(()),
            _ => return Err(exchange.unexpected()),
        }
    }
}

/// Reads and compresses on a thread of its own, a few blocks ahead.
fn read_ahead(
    path: PathBuf,
    offset: u64,
    compression: Compression,
    pace: Arc<Mutex<Pace>>,
) -> Receiver<Block> {
    let (sender, receiver) = channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let pace = || pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace().begin();
        let deflate = |length| match compression {
            // A full queue says that reading is faster than sending.
            Compression::Adaptive => pace().deflate(length, sender.capacity() == 0, Instant::now()),
            Compression::Deflate => true,
            Compression::None => false,
        };
        let result = read_blocks(&path, offset, deflate, |block| sender.blocking_send(Ok(block)).is_ok());
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn read_blocks(
    path: &Path,
    offset: u64,
    deflate: impl Fn(u64) -> bool,
    mut send: impl FnMut((Vec<u8>, u64)) -> bool,
) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut content = Vec::with_capacity(BLOCK);
    loop {
        content.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut content)?;
        let length = content.len() as u64;
        if content.is_empty() || !send((pack(&content, deflate(length))?, length)) {
            return Ok(());
        }
    }
}

/// A block as it travels: how it is packed, then the content.
fn pack(content: &[u8], deflate: bool) -> io::Result<Vec<u8>> {
    if deflate {
        let mut encoder = DeflateEncoder::new(vec![DEFLATED], flate2::Compression::fast());
        encoder.write_all(content)?;
        let packed = encoder.finish()?;
        if packed.len() < content.len() {
            return Ok(packed);
        }
    }
    let mut packed = Vec::with_capacity(content.len() + 1);
    packed.push(STORED);
    packed.extend_from_slice(content);
    Ok(packed)
}

/// The content of a block that arrived.
///
/// # Errors
/// A block that is damaged, or longer than [`BLOCK`] once unpacked.
pub fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    match packed.split_first() {
        Some((&STORED, content)) if content.len() <= BLOCK => Ok(content.to_vec()),
        Some((&DEFLATED, packed)) => {
            let mut decoder = DeflateDecoder::new(Bounded(Vec::with_capacity(BLOCK)));
            decoder.write_all(packed).map_err(|_| invalid("a block does not unpack"))?;
            Ok(decoder.finish().map_err(|_| invalid("a block does not unpack"))?.0)
        }
        Some((&STORED, _)) => Err(invalid("a block is too long")),
        Some(_) => Err(invalid("a block is packed in an unknown way")),
        None => Err(invalid("a block is empty")),
    }
}

/// Takes [`BLOCK`] bytes and no more, so that a small block cannot grow without end.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > BLOCK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_and_bombs_do_not() {
        let compressible = vec![b'a'; BLOCK];
        let noise: Vec<u8> =
            (0..BLOCK as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        for content in [&compressible, &noise] {
            for deflate in [false, true] {
                assert_eq!(unpack(&pack(content, deflate).unwrap()).unwrap(), *content);
            }
        }
        assert!(pack(&compressible, true).unwrap().len() < BLOCK / 100);
        let mut bomb = DeflateEncoder::new(vec![DEFLATED], flate2::Compression::fast());
        bomb.write_all(&vec![0; BLOCK + 1]).unwrap();
        assert!(unpack(&bomb.finish().unwrap()).is_err());
        for bad in [&[][..], &[9, 1], &[DEFLATED, 0xff, 0xff, 0xff], &vec![STORED; BLOCK + 2]] {
            assert!(unpack(bad).is_err());
        }
    }
}
