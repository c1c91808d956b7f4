//! Asking the kernel about one socket: `sock_diag(7)`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::Transport;

/// `SOCK_DIAG_BY_FAMILY`.
pub(super) const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
pub(super) const DESTROY: u16 = 21;
/// `NLM_F_REQUEST` and `NLM_F_ACK`.
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, then the socket's id.
const BODY: usize = 8 + 48;
/// `INET_DIAG_NOCOOKIE`: any socket between these addresses.
pub(super) const ANY_COOKIE: u64 = u64::MAX;

/// Which socket: between these addresses, as it sees them itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) transport: Transport,
    pub(super) own: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) cookie: u64,
}

/// A line to the kernel. What is asked on it is answered before the question has been sent.
#[derive(Debug)]
pub(super) struct Diag(OwnedFd);

impl Diag {
    pub(super) fn open() -> io::Result<Diag> {
        let kind = (AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC);
        Ok(Diag(socket_with(kind.0, kind.1, kind.2, Some(netlink::SOCK_DIAG))?))
    }

    /// One request, and the body of the answer; `None` when there is no such socket here.
    pub(super) fn ask(&self, kind: u16, flags: u16, about: &About) -> io::Result<Option<Vec<u8>>> {
        let request = request(kind, flags, about)?;
        sendto(&self.0, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        match self.read(kind) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn read(&self, asked: u16) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT)?;
        let message = buffer.get(..length).unwrap_or_default();
        let number = |at: usize| -> Option<[u8; 4]> { message.get(at..at + 4)?.try_into().ok() };
        let odd = || io::Error::other("ask about a socket: the answer cannot be read");
        let kind = u16::from_ne_bytes(message.get(4..6).and_then(|b| b.try_into().ok()).ok_or_else(odd)?);
        match kind {
            ERROR => match i32::from_ne_bytes(number(HEADER).ok_or_else(odd)?) {
                0 => Ok(Vec::new()),
                code => Err(io::Error::from_raw_os_error(-code)),
            },
            kind if kind == asked => Ok(message.get(HEADER..).unwrap_or_default().to_vec()),
            _ => Err(odd()),
        }
    }
}

fn request(kind: u16, flags: u16, about: &About) -> io::Result<Vec<u8>> {
    let family: u8 = match (about.own, about.peer) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => 2,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => 10,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "addresses of two families")),
    };
    let protocol = match about.transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    let mut bytes = Vec::with_capacity(HEADER + BODY);
    bytes.extend(u32::try_from(HEADER + BODY).unwrap_or(0).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    // Every state.
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(about.own.port().to_be_bytes());
    bytes.extend(about.peer.port().to_be_bytes());
    for address in [about.own.ip(), about.peer.ip()] {
        let mut octets = [0; 16];
        match address {
            IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => octets = v6.octets(),
        }
        bytes.extend(octets);
    }
    // Any interface. A cookie is two words, the lower one first.
    bytes.extend([0; 4]);
    for word in [about.cookie & u64::from(u32::MAX), about.cookie >> 32] {
        bytes.extend(u32::try_from(word).unwrap_or(u32::MAX).to_ne_bytes());
    }
    Ok(bytes)
}
