//! Whose a TCP socket on this host is, and the end of one: `sock_diag(7)`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, then the socket's id.
const BODY: usize = 8 + 48;
/// Where `idiag_uid` stands in `struct inet_diag_msg`: 4 bytes of families and states, the id, expires, two queues.
const UID_AT: usize = 4 + 48 + 12;

/// The user that owns the TCP socket which is bound to `own` and connected to `peer`, both as that socket sees it.
/// `None` when there is no such socket here: it is another host's, or in another network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn owner(own: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
    let (kind, body) = match ask(BY_FAMILY, REQUEST, own, peer) {
        Ok(answer) => answer,
        Err(cause) if is_missing(&cause) => return Ok(None),
        Err(cause) => return Err(cause),
    };
    if kind != BY_FAMILY {
        return Err(io::Error::other(format!("ask for the owner of a socket: an answer of kind {kind}")));
    }
    let uid = body.get(UID_AT..UID_AT + 4).and_then(|bytes| bytes.try_into().ok());
    uid.map(|uid| Some(u32::from_ne_bytes(uid)))
        .ok_or_else(|| io::Error::other("ask for the owner of a socket: the answer is too short"))
}

/// Ends the TCP connection of the socket which is bound to `own` and connected to `peer`, whoever has it: both sides
/// see it reset. False when there is none.
///
/// # Errors
/// The kernel's; above all it asks for `CAP_NET_ADMIN`.
pub fn destroy(own: SocketAddr, peer: SocketAddr) -> io::Result<bool> {
    match ask(DESTROY, REQUEST | ACK, own, peer) {
        Ok(_) => Ok(true),
        Err(cause) if is_missing(&cause) => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn is_missing(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound
}

/// One request about one socket, and the first message of the answer.
fn ask(kind: u16, flags: u16, own: SocketAddr, peer: SocketAddr) -> io::Result<(u16, Vec<u8>)> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let request = request(kind, flags, own, peer)?;
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    read(&socket)
}

fn read(socket: &OwnedFd) -> io::Result<(u16, Vec<u8>)> {
    let mut buffer = [0; 4096];
    // The kernel answers before `sendto` returns, so this never waits.
    let (length, _) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    let message = buffer.get(..length).unwrap_or_default();
    let number = |at: usize| -> Option<[u8; 4]> { message.get(at..at + 4)?.try_into().ok() };
    let short = || io::Error::other("ask about a socket: the answer is too short");
    let kind = u16::from_ne_bytes(message.get(4..6).and_then(|b| b.try_into().ok()).ok_or_else(short)?);
    if kind == ERROR {
        return match i32::from_ne_bytes(number(HEADER).ok_or_else(short)?) {
            0 => Ok((kind, Vec::new())),
            code => Err(io::Error::from_raw_os_error(-code)),
        };
    }
    Ok((kind, message.get(HEADER..).unwrap_or_default().to_vec()))
}

fn request(kind: u16, flags: u16, own: SocketAddr, peer: SocketAddr) -> io::Result<Vec<u8>> {
    let family: u8 = match (own, peer) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => 2,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => 10,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "addresses of two families")),
    };
    let mut bytes = Vec::with_capacity(HEADER + BODY);
    bytes.extend(u32::try_from(HEADER + BODY).unwrap_or(0).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    // IPPROTO_TCP; every state.
    bytes.extend([family, 6, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(own.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for address in [own.ip(), peer.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => octets = v6.octets(),
        }
        bytes.extend(octets);
    }
    // Any interface; no cookie, which is two words of ones.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    Ok(bytes)
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

    #[test]
    fn ends_a_connection_where_it_may() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let (own, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        match destroy(own, peer) {
            Ok(found) => {
                assert!(found);
                let cause = std::io::Read::read(&mut client, &mut [0]).unwrap_err();
                assert_eq!(cause.kind(), io::ErrorKind::ConnectionAborted);
                assert!(!destroy(own, peer).unwrap(), "it is gone");
            }
            Err(cause) => println!("skipped: the kernel does not let this user end connections: {cause}"),
        }
    }
}
