//! Listening sockets that are handed from one program to the next at its start: sd_listen_fds(3).
//!
//! `LISTEN_PID` says for whom they are, `LISTEN_FDS` how many, `LISTEN_FDNAMES` what they are for; the first is
//! descriptor 3.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Where they begin.
const FIRST: RawFd = 3;
/// More than anybody hands over.
const MOST: RawFd = 64;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// What was handed to this process, by name; nothing when it was for another, and nothing the second time. All are
/// close-on-exec from here on.
pub fn inherited() -> Vec<(String, OwnedFd)> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0).min(MOST);
    if !is_ours || count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let named = (FIRST..FIRST + count).map(|at| (names.next().unwrap_or_default().to_owned(), at));
    named.filter_map(|(name, at)| Some((name, take(at)?))).collect()
}

/// A descriptor that is open, and ours by the word of whoever started us.
fn take(at: RawFd) -> Option<OwnedFd> {
    // SAFETY: only asks about the number; a descriptor that is not open is answered with an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(at) };
    let flags = fcntl_getfd(borrowed).ok()?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, was handed to this process for its own (LISTEN_PID), and is taken here alone and once.
    Some(unsafe { OwnedFd::from_raw_fd(at) })
}

/// Puts a socket where the program that this process is about to become looks for it. Whatever was there is closed.
///
/// # Errors
/// The kernel's.
pub fn hand_on(socket: BorrowedFd<'_>) -> io::Result<()> {
    if socket.as_raw_fd() == FIRST {
        return Ok(fcntl_setfd(socket, FdFlags::empty())?);
    }
    // SAFETY: dup2 takes two numbers. What is replaced belongs to nobody: the caller is about to exec, and has opened
    // nothing that it still needs.
    match unsafe { libc::dup2(socket.as_raw_fd(), FIRST) } {
        FIRST => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
