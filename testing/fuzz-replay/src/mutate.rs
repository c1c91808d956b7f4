//! Bounded, seeded mutations of an input: what a coverage-guided fuzzer would do blindly.

use fastrand::Rng;

/// Longest input that is made; parsers have limits of their own well below.
const LONGEST: usize = 64 * 1024;

/// Values that parsers of lengths and counts get wrong.
const EDGES: [u8; 8] = [0x00, 0x01, 0x3f, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/// Every prefix of an input, up to `most` of them, spread evenly.
pub fn truncations(input: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let step = input.len().div_ceil(most.max(1)).max(1);
    (0..input.len()).step_by(step).map(|end| &input[..end])
}

/// One to eight small damages to a copy of `input`; `other` lends bytes.
pub fn mutate(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..=8) {
        damage(rng, &mut bytes, other);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = rng.usize(0..=bytes.len());
    match rng.u8(0..7) {
        0 => flip_bit(rng, bytes),
        1 => replace(bytes, at, EDGES[rng.usize(0..EDGES.len())]),
        2 => replace(bytes, at, rng.u8(..)),
        3 => bytes.insert(at, rng.u8(..)),
        4 => drop(bytes.drain(at..(at + rng.usize(0..=8)).min(bytes.len()))),
        5 => repeat(rng, bytes, at),
        _ => splice(rng, bytes, at, other),
    }
}

fn flip_bit(rng: &mut Rng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let at = rng.usize(0..bytes.len());
        bytes[at] ^= 1 << rng.u8(0..8);
    }
}

fn replace(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// Repeats a run, for nesting and lists.
fn repeat(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let run: Vec<u8> = bytes[at..(at + rng.usize(0..=16)).min(bytes.len())].to_vec();
    let times = rng.usize(1..=64);
    bytes.splice(at..at, run.repeat(times));
}

/// Puts a run of another input here.
fn splice(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize, other: &[u8]) {
    let from = rng.usize(0..=other.len());
    let to = rng.usize(from..=other.len());
    bytes.splice(at..at, other[from..to].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::{mutate, truncations};
    use fastrand::Rng;

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let once = |seed| mutate(&mut Rng::with_seed(seed), b"some input", b"another");
        assert_eq!(once(7), once(7));
        assert!((0..50).any(|seed| once(seed) != b"some input"));
    }

    #[test]
    fn prefixes_are_bounded() {
        assert_eq!(truncations(b"abc", 10).count(), 3);
        assert!(truncations(&[0; 10_000], 100).count() <= 100);
        assert_eq!(truncations(b"", 10).count(), 0);
    }
}
