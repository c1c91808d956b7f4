//! The end of connections that other programs hold: `SOCK_DESTROY`, which asks for `CAP_NET_ADMIN`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::net::{getpeername, getsockname, sockopt};

use super::diag::{ACK, About, BY_FAMILY, DESTROY, Diag, REQUEST};
use super::{ThisHost, Transport};

/// `TCP_TIME_WAIT`, and where `idiag_state` stands in `struct inet_diag_msg`.
const TIME_WAIT: u8 = 6;
const STATE_AT: usize = 1;

/// The name of one connected socket of this host, good as long as that socket lives and for no other after it. It keeps
/// nothing open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Protocol.
    pub transport: Transport,
    /// Where it is bound.
    pub own: SocketAddr,
    /// Where it leads.
    pub peer: SocketAddr,
    /// The kernel's number for it, which no other socket gets (`SO_COOKIE`).
    pub cookie: u64,
}

impl Connection {
    /// The name of `socket`.
    ///
    /// # Errors
    /// When it is not connected, or not over IP.
    pub fn of(socket: impl AsFd, transport: Transport) -> io::Result<Connection> {
        let odd = || io::Error::new(io::ErrorKind::InvalidInput, "a socket that is not one of IP");
        let own = SocketAddr::try_from(getsockname(&socket)?).map_err(|_| odd())?;
        let peer = getpeername(&socket)?.ok_or(io::ErrorKind::NotConnected)?;
        let peer = SocketAddr::try_from(peer).map_err(|_| odd())?;
        Ok(Connection { transport, own, peer, cookie: sockopt::socket_cookie(socket)? })
    }

    fn about(&self) -> About {
        let Connection { transport, own, peer, cookie } = *self;
        About { transport, own, peer, cookie }
    }
}

/// Ends connections, whoever has them.
pub trait Ends: Send + Sync {
    /// Ends all of these that there still are, and tells how many there were. Whoever holds one sees it aborted; the
    /// other side of TCP sees it reset.
    ///
    /// # Errors
    /// The last one of the kernel's, once all were tried.
    fn end(&self, all: &[Connection]) -> io::Result<usize>;
}

impl Ends for ThisHost {
    fn end(&self, all: &[Connection]) -> io::Result<usize> {
        let diag = Diag::open()?;
        let (mut ended, mut failure) = (0, None);
        for connection in all {
            match diag.ask(DESTROY, REQUEST | ACK, &connection.about()) {
                Ok(found) => ended += usize::from(found.is_some()),
                Err(cause) => failure = Some(cause),
            }
        }
        failure.map_or(Ok(ended), Err)
    }
}

/// Which of these there still are. One that only waits for its last packets is gone.
///
/// # Errors
/// When the kernel does not tell.
pub fn standing(all: &[Connection]) -> io::Result<Vec<bool>> {
    let diag = Diag::open()?;
    let stands = |connection: &Connection| {
        let found = diag.ask(BY_FAMILY, REQUEST, &connection.about())?;
        Ok(found.is_some_and(|body| body.get(STATE_AT) != Some(&TIME_WAIT)))
    };
    all.iter().map(stands).collect()
}

/// Whether this process may end connections of others: tried on one of its own, because rights, the kernel's configuration
/// and the namespace all have a say.
pub fn may_end() -> bool {
    let trial = || -> io::Result<bool> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        Ok(ThisHost.end(&[Connection::of(&stream, Transport::Tcp)?])? == 1)
    };
    trial().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn ends_a_connection_where_it_may() {
        if !may_end() {
            return println!("skipped: the kernel does not let this user end connections");
        }
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else {
                println!("skipped: this host has no {at}");
                continue;
            };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let _server = listener.accept().unwrap();
            let name = Connection::of(&client, Transport::Tcp).unwrap();
            let other = Connection { cookie: name.cookie + 1, ..name };
            assert_eq!(ThisHost.end(&[other]).unwrap(), 0, "it is not that one");
            assert_eq!(standing(&[name, other]).unwrap(), [true, false]);
            assert_eq!(ThisHost.end(&[other, name]).unwrap(), 1);
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(standing(&[name]).unwrap(), [false]);
            assert_eq!(ThisHost.end(&[name]).unwrap(), 0, "it is gone");
        }
    }

    #[test]
    fn takes_the_peer_from_a_socket_of_datagrams() {
        if !may_end() {
            return println!("skipped: the kernel does not let this user end connections");
        }
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        let name = Connection::of(&one, Transport::Udp).unwrap();
        match ThisHost.end(&[name]) {
            Ok(ended) => assert_eq!(ended, 1),
            Err(cause) => return println!("skipped: this kernel ends no sockets of datagrams: {cause}"),
        }
        assert_eq!(one.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(one.send(b"x").is_err());
    }
}
