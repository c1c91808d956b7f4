//! Listening and datagram sockets, with the options that must be set before they are bound.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr;
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
    make_transparent(&socket, address)?;
    listening(socket, address)
}

fn make_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
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
    bound(open(address, Type::DGRAM, Protocol::UDP, sharing)?, address, buffer)
}

/// The same, and datagrams to any other address and port may be led to it, as connections to [`transparent`]; which one a
/// client meant, [`crate::mmsg::Datagram::meant`] says. Needs CAP_NET_ADMIN.
///
/// # Errors
/// As [`tcp`].
pub fn transparent_udp(address: SocketAddr, sharing: Sharing, buffer: usize) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP, sharing)?;
    make_transparent(&socket, address)?;
    tell_meant(&socket, address)?;
    bound(socket, address, buffer)
}

/// A UDP socket whose datagrams leave from `address`: no interface need have it, a local route that leads there is enough
/// (`IP_FREEBIND`), and others of this user may bind it too. It is for sending alone and keeps next to nothing of what
/// arrives.
///
/// # Errors
/// The kernel's: address in use, by somebody's wildcard socket too; permission denied.
pub fn udp_from(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP, Sharing::ReusePort)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    // The kernel makes the least of it that it has.
    socket.set_recv_buffer_size(1)?;
    bound(socket, address, 0)
}

fn bound(socket: Socket, address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    if buffer > 0 {
        socket.set_recv_buffer_size(buffer)?;
        socket.set_send_buffer_size(buffer)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Has the kernel say of each datagram where it was sent to (`IP_RECVORIGDSTADDR`, `IPV6_RECVORIGDSTADDR`).
pub(crate) fn tell_meant(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and the kernel reads as many bytes of it as it is told.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    fn several_speak_from_an_address_that_no_interface_has() {
        let first = udp_from("127.9.8.7:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        udp_from(address).unwrap();
        let hears = udp("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive, 0).unwrap();
        first.send_to(b"x", hears.local_addr().unwrap()).unwrap();
        hears.set_nonblocking(false).unwrap();
        hears.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(hears.recv_from(&mut [0; 8]).unwrap().1, address);
        // Of IPv6 too, where there is any.
        match udp_from("[fd00:77::9]:0".parse().unwrap()) {
            Ok(socket) => assert!(socket.local_addr().unwrap().to_string().starts_with("[fd00:77::9]")),
            Err(cause) => println!("skipped: no IPv6 here: {cause}"),
        }
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
