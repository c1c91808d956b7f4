//! Unix sockets that descriptors travel over, and sockets that are reached without trusting their path.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, socketpair,
};

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// Who is at the other end of a Unix socket, by the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Process id, for show alone: it may belong to somebody else by the time that it is looked at.
    pub pid: i32,
    /// User id at the time of the connection.
    pub uid: u32,
    /// Group id at the time of the connection.
    pub gid: u32,
}

/// How a Unix socket keeps what is written to it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes (`SOCK_STREAM`).
    Stream,
    /// Datagrams, with an end (`SOCK_SEQPACKET`).
    Packets,
    /// Datagrams (`SOCK_DGRAM`).
    Datagrams,
}

impl Kind {
    fn number(self) -> SocketType {
        match self {
            Kind::Stream => SocketType::STREAM,
            Kind::Packets => SocketType::SEQPACKET,
            Kind::Datagrams => SocketType::DGRAM,
        }
    }
}

const QUIET: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Who is at the other end (`SO_PEERCRED`).
///
/// # Errors
/// The kernel's, when this is no connected Unix socket.
pub fn caller(socket: impl AsFd) -> io::Result<Caller> {
    let who = socket_peercred(socket)?;
    let pid = who.pid.as_raw_nonzero().get();
    Ok(Caller { pid, uid: who.uid.as_raw(), gid: who.gid.as_raw() })
}

/// Listens for packets (`SOCK_SEQPACKET`) at `path`, for those whom `mode` admits; does not block. A socket that
/// nobody answers on any more is replaced; one that somebody answers on is not.
///
/// # Errors
/// The kernel's.
pub fn listen_seqpacket(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    listen_unix(path, mode, SocketType::SEQPACKET)
}

/// The same for streams (`SOCK_STREAM`).
///
/// # Errors
/// The kernel's.
pub fn listen_stream(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    listen_unix(path, mode, SocketType::STREAM)
}

fn listen_unix(path: &Path, mode: u32, kind: SocketType) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let is_dead = || {
        let probe = socket_with(AddressFamily::UNIX, kind, QUIET, None)?;
        io::Result::Ok(connect(&probe, &address) == Err(rustix::io::Errno::CONNREFUSED))
    };
    if is_socket && is_dead()? {
        std::fs::remove_file(path)?;
    }
    let socket = socket_with(AddressFamily::UNIX, kind, QUIET, None)?;
    bind(&socket, &address)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to a socket of packets; the connection blocks.
///
/// # Errors
/// The kernel's.
pub fn seqpacket(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The next connection of a listening socket; it does not block.
///
/// # Errors
/// The kernel's, `WouldBlock` among them.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::net::accept_with(listener, QUIET)?)
}

/// Both ends of a connection that has no address; neither blocks.
///
/// # Errors
/// The kernel's: no descriptors left.
pub fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, kind.number(), QUIET, None)?)
}

/// Connects to a stream socket by its path without ever waiting; the connection does not block.
///
/// # Errors
/// The kernel's; [`io::ErrorKind::WouldBlock`] when as many wait for its owner already as it lets wait.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, QUIET, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Holds on to the socket `name` in the folder `within`, without following a link there: what is held is that
/// socket, whatever the name means later.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is no socket; else the kernel's.
pub fn hold(within: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(within, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&held)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is something else than a socket"));
    }
    Ok(held)
}

/// Connects to a socket that is held (see [`hold`]), as [`connect_unix`] does.
///
/// # Errors
/// As [`connect_unix`].
pub fn connect_held(held: impl AsFd) -> io::Result<OwnedFd> {
    connect_unix(Path::new(&format!("/proc/self/fd/{}", held.as_fd().as_raw_fd())))
}

/// Bytes that were written to a Unix stream and not read at the other end (`SIOCOUTQ`, as the kernel counts them:
/// with what surrounds them; 0 says that all was read).
///
/// # Errors
/// The kernel's.
pub fn unread(socket: impl AsFd) -> io::Result<usize> {
    let mut waiting: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed and so open, and SIOCOUTQ (TIOCOUTQ by its other name) writes one int to
    // where the pointer points, which is one.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(waiting).unwrap_or_default())
}

/// Reads of a socket that blocks wait no longer than this.
///
/// # Errors
/// The kernel's.
pub fn set_receive_timeout(socket: impl AsFd, limit: std::time::Duration) -> io::Result<()> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    Ok(set_socket_timeout(socket, Timeout::Recv, Some(limit))?)
}

/// Makes the reads and writes of a descriptor wait, or not: most programs expect those that they are handed to.
///
/// # Errors
/// The kernel's.
pub fn set_blocking(descriptor: BorrowedFd<'_>, blocking: bool) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, !blocking)?)
}

/// The folder at `path`, for [`hold`]; the last part of the path may not be a link.
///
/// # Errors
/// The kernel's.
pub fn folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}
