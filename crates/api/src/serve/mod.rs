//! Sockets: reserve, accept, hand each connection to hyper, drain.

mod connection;
mod dispatch;
mod guard;
mod patience;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use state::Drain;
use tokio::task::JoinSet;

use crate::Api;
use crate::config::Config;
use crate::http::Peer;
use crate::metrics::Refused;
use connection::Stream;

/// Reserved sockets; nobody answers on them before [`crate::run`].
#[derive(Debug, Default)]
pub struct Listeners {
    /// TCP.
    pub tcp: Vec<TcpListener>,
    /// Unix sockets.
    pub unix: Vec<UnixListener>,
}

impl Listeners {
    /// Addresses of the TCP sockets, with the ports that the kernel chose where 0 was asked for.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Why a socket could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP address.
    #[error("listen for HTTP on {address}")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A Unix socket.
    #[error("listen for HTTP on {path}")]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Binds what the configuration names.
///
/// # Errors
/// The first address that cannot be had.
pub fn reserve(config: &Config) -> Result<Listeners, BindError> {
    let tcp = config.listen.iter().map(|address| {
        let bound = sys::listen::tcp(*address, sys::listen::Sharing::Exclusive);
        bound.map_err(|cause| BindError::Tcp { address: *address, cause })
    });
    let tcp = tcp.collect::<Result<_, _>>()?;
    // An empty path says that there is to be none.
    let named = config.socket.iter().filter(|path| !path.as_os_str().is_empty());
    let unix = named.map(|path| reserve_unix(path));
    Ok(Listeners { tcp, unix: unix.collect::<Result<_, _>>()? })
}

/// Binds one more Unix socket.
///
/// # Errors
/// When it cannot be had.
pub fn reserve_unix(path: &Path) -> Result<UnixListener, BindError> {
    unix(path).map_err(|cause| BindError::Unix { path: path.to_owned(), cause })
}

/// A Unix socket for the owner and the group. A socket that nobody answers on any more is replaced.
fn unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until it is time to leave, then waits for the open connections to finish.
pub(crate) async fn accept(api: &Arc<Api>, listeners: Listeners, drain: &Drain) {
    let mut accepting = JoinSet::new();
    for listener in listeners.tcp {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(accepting.spawn(tcp_loop(api.clone(), listener, drain.clone()))),
            Err(error) => tracing::error!(%error, "watch an HTTP listener"),
        }
    }
    for listener in listeners.unix {
        match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => drop(accepting.spawn(unix_loop(api.clone(), listener, drain.clone()))),
            Err(error) => tracing::error!(%error, "watch an HTTP listener"),
        }
    }
    drain.started().await;
    // Those who wait for news look again, and see that it is time to leave.
    api.store.wake_watchers();
    while accepting.join_next().await.is_some() {}
}

async fn tcp_loop(api: Arc<Api>, listener: tokio::net::TcpListener, drain: Drain) {
    let mut connections = Connections::new(&api);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Answers are written whole; waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    connections.start(Box::new(stream), Peer::Tcp(peer));
                }
                Err(error) => failed(&error).await,
            },
            () = drain.started() => break,
        }
    }
    connections.finish().await;
}

async fn unix_loop(api: Arc<Api>, listener: tokio::net::UnixListener, drain: Drain) {
    let mut connections = Connections::new(&api);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().ok().map(|who| who.uid());
                    connections.start(Box::new(stream), Peer::Unix { uid });
                }
                Err(error) => failed(&error).await,
            },
            () = drain.started() => break,
        }
    }
    connections.finish().await;
}

/// Out of descriptors, most likely: wait for some to be closed rather than spin.
async fn failed(error: &io::Error) {
    tracing::warn!(%error, "accept an HTTP connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Connections of one listener.
struct Connections {
    api: Arc<Api>,
    open: JoinSet<()>,
}

impl Connections {
    fn new(api: &Arc<Api>) -> Connections {
        Connections { api: api.clone(), open: JoinSet::new() }
    }

    fn start(&mut self, stream: Box<dyn Stream>, peer: Peer) {
        while self.open.try_join_next().is_some() {}
        let limit = i64::try_from(self.api.config.limits.max_connections).unwrap_or(i64::MAX);
        if self.api.metrics.connections.get() >= limit {
            self.api.metrics.refused(Refused::Crowded);
            return;
        }
        let api = self.api.clone();
        api.metrics.connections.inc();
        self.open.spawn(async move {
            connection::serve(&api, stream, peer).await;
            api.metrics.connections.dec();
        });
    }

    async fn finish(mut self) {
        while self.open.join_next().await.is_some() {}
    }
}
