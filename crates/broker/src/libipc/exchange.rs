//! Schemes that the daemon does not speak: the local service of that name does, and is asked as libipc's ipcd asked.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Folder, read};

/// How long a protocol's service may take to reach the other side.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the service of the protocol `scheme` for a connection to `uri`; `None` when there is no such service. What
/// comes back is the connection to that service, which speaks for the other side from then on.
pub(crate) async fn ask_protocol(folder: &Folder, scheme: &str, uri: &str) -> io::Result<Option<OwnedFd>> {
    // The first generation's services are called tcpd, websocketd; the second's, as the scheme.
    for name in [scheme.to_owned(), format!("{scheme}d")] {
        let Some(socket) = folder.connect(&name).await? else { continue };
        let exchange = ask(folder, UnixStream::from_std(socket.into())?, uri);
        let done = tokio::time::timeout(PATIENCE, exchange).await;
        let socket = done.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
        return Ok(Some(socket));
    }
    Ok(None)
}

async fn ask(folder: &Folder, mut stream: UnixStream, uri: &str) -> io::Result<OwnedFd> {
    stream.write_all(&folder.generation.data(uri.as_bytes())).await?;
    let mut answer = Vec::new();
    loop {
        match read(&answer) {
            Ok(Some(frame)) if frame.payload.eq_ignore_ascii_case(b"ok") => break,
            Ok(Some(frame)) => {
                let said = String::from_utf8_lossy(frame.payload).into_owned();
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("it says {said:?}")));
            }
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        // Byte by byte: what follows the answer is the other side's already.
        answer.push(stream.read_u8().await?);
    }
    Ok(stream.into_std()?.into())
}
