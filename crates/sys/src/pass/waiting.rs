//! A socket in a tokio runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that does not block, with tokio's word on when it has something.
#[derive(Debug)]
pub struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    /// Registers a socket that does not block with the current runtime.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn register(socket: OwnedFd) -> io::Result<Socket> {
        // SAFETY: the descriptor is owned, so it stays open for as long as the `AsyncFd` has it, and nothing here
        // lends it out in a way that would let it be replaced.
        let registered = unsafe { AsyncFd::register(socket) };
        Ok(Socket(registered?))
    }

    /// Carries `take` out as soon as it does not say [`io::ErrorKind::WouldBlock`] for want of arrivals.
    ///
    /// # Errors
    /// What `take` says.
    pub async fn when_readable<R>(
        &self,
        mut take: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::READABLE, |socket| take(socket.as_fd())).await
    }

    /// Carries `give` out as soon as it does not say [`io::ErrorKind::WouldBlock`] for want of room.
    ///
    /// # Errors
    /// What `give` says.
    pub async fn when_writable<R>(
        &self,
        mut give: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::WRITABLE, |socket| give(socket.as_fd())).await
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
