//! Masking (RFC 6455, section 5.3): the payload, exclusive-or a key of four bytes.

/// Masks or unmasks `bytes`, which begin `at` bytes into the payload.
pub(super) fn apply(key: [u8; 4], at: usize, bytes: &mut [u8]) {
    let mut turned = key;
    turned.rotate_left(at % 4);
    let wide = u64::from_ne_bytes([
        turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3],
    ]);
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(turned.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A key nobody can guess, so that no program decides what a client's bytes look like to what stands between.
pub(super) fn key() -> [u8; 4] {
    use ring::rand::{SecureRandom as _, SystemRandom};
    let mut key = [0; 4];
    if SystemRandom::new().fill(&mut key).is_err() {
        // Only before the kernel has any randomness at all, when no other key would be better.
        key = fastrand::u32(..).to_ne_bytes();
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_a_payload_is_masked_the_same() {
        let payload: Vec<u8> = (0..=255).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let expected: Vec<u8> =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for cut in 0..40 {
            let mut masked = payload.clone();
            let (head, tail) = masked.split_at_mut(cut);
            apply(key, 0, head);
            apply(key, cut, tail);
            assert_eq!(masked, expected, "cut at {cut}");
        }
    }
}
