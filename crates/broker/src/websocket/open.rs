//! The client's side of the handshake on a stream.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::handshake::{Unanswered, read_response, request};
use super::{Role, Socket};

/// No WebSocket came of it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The stream broke.
    #[error("ask for a WebSocket")]
    Stream(#[from] io::Error),
    /// The server answers otherwise.
    #[error("ask for a WebSocket: {0}")]
    Unanswered(#[from] Unanswered),
}

/// Asks `host` for a WebSocket at `path`, and gives the byte stream over it. `extra` are whole header lines, each with its
/// end. How long it may take is the caller's affair.
///
/// # Errors
/// [`OpenError`].
pub async fn open<S>(mut stream: S, host: &str, path: &str, extra: &str) -> Result<Socket<S>, OpenError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (text, key) = request(host, path, extra);
    stream.write_all(&text).await?;
    stream.flush().await?;
    let mut answer = BytesMut::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(length) = read_response(&answer, &key)? {
            let rest = answer.split_off(length);
            return Ok(Socket::new(stream, Role::Client, rest.freeze()));
        }
    }
}
