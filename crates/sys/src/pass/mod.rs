//! Descriptors that travel between processes: `SCM_RIGHTS` over Unix sockets, with the words they come with.
//!
//! [`Passing`] is what a protocol is written against: [`send`] and [`receive`] on a socket of the kernel's, and a
//! [`Script`] in tests. What this module promises of every exchange:
//!
//! - descriptors that arrive are close-on-exec from the first moment, and each of them is in the [`Packet`] or closed;
//! - a packet whose descriptors or bytes did not all fit (`MSG_CTRUNC`, `MSG_TRUNC`) is an error and never half a
//!   packet: descriptors get lost when this process may not have more, or when a security module says no.

mod found;
mod script;
mod socket;
mod waiting;

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

pub use found::{Found, UnixAddress, found};
pub use script::Script;
pub use socket::{
    Caller, Kind, accept, caller, connect_held, connect_unix, folder, hold, listen_seqpacket, listen_stream,
    pair, seqpacket, set_blocking, set_receive_timeout, unread,
};
pub use waiting::Socket;

/// Most descriptors that one packet may carry here. More are an error for whoever sent them.
pub const MOST_DESCRIPTORS: usize = 4;

/// What arrived in one piece.
#[derive(Debug, Default)]
pub struct Packet {
    /// How many bytes are in the buffer; 0 means that the other side has ended.
    pub length: usize,
    /// Descriptors, in the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a packet is not to be used. Whatever came with it is closed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Some descriptors did not arrive.
    #[error(
        "descriptors were lost on the way: more than {MOST_DESCRIPTORS} came at once, or this process may have no more"
    )]
    DescriptorsLost,
    /// The packet is longer than the buffer.
    #[error("a packet is longer than the {0} bytes that are allowed")]
    TooLong(usize),
    /// The socket failed; `WouldBlock` among others.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// One side of a connection over which packets with descriptors travel. Calls do not wait on a socket that does
/// not block: they say `WouldBlock`.
pub trait Passing {
    /// Takes the next packet into `buffer`.
    ///
    /// # Errors
    /// [`ReceiveError`].
    fn receive(&self, buffer: &mut [u8]) -> Result<Packet, ReceiveError>;

    /// Sends a packet; says how many of its bytes were taken, which on `SOCK_SEQPACKET` is all of them. The
    /// descriptors travel with the first byte.
    ///
    /// # Errors
    /// The socket's; never `SIGPIPE`.
    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize>;
}

/// Sockets of the kernel's.
impl<S: AsFd> Passing for S {
    fn receive(&self, buffer: &mut [u8]) -> Result<Packet, ReceiveError> {
        receive(self.as_fd(), buffer)
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        send(self.as_fd(), bytes, descriptors)
    }
}

/// Takes one packet (`SOCK_SEQPACKET`), or what is there (`SOCK_STREAM`).
///
/// # Errors
/// [`ReceiveError`].
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, ReceiveError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let room = buffer.len();
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags);
    let message = message.map_err(io::Error::from)?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MOST_DESCRIPTORS {
        return Err(ReceiveError::DescriptorsLost);
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(ReceiveError::TooLong(room));
    }
    Ok(Packet { length: message.bytes, descriptors })
}

/// Sends bytes with descriptors.
///
/// # Errors
/// The kernel's. More than [`MOST_DESCRIPTORS`] are [`io::ErrorKind::InvalidInput`].
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests;
