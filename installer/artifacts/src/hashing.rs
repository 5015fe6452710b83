//! SHA-256 over streams.
//!
//! Images are hundreds of megabytes, so this uses the crypto provider's assembly rather than portable Rust.

use std::io::{self, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use kubezt_model::Digest;

use crate::Error;

/// Hashes and counts what passes through.
pub(crate) struct HashingWriter<W> {
    inner: W,
    context: Context,
    size: u64,
}

impl<W: Write> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, context: Context::new(&SHA256), size: 0 }
    }

    /// Bytes so far.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Digest of the bytes so far.
    pub(crate) fn digest(&self) -> Digest {
        finish(self.context.clone())
    }

    /// Begins anew, with an inner writer that `clear` made empty.
    pub(crate) fn restart(&mut self, clear: impl FnOnce(&mut W) -> io::Result<()>) -> io::Result<()> {
        clear(&mut self.inner)?;
        self.context = Context::new(&SHA256);
        self.size = 0;
        Ok(())
    }

    /// The inner writer, the digest and the number of bytes.
    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.inner, finish(self.context), self.size)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.context.update(&buffer[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Runs what keeps a processor or a disk busy where it does not hold others up.
///
/// # Errors
/// What `work` says.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Worker)?
}

/// Digest and size of a file.
pub(crate) fn digest_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = fs_err::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((finish(context), size));
        }
        context.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Digest of several parts; each is preceded by its length, so that no two lists of parts collide.
pub(crate) fn digest_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    finish(context)
}

fn finish(context: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_hash_like_bytes() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        let (bytes, digest, size) = writer.finish();
        assert_eq!((bytes.as_slice(), digest, size), (&b"abc"[..], Digest::of(b"abc"), 3));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest_parts([&b"ab"[..], b"c"]), digest_parts([&b"a"[..], b"bc"]));
    }
}
