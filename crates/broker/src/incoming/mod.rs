//! Programs of other hosts, as ipcd's protocol daemons let them in: tcpd's greeting, by plain TCP or inside TLS.
//!
//! The first bytes are a service's name; `ok` is the answer, and then the connection is that service's. The original
//! let everybody reach everything so; here the rules are asked, for who it is (a certificate, a pre-shared key, or
//! nobody known) and where it comes from.
//!
//! Where to look: who comes by TLS in `tls`, the greeting and where a name leads in `greeting`.

pub(crate) mod greeting;
mod tls;

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay::{Local, Stream};
use route::{PeerHost, Principal};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::door::Door;
use crate::listen::BindError;
use tls::Secure;

/// How long a client may take until its greeting is here.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether a certificate's file has changed.
const LOOK: Duration = Duration::from_secs(20);

/// `[broker.incoming]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Incoming {
    /// Where tcpd's greeting is answered by plain TCP. Nobody proves there who it is.
    pub tcp: Vec<SocketAddr>,
    /// Where it is answered inside TLS.
    pub tls: Vec<SocketAddr>,
    /// Authorities in a PEM file that vouch for clients. With these or with `broker.keys`, who proves nothing is
    /// turned away.
    pub clients: Option<PathBuf>,
    /// Connections at a time.
    pub max_connections: usize,
    /// Of these, how many from one address.
    pub max_connections_per_address: usize,
}

impl Default for Incoming {
    fn default() -> Self {
        Incoming {
            tcp: Vec::new(),
            tls: Vec::new(),
            clients: None,
            max_connections: 4096,
            max_connections_per_address: 256,
        }
    }
}

/// A listening socket, and the TLS that comes first, if it does.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) listener: TcpListener,
    secure: Option<Arc<Secure>>,
}

/// Takes all addresses, with the certificates that are shown there.
///
/// # Errors
/// The first that is not to be had.
pub(crate) fn reserve(config: &Config) -> Result<Vec<Open>, BindError> {
    let Incoming { tcp, tls, .. } = &config.incoming;
    let secure = (!tls.is_empty()).then(|| Secure::new(config)).transpose().map_err(BindError::Tls)?;
    let secure = secure.map(Arc::new);
    let all = tcp.iter().map(|address| (address, None)).chain(tls.iter().map(|a| (a, secure.clone())));
    all.map(|(address, secure)| {
        let failed = |cause| BindError::Address { address: *address, cause };
        let listener = sys::listen::tcp(*address, sys::listen::Sharing::Exclusive).map_err(failed)?;
        Ok(Open { listener, secure })
    })
    .collect()
}

/// Somebody on another host, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Stranger {
    pub(crate) principal: Principal,
    pub(crate) from: SocketAddr,
    /// By what it came.
    pub(crate) scheme: Cow<'static, str>,
    /// Names that its certificate proves.
    pub(crate) names: Vec<PeerHost>,
}

/// Accepts until the drain starts.
pub(crate) fn open(door: &Arc<Door>, open: Vec<Open>) {
    for Open { listener, secure } in open {
        let shared = door.clone();
        door.relay().run_on(0, move |_| {
            tokio::task::spawn_local(async move {
                let drain = shared.drain.clone();
                tokio::select! {
                    ended = accept(&shared, listener, secure.clone()) => if let Err(error) = ended {
                        tracing::error!(%error, "other hosts cannot reach the broker");
                    },
                    () = refresh(secure.as_deref()) => {}
                    () = drain.started() => {}
                }
            });
        });
    }
}

async fn refresh(secure: Option<&Secure>) {
    let Some(secure) = secure else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK).await;
        secure.refresh();
    }
}

async fn accept(door: &Arc<Door>, listener: TcpListener, secure: Option<Arc<Secure>>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let here = listener.local_addr()?;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection of another host");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Ok(seat) = door.strangers.take(from.ip()) else {
            tracing::info!(%from, "turned a connection away: there are too many");
            continue;
        };
        let (shared, secure) = (door.clone(), secure.clone());
        let stream = stream.into_std()?;
        door.relay().run_on(door.idlest(), move |local| {
            let local = local.clone();
            tokio::task::spawn_local(async move {
                let busy = local.busy();
                shared.metrics.incoming.inc();
                if let Err(error) = serve(&shared, &local, stream, from, here, secure.as_deref()).await {
                    tracing::info!(%from, %error, "a connection of another host came to nothing");
                }
                shared.metrics.incoming.dec();
                drop((seat, busy));
            });
        });
        tokio::task::yield_now().await;
    }
}

async fn serve(
    door: &Arc<Door>,
    local: &Rc<Local>,
    stream: std::net::TcpStream,
    from: SocketAddr,
    here: SocketAddr,
    secure: Option<&Secure>,
) -> io::Result<()> {
    let stream = TcpStream::from_std(stream)?;
    let begin = async {
        let (mut stream, stranger) = match secure {
            Some(secure) => secure.begin(Stream::Tcp(stream), from).await?,
            None => {
                let principal = Principal::Anonymous { from: from.ip() };
                (
                    Stream::Tcp(stream),
                    Stranger { principal, from, scheme: Cow::Borrowed("tcp"), names: Vec::new() },
                )
            }
        };
        let name = greeting::hear(&mut stream).await?;
        io::Result::Ok((stream, stranger, name))
    };
    let begun = tokio::select! {
        begun = tokio::time::timeout(PATIENCE, begin) => begun,
        () = door.drain.started() => return Ok(()),
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not say what it wants");
    let (stream, stranger, name) = begun.map_err(late)??;
    greeting::answer(door, local, stream, &stranger, &name, here).await
}
