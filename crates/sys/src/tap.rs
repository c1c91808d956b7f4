//! Ethernet interfaces whose wire is a file descriptor (`IFF_TAP`): what a test reads from it is what the
//! kernel sends, and what it writes is what the kernel receives.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Makes an interface in the calling thread's network namespace. It goes with the descriptor, which does not
/// block. One read is one frame, without any header of the kernel's, and so is one write.
///
/// # Errors
/// The kernel's: no `/dev/net/tun`, no privilege, a name that is taken. A name that is empty or too long.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is a C struct of a byte array and a union of plain numbers and arrays: all zero is one
    // of its values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no name of an interface: {name:?}"),
        ));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`, which lives until the call returns; the descriptor is
    // open. The kernel writes the name that it gave back into the same struct.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::io::ioctl_fionbio(&file, true)?;
    Ok(file.into())
}
