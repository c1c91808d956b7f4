//! Bulk by TLS over TCP: one connection for one stream, on the mesh's port, with the same certificates, greeting
//! and preface. The greeting's answer is read together with the stream's, so that opening costs no round trip more
//! than TLS itself.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::dial::{self, DialError};
use crate::gate::{Seat, Verdict};
use crate::greet::own_hello;
use crate::hello::{self, Hello, Use};
use crate::link::{Proof, with_causes};
use crate::mesh::Shared;
use crate::open::Lane;
use crate::preface::Kind;
use crate::serve::{self, Incoming};
use crate::stream::Stream;
use crate::tls;

/// What may wait in a socket, asked for; the kernel grants what it allows. It holds a burst of some milliseconds. More of
/// it would not make bulk faster: whatever bulk fills, the log's messages wait behind.
const SOCKET_BYTES: usize = 256 << 10;
/// A pause when the kernel has no descriptor left, so that accepting does not spin.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    dual_stack(&socket, address)?;
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    dual_stack(&socket, address)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn dual_stack(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() { socket.set_only_v6(!address.ip().is_unspecified()) } else { Ok(()) }
}

/// Takes connections until the mesh is closed.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the TCP port of the mesh cannot be used"),
    };
    let acceptor = match tls::server(&shared.trust, &[]) {
        Ok(mut config) => {
            config.alpn_protocols = vec![tls::ALPN_NODE.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        }
        Err(error) => return tracing::error!(%error, "TLS for the mesh cannot be prepared"),
    };
    loop {
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept on the mesh's TCP port");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // An address is proven by TCP itself.
        let Verdict::Admit(seat) = shared.gate.knock(from.ip(), true, Instant::now()) else { continue };
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = take(&shared, &acceptor, tcp, seat).await {
                tracing::debug!(%from, error, "no stream by TCP");
            }
        });
    }
}

async fn take(
    shared: &Arc<Shared>,
    acceptor: &TlsAcceptor,
    tcp: TcpStream,
    mut seat: Seat,
) -> Result<(), String> {
    let text = |error: io::Error| with_causes(&error);
    let begin = async {
        let _ = tcp.set_nodelay(true);
        let mut tls = acceptor.accept(tcp).await.map_err(text)?;
        let chain = chain(tls.get_ref().1.peer_certificates());
        let proof = Proof::of(chain, &shared.trust.now(), None).map_err(|error| error.to_string());
        let greeted = match proof {
            Ok(proof) => greet(shared, &mut tls, shared.called(proof)).await,
            Err(disbelief) => Err(disbelief),
        };
        match greeted {
            Ok(peer) => Ok((tls, peer)),
            Err(reason) => {
                let _ = hello::refuse(&mut tls, &reason).await;
                let _ = tls.shutdown().await;
                Err(reason)
            }
        }
    };
    let begun = tokio::time::timeout(shared.config.dial_timeout, begin).await;
    let (mut tls, peer) = begun.map_err(|_| "it took too long".to_owned())??;
    seat.settled();
    match serve::place(&shared.acceptors, &mut tls).await {
        Ok(place) => {
            let stream = Stream::accepted_tls(TlsStream::Server(tls), seat);
            place.send(Incoming { peer, session: None, lane: Lane::Bulk, stream });
        }
        Err(reason) => serve::refuse(&mut tls, &reason, &peer).await,
    }
    Ok(())
}

/// Reads the greeting and answers it; whose it is.
async fn greet(
    shared: &Shared,
    tls: &mut tokio_rustls::server::TlsStream<TcpStream>,
    proof: Proof,
) -> Result<String, String> {
    let theirs = hello::read(tls).await.map_err(|error| with_causes(&error))?;
    hello::common_version(shared.config.speaks, theirs.speaks).map_err(|error| error.to_string())?;
    let own = own_hello(shared.config.speaks, &shared.table, &proof.peer.name, Use::Flow);
    let mut answer = vec![0];
    answer.extend_from_slice(&Hello { purpose: theirs.purpose, ..own }.encode());
    tls.write_all(&answer).await.map_err(|error| with_causes(&error))?;
    Ok(proof.peer.name)
}

fn chain(shown: Option<&[CertificateDer<'_>]>) -> Option<Vec<CertificateDer<'static>>> {
    Some(shown?.iter().map(|cert| cert.clone().into_owned()).collect())
}

/// Opens a stream of its own connection.
pub(crate) async fn open(shared: &Shared, peer: &str, kind: Kind) -> Result<Stream, DialError> {
    let mut tries = Vec::new();
    for address in dial::resolve(&shared.addresses(peer), &mut tries).await {
        match tokio::time::timeout(shared.config.dial_timeout, one(shared, peer, address)).await {
            Ok(Ok(tls)) => return Ok(Stream::opened_tls(TlsStream::Client(tls), kind)),
            Ok(Err(error)) => tries.push(format!("{address} by TCP: {error}")),
            Err(_) => tries.push(format!("{address} by TCP: no answer in time")),
        }
    }
    Err(DialError::Unreachable { peer: peer.to_owned(), tries })
}

async fn one(
    shared: &Shared,
    peer: &str,
    address: SocketAddr,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let text = |error: io::Error| with_causes(&error);
    let (config, said) = tls::client(&shared.trust, peer).map_err(|error| with_causes(&error))?;
    let name = ServerName::try_from(tls::SNI).map_err(|error| error.to_string())?;
    let tcp = TcpStream::connect(address).await.map_err(text)?;
    let _ = tcp.set_nodelay(true);
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let mut tls = tls.map_err(|error| said.take().unwrap_or_else(|| with_causes(&error)))?;
    let own = own_hello(shared.config.speaks, &shared.table, peer, Use::Flow);
    tls.write_all(&own.encode()).await.map_err(text)?;
    tls.flush().await.map_err(text)?;
    let theirs = hello::read_answer(&mut tls).await.map_err(|error| with_causes(&error))?;
    hello::common_version(own.speaks, theirs.speaks).map_err(|error| error.to_string())?;
    Ok(tls)
}
