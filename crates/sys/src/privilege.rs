//! What the kernel lets this process do (capabilities(7)), and giving it up.

use std::io;

use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities};

/// True when this thread may change the network of its host (CAP_NET_ADMIN).
pub fn may_change_network() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// True when this thread may listen on ports under 1024 (CAP_NET_BIND_SERVICE).
pub fn may_take_low_ports() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_BIND_SERVICE))
}

/// Gives CAP_NET_ADMIN up for good, for the calling thread and for all that it starts: to be called before there
/// are others.
///
/// # Errors
/// The kernel's.
pub fn give_up_network() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::NET_ADMIN);
    }
    // What is started later must not get it back. Only root could, and only root may and need say so.
    if let Err(cause) = remove_capability_from_bounding_set(CapabilitySet::NET_ADMIN)
        && cause != rustix::io::Errno::PERM
    {
        return Err(cause.into());
    }
    // The ambient set follows: it never holds what the others lack.
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_gone() {
        std::thread::spawn(|| {
            give_up_network().unwrap();
            assert!(!may_change_network());
        })
        .join()
        .unwrap();
    }
}
