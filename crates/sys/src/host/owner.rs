//! Whose a TCP socket on this host is.

use std::io;
use std::net::SocketAddr;

use super::Transport;
use super::diag::{ANY_COOKIE, About, BY_FAMILY, Diag, REQUEST};

/// Where `idiag_uid` stands in `struct inet_diag_msg`: 4 bytes of families and states, the id, expires, two queues.
const UID_AT: usize = 4 + 48 + 12;

/// The user that owns the TCP socket which is bound to `own` and connected to `peer`, both as that socket sees it.
/// `None` when there is no such socket here: it is another host's, or in another network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn owner(own: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
    let about = About { transport: Transport::Tcp, own, peer, cookie: ANY_COOKIE };
    let Some(body) = Diag::open()?.ask(BY_FAMILY, REQUEST, &about)? else { return Ok(None) };
    let uid = body.get(UID_AT..UID_AT + 4).and_then(|bytes| bytes.try_into().ok());
    uid.map(|uid| Some(u32::from_ne_bytes(uid)))
        .ok_or_else(|| io::Error::other("ask for the owner of a socket: the answer is too short"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn tells_whose_a_connection_is() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else {
                println!("skipped: this host has no {at}");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (own, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(owner(own, peer).unwrap(), Some(rustix::process::geteuid().as_raw()));
            drop(client);
            let (stranger, nobody) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
            assert_eq!(owner(stranger, nobody).unwrap(), None);
        }
    }
}
