//! How clients come in, and which protocol they turn out to speak.

use std::borrow::Cow;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use relay::accept::Accept;
use relay::limit::{Limits, Place};
use relay::tls::{Certificates, Handshakes, ServerConfig};
use relay::{Local, Stream};
use route::{Facts, Principal};
use state::{Drain, Reader};
use tokio::io::AsyncReadExt as _;

use super::config::Config;
use super::listen::Listeners;
use super::metrics::Metrics;
use super::{Credentials, Inputs, connect, forward, secure, socks};
use crate::libipc::Folder;

/// By what a client comes, as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Socks,
    Ws,
    Tls,
}

impl Scheme {
    pub(super) fn word(self) -> &'static Cow<'static, str> {
        const HTTP: &Cow<'static, str> = &Cow::Borrowed("http");
        const SOCKS: &Cow<'static, str> = &Cow::Borrowed("socks");
        const WS: &Cow<'static, str> = &Cow::Borrowed("ws");
        const TLS: &Cow<'static, str> = &Cow::Borrowed("tls");
        match self {
            Scheme::Http => HTTP,
            Scheme::Socks => SOCKS,
            Scheme::Ws => WS,
            Scheme::Tls => TLS,
        }
    }
}

/// How long a wrong answer takes: who guesses, guesses slowly.
const PENANCE: Duration = Duration::from_secs(1);

/// Shared by all connections on all threads.
pub(super) struct Face {
    pub(super) config: Config,
    pub(super) node: Arc<str>,
    pub(super) domain: Arc<str>,
    pub(super) facts: Reader<Facts>,
    pub(super) credentials: Arc<dyn Credentials>,
    pub(super) folders: Vec<Folder>,
    pub(super) metrics: Metrics,
    pub(super) handshakes: Arc<Handshakes>,
    /// How TLS goes; `None` when that could not be set up: then nobody gets in by it.
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) drain: Drain,
    /// Started when connections must go at once; the gateway has drained when the last holder of it is gone.
    pub(super) cut: Drain,
}

/// One client's connection and its surroundings.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) face: Arc<Face>,
    pub(super) local: Rc<Local>,
    pub(super) peer: SocketAddr,
    /// By its certificate, or by the kernel.
    pub(super) proven: Option<Principal>,
}

/// Takes connections in.
struct Entrance {
    face: Arc<Face>,
    is_tls: bool,
}

pub(super) fn open(config: Config, listeners: Listeners, inputs: Inputs, (drain, cut): (Drain, Drain)) {
    let Inputs { relay, node, domain, facts, credentials, certificates, libipc, metrics, patience: _ } =
        inputs;
    let certificates = match config.certificates.is_empty() {
        true => certificates,
        false => {
            let own = Certificates::new();
            own.use_files(&config.certificates).iter().for_each(secure::tell);
            own
        }
    };
    let limits = Limits::new(config.max_connections, config.max_connections_per_address);
    let face = Arc::new(Face {
        tls: secure::setup(&config, &certificates),
        handshakes: Handshakes::new(config.max_handshakes, relay.metrics()),
        config,
        node,
        domain,
        facts,
        credentials,
        folders: libipc.folders(),
        metrics,
        drain: drain.clone(),
        cut,
    });
    let plain = listeners.plain.into_iter().map(|socket| (false, socket));
    let all = plain.chain(listeners.tls.into_iter().map(|socket| (true, socket)));
    for (number, (is_tls, socket)) in all.enumerate() {
        let accept: Arc<dyn Accept> = Arc::new(Entrance { face: face.clone(), is_tls });
        let (limits, drain) = (limits.clone(), drain.clone());
        relay.run_on(number % relay.threads(), move |local| {
            let never = std::future::pending();
            let serving = relay::accept::serve(local.clone(), socket, limits, accept, drain, never);
            tokio::task::spawn_local(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "remote clients cannot reach the gateway");
                }
            });
        });
    }
}

