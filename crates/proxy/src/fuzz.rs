//! Entries for fuzzing: each takes any bytes and must not panic; what it asserts holds for all of them.

use crate::http::framer::{Framer, HeadLimits, Then};
use crate::http::two::turn::Frames;
use crate::http::{authority, path};

/// A first line: name and rest lie inside the input.
pub fn first_line(bytes: &[u8]) {
    if let Some(line) = crate::first_line::parse(bytes) {
        assert!(!line.name.is_empty() && bytes.ends_with(line.rest));
    }
}

/// A host: its canonical form is its own canonical form.
pub fn host(text: &str) {
    if let Some(once) = authority::host(text) {
        let again = if once.contains(':') { format!("[{once}]") } else { once.to_string() };
        assert_eq!(authority::host(&again).as_deref(), Some(&*once));
    }
}

/// A path: its canonical form is its own canonical form, and has nothing left to resolve.
pub fn canonical_path(text: &str) {
    if let Ok(once) = path::canonical(text) {
        assert_eq!(path::canonical(&once).as_deref(), Ok(&*once));
        assert!(once.starts_with('/') && !once.contains("//"));
        assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
    }
}

/// A connection's bytes: what the framer makes of them does not depend on how they are cut into reads.
pub fn framing(bytes: &[u8], cuts: &[usize]) {
    let whole = follow(bytes, &[]);
    assert_eq!(whole, follow(bytes, cuts));
}

/// An HTTP/2 connection's bytes: what they cost does not depend on how they are cut, and there is always room for some.
pub fn frames(bytes: &[u8], cut: usize, most: usize) {
    let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
    let (mut whole, mut cut) = (Frames::default(), Frames::default());
    let found = whole.follow(bytes, usize::MAX);
    let (first, second) = (cut.follow(first, usize::MAX), cut.follow(second, usize::MAX));
    assert_eq!(found.pass, bytes.len());
    assert_eq!((found.cost, found.bare), (first.cost + second.cost, first.bare + second.bare));
    let (mut rest, mut turns) = (bytes, Frames::default());
    let mut bare = 0;
    while !rest.is_empty() {
        let found = turns.follow(rest, most.max(1));
        assert!(found.pass > 0);
        bare += found.bare;
        rest = &rest[found.pass..];
    }
    assert_eq!(bare, found.bare);
}

/// Bytes passed, heads seen, and whether it ended in a refusal.
fn follow(bytes: &[u8], cuts: &[usize]) -> (usize, u64, bool) {
    let mut framer = Framer::new(HeadLimits { bytes: 4096, fields: 32 });
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let mut passed = 0;
    for end in ends {
        let scan = framer.scan(&bytes[passed..end]);
        passed += scan.pass;
        if let Then::Refused(_) = scan.then {
            return (passed, framer.heads(), true);
        }
    }
    (passed, framer.heads(), false)
}
