//! Addresses and networks of this host's interfaces: `getifaddrs(3)`.

use std::ffi::CStr;
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

/// A network that an interface of this host is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The interface.
    pub interface: String,
    /// This host's address there.
    pub address: IpAddr,
    /// How many bits of it all hosts there share.
    pub prefix: u8,
}

/// Addresses assigned to interfaces, loopback included, sorted, each once.
///
/// # Errors
/// What `getifaddrs` says.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    // SAFETY: the entry's address is null or a socket address of the family that it states.
    let mut found = each(|entry| unsafe { address(entry.ifa_addr) })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Networks in which this host has neighbours: of interfaces that are up, without loopback and without lines that have
/// one other end.
///
/// # Errors
/// What `getifaddrs` says.
pub fn networks() -> io::Result<Vec<Network>> {
    each(|entry| {
        let flags = entry.ifa_flags as i32;
        if flags & libc::IFF_UP == 0 || flags & (libc::IFF_LOOPBACK | libc::IFF_POINTOPOINT) != 0 {
            return None;
        }
        // SAFETY: both are null or socket addresses of the families that they state, and the name ends with a zero byte.
        let (address, mask, name) = unsafe {
            (address(entry.ifa_addr)?, address(entry.ifa_netmask)?, CStr::from_ptr(entry.ifa_name))
        };
        let prefix = match mask {
            IpAddr::V4(mask) => mask.to_bits().count_ones(),
            IpAddr::V6(mask) => mask.to_bits().count_ones(),
        };
        Some(Network { interface: name.to_string_lossy().into_owned(), address, prefix: prefix as u8 })
    })
}

/// What is made of each entry of the list.
fn each<T>(make: impl Fn(&libc::ifaddrs) -> Option<T>) -> io::Result<Vec<T>> {
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
        found.extend(make(entry));
        at = entry.ifa_next;
    }
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

    #[test]
    fn networks_are_those_of_its_own_addresses_and_loopback_is_none() {
        let own = addresses().unwrap();
        for network in networks().unwrap() {
            assert!(own.contains(&network.address) && !network.address.is_loopback(), "{network:?}");
            assert!(network.prefix <= if network.address.is_ipv4() { 32 } else { 128 }, "{network:?}");
        }
    }
}
