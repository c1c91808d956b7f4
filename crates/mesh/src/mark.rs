//! A hint in a link's first packet that it is for data, so that whoever accepts it serves it on the right runtime:
//! what a link is for is said in its greeting, and by then it lives somewhere.
//!
//! The hint is the beginning of the connection id that the dialler makes up for the other end (RFC 9000, section
//! 7.2: at least eight bytes that nobody can guess; here sixteen). Without it, or with a false one, a link works as
//! well, and costs the other kind some time.

use quinn::ConnectionId;
use ring::rand::{SecureRandom as _, SystemRandom};

const DATA: [u8; 4] = *b"data";

/// An id of a data link's first packets.
pub(crate) fn data() -> ConnectionId {
    let mut id = [0; 20];
    let (hint, random) = id.split_at_mut(DATA.len());
    hint.copy_from_slice(&DATA);
    // Where there is no randomness, TLS says so a moment later.
    let _ = SystemRandom::new().fill(random);
    ConnectionId::new(&id)
}

pub(crate) fn is_data(id: &ConnectionId) -> bool {
    id.starts_with(&DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_seen_and_the_rest_is_new_each_time() {
        assert!(is_data(&data()));
        assert_ne!(data(), data());
        assert!(!is_data(&ConnectionId::new(b"dat")));
        assert!(!is_data(&ConnectionId::new(&[0; 20])));
    }
}
