//! `kubezt node dial`: standard input and output become a TCP connection as the node reaches it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{NodeError, stdio};

const CONNECT: Duration = Duration::from_secs(10);

/// Forwards until both directions ended. `address` is `host:port`.
///
/// # Errors
/// [`NodeError::Network`].
pub async fn run(address: &str) -> Result<(), NodeError> {
    splice(address, stdio::input(), stdio::output()).await
}

/// Forwards between a pair of streams and an address; the end of one direction is passed on, the other goes on.
///
/// # Errors
/// [`NodeError::Network`].
pub async fn splice<R, W>(address: &str, mut input: R, mut output: W) -> Result<(), NodeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let failed = |doing| {
        let address = address.to_owned();
        move |source| NodeError::Network { doing, address, source }
    };
    let connected = timeout(CONNECT, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let stream = connected.map_err(failed("connect to"))?;
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let upward = async {
        copy(&mut input, &mut writer).await?;
        writer.shutdown().await
    };
    let downward = async {
        copy_flushing(&mut reader, &mut output).await?;
        output.shutdown().await
    };
    // The server's end decides: when it has said all, what else the operator sends is for nobody.
    tokio::select! {
        result = downward => result.map_err(failed("read from")),
        result = async { match upward.await { Ok(()) => std::future::pending().await, Err(error) => Err(error) } } =>
            result.map_err(failed("write to")),
    }
}

/// As `copy`, but nothing waits in a buffer while the other side waits for it.
async fn copy_flushing<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut R,
    writer: &mut W,
) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(()),
            count => {
                writer.write_all(&buffer[..count]).await?;
                writer.flush().await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_is_passed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            stream.write_all(&[request.as_slice(), b"!"].concat()).await.unwrap();
        });
        let mut answer = Vec::new();
        splice(&address, &b"hello"[..], &mut answer).await.unwrap();
        assert_eq!(answer, b"hello!");
        server.await.unwrap();
        let error = splice("127.0.0.1:1", &b""[..], &mut answer).await.unwrap_err();
        assert!(error.chain().contains("127.0.0.1:1"), "{}", error.chain());
    }
}