impl Accept for Entrance {
    fn accept(&self, local: &Rc<Local>, socket: TcpStream, peer: SocketAddr, place: Place) {
        let stream = match tokio::net::TcpStream::from_std(socket) {
            Ok(stream) => stream,
            Err(cause) => {
                tracing::warn!(%cause, "cannot register a connection");
                return;
            }
        };
        let (busy, is_tls) = (local.busy(), self.is_tls);
        let mut client = Client { face: self.face.clone(), local: local.clone(), peer, proven: None };
        client.proven = client.of_this_host(&stream);
        self.face.metrics.clients.inc();
        tokio::task::spawn_local(async move {
            let face = client.face.clone();
            tokio::select! {
                () = begin(client, stream, is_tls) => {}
                () = face.cut.started() => {}
            }
            face.metrics.clients.dec();
            drop((place, busy));
        });
    }
}

async fn begin(client: Client, stream: tokio::net::TcpStream, is_tls: bool) {
    // Fails only on a socket that is gone.
    let _ = stream.set_nodelay(true);
    match is_tls {
        true => secure::serve(client, stream).await,
        false => by_first_bytes(client, Stream::Tcp(stream)).await,
    }
}

/// The protocols that say by their first bytes what they are.
pub(super) async fn by_first_bytes(client: Client, mut stream: Stream) {
    let mut first = BytesMut::new();
    let looking = async {
        while let Ok(1..) = stream.read_buf(&mut first).await {
            if let Some(speaks) = speaks(&first) {
                return Some(speaks);
            }
        }
        None
    };
    let patience = client.face.config.handshake_timeout;
    match tokio::time::timeout(patience, looking).await {
        Ok(Some(Speaks::Socks)) => socks::serve(client, stream, first).await,
        Ok(Some(Speaks::Http2)) => forward::over_http2(client, stream, first.freeze()).await,
        Ok(Some(Speaks::Http1)) => connect::serve(client, stream, first).await,
        Ok(Some(Speaks::Nothing)) => client.face.metrics.refused("protocol"),
        Ok(None) => {}
        Err(_) => client.face.metrics.refused("slow"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Socks,
    Http1,
    Http2,
    Nothing,
}

/// What begins like this; `None` while it may be several.
fn speaks(first: &[u8]) -> Option<Speaks> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    match first {
        [] => None,
        [5, ..] => Some(Speaks::Socks),
        first if first.starts_with(PREFACE) => Some(Speaks::Http2),
        first if PREFACE.starts_with(first) => None,
        [b'A'..=b'Z', ..] => Some(Speaks::Http1),
        _ => Some(Speaks::Nothing),
    }
}

impl Client {
    /// A program of this host, by the kernel's word where the rules ask for users.
    fn of_this_host(&self, stream: &tokio::net::TcpStream) -> Option<Principal> {
        let asks = || self.local.with_routes(|routes| routes.policy().asks_users());
        if !self.is_local() || !asks() {
            return None;
        }
        let owner = stream.local_addr().and_then(|at| sys::host::owner(self.peer, at)).ok().flatten();
        owner.map(|uid| Principal::Local { uid })
    }

    /// Credentials were wrong: the answer takes its time.
    pub(super) async fn repent(&self) {
        self.face.metrics.refused("credentials");
        tracing::info!(client = %self.peer, "refused credentials at the gateway");
        tokio::time::sleep(PENANCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        assert_eq!(speaks(b"\x05"), Some(Speaks::Socks));
        assert_eq!(speaks(b"P"), None);
        assert_eq!(speaks(b"PO"), Some(Speaks::Http1));
        assert_eq!(speaks(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(speaks(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxx"), Some(Speaks::Http2));
        assert_eq!(speaks(b"CONNECT"), Some(Speaks::Http1));
        assert_eq!(speaks(b"\x16\x03\x01"), Some(Speaks::Nothing));
        assert_eq!(speaks(b"\x04"), Some(Speaks::Nothing));
    }
}
