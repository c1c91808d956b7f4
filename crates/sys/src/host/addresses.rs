//! Addresses of this host's interfaces: `getifaddrs(3)`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// The list that the C library allocated, freed when dropped.
struct Interfaces(*mut libc::ifaddrs);

impl Drop for Interfaces {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `getifaddrs` and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// Addresses assigned to interfaces, loopback included, sorted, each once.
///
/// # Errors
/// What `getifaddrs` says.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = ptr::null_mut();
    // SAFETY: `first` is a valid place for the list's head.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = Interfaces(first);
    let mut found = Vec::new();
    let mut at = list.0;
    while !at.is_null() {
        // SAFETY: `at` is an entry of the list, which lives until `list` is dropped.
        let entry = unsafe { &*at };
        // SAFETY: the entry's address is null or a socket address of the family that it states.
        found.extend(unsafe { address(entry.ifa_addr) });
        at = entry.ifa_next;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// # Safety
/// `name` is null or points to a socket address as large as its family demands.
unsafe fn address(name: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: by the contract above.
    unsafe {
        match i32::from(name.as_ref()?.sa_family) {
            libc::AF_INET => {
                let v4 = &*name.cast::<libc::sockaddr_in>();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                Some(Ipv6Addr::from((*name.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_loopback() {
        assert!(addresses().unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
