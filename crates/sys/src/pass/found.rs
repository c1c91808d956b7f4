//! What a descriptor is that somebody handed to us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, getsockname, socket_with,
};

/// A socket of a kind that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It listens for TCP, there.
    Tcp(SocketAddr),
    /// It listens for streams in this host, there.
    Unix(UnixAddress),
    /// It listens for packets (`SOCK_SEQPACKET`) in this host, there.
    Packets(UnixAddress),
    /// It is connected, in this host.
    Connected,
}

/// Where a Unix socket listens, in the file system or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAddress(SocketAddrUnix);

/// Looks at a descriptor.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is none of these; else the kernel's.
pub fn found(descriptor: impl AsFd) -> io::Result<Found> {
    let odd = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text.to_owned()));
    let (family, kind) = match socket_domain(&descriptor) {
        Ok(family) => (family, socket_type(&descriptor)?),
        Err(rustix::io::Errno::NOTSOCK) => return odd("it is no socket"),
        Err(cause) => return Err(cause.into()),
    };
    let listens = socket_acceptconn(&descriptor)?;
    let name = getsockname(&descriptor)?;
    match family {
        AddressFamily::INET | AddressFamily::INET6 if listens && kind == SocketType::STREAM => {
            SocketAddr::try_from(name).map(Found::Tcp).map_err(|_| io::ErrorKind::InvalidData.into())
        }
        AddressFamily::UNIX if listens => match SocketAddrUnix::try_from(name) {
            Ok(address) if address.is_unnamed() => odd("it listens nowhere that could be connected to"),
            Ok(address) if kind == SocketType::STREAM => Ok(Found::Unix(UnixAddress(address))),
            Ok(address) => Ok(Found::Packets(UnixAddress(address))),
            Err(cause) => Err(cause.into()),
        },
        AddressFamily::UNIX if !listens && getpeername(&descriptor).is_ok() => Ok(Found::Connected),
        _ => odd("it is neither a listening stream socket nor a connected Unix socket"),
    }
}

impl UnixAddress {
    /// Connects without ever waiting; the connection does not block.
    ///
    /// # Errors
    /// As [`super::connect_unix`].
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &self.0)?;
        Ok(socket)
    }

    /// As people write it.
    pub fn show(&self) -> String {
        match (self.0.path(), self.0.abstract_name()) {
            (Some(path), _) => path.to_string_lossy().into_owned(),
            (None, name) => format!("@{}", String::from_utf8_lossy(name.unwrap_or_default())),
        }
    }
}
