//! Listening and datagram sockets, with the options that must be set before they are bound.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Whether others may bind the same address and share what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else: a second bind fails.
    Exclusive,
    /// `SO_REUSEPORT`: the kernel spreads arrivals over all sockets of this user that bind alike.
    ReusePort,
}

/// Connections that the kernel keeps for us until we accept them. It cuts this down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A vanished peer is noticed after so long: the first probe, then three more at a quarter of it.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A listening TCP socket that does not block. What it accepts sends without delay (`TCP_NODELAY`) and notices
/// peers that vanished without a word: Linux hands both options down, which spares each connection five
/// system calls. An IPv6 one takes IPv6 only, so that `0.0.0.0` and `[::]` can
/// stand side by side whatever `net.ipv6.bindv6only` says.
///
/// # Errors
/// The kernel's: address in use, address not available, permission denied.
pub fn tcp(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    listening(open(address, Type::STREAM, Protocol::TCP, sharing)?, address)
}

/// The same, and connections to any other address and port may be led to it (`IP_TRANSPARENT`, and a rule of the
/// firewall that says which): what is accepted has the address that the client meant as its own. Needs CAP_NET_ADMIN.
///
/// # Errors
/// As [`tcp`].
pub fn transparent(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP, sharing)?;
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    listening(socket, address)
}

fn listening(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // Without this a restart fails while connections of the former life are in TIME_WAIT. On Linux it does
    // not let two listeners share an address.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    keep_alive(&socket, KEEP_ALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection to an address of this host, if it has come about when this returns: there it does, unless whoever listens has
/// too many waiting. It does not block.
///
/// # Errors
/// The kernel's: above all that nobody listens.
pub fn connect_at_once(address: SocketAddr) -> io::Result<Option<TcpStream>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    let begun = |error: &io::Error| {
        let code = error.raw_os_error();
        code == Some(libc::EINPROGRESS) || code == Some(libc::EALREADY)
    };
    match socket.connect(&address.into()) {
        // Asked again, it tells how the first one went.
        Err(error) if begun(&error) => match socket.connect(&address.into()) {
            Err(error) if begun(&error) => return Ok(None),
            done => done?,
        },
        done => done?,
    }
    socket.set_tcp_nodelay(true)?;
    Ok(Some(socket.into()))
}

/// A UDP socket that does not block, with room for `buffer` bytes in either direction, as far as the kernel
/// grants it (`net.core.rmem_max`).
///
/// # Errors
/// As [`tcp`].
pub fn udp(address: SocketAddr, sharing: Sharing, buffer: usize) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP, sharing)?;
    if buffer > 0 {
        socket.set_recv_buffer_size(buffer)?;
        socket.set_send_buffer_size(buffer)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if sharing == Sharing::ReusePort {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

/// A listening socket in a tokio runtime that hands out bare sockets: each may be registered with the runtime
/// of another thread, which a `tokio::net::TcpStream` cannot without a detour.
#[derive(Debug)]
pub struct Acceptor(AsyncFd<TcpListener>);

impl Acceptor {
    /// Registers a listener that does not block with the current runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(listener: TcpListener) -> io::Result<Acceptor> {
        // SAFETY: a `TcpListener` owns its descriptor, names the same one every time, and closes it only when
        // it is dropped, which `AsyncFd` does after it has deregistered it.
        let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        Ok(Acceptor(registered?))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// The kernel's; see accept(2) for those that tell of the connection and not of the listener.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.async_io(Interest::READABLE, accept).await
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// Accepts one connection, not blocking and closed on exec from the first moment.
///
/// # Errors
/// The kernel's, `WouldBlock` among them.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let stream = TcpStream::from(socket);
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.map_or_else(|| stream.peer_addr(), Ok)?;
    Ok((stream, peer))
}

/// Asks the kernel to notice a peer that vanished without a word: first probe after `idle`, then three more
/// at a quarter of it.
///
/// # Errors
/// The kernel's.
pub fn keep_alive(stream: &impl std::os::fd::AsFd, idle: Duration) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(idle).with_interval(idle / 4).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Makes closing `stream` a reset, so that its peer does not take a cut connection for a finished one.
///
/// # Errors
/// The kernel's.
pub fn reset_on_close(stream: &impl std::os::fd::AsFd) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_address_is_refused_to_the_next() {
        let first = tcp("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
        let address = first.local_addr().unwrap();
        let second = tcp(address, Sharing::Exclusive).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_shared_address_is_bound_by_every_thread() {
        let first = tcp("127.0.0.1:0".parse().unwrap(), Sharing::ReusePort).unwrap();
        let address = first.local_addr().unwrap();
        tcp(address, Sharing::ReusePort).unwrap();
        let first = udp("127.0.0.1:0".parse().unwrap(), Sharing::ReusePort, 1 << 20).unwrap();
        udp(first.local_addr().unwrap(), Sharing::ReusePort, 0).unwrap();
    }

    #[test]
    fn accepts_without_blocking() {
        let listener = tcp("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = accept(&listener).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap() && SockRef::from(&stream).keepalive().unwrap(), "handed down");
        reset_on_close(&stream).unwrap();
    }
}
