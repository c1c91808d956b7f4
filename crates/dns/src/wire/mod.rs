//! DNS on the wire, as much of it as the fast path needs (RFC 1035, RFC 6891). Everything else is done on
//! a library's types in `slow`.

pub(crate) mod name;
pub(crate) mod question;
pub(crate) mod writer;

/// Record types by number.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    /// Types that ask for more than one, or for something else than records (RFC 6895 section 3.1).
    pub(crate) const META: std::ops::RangeInclusive<u16> = 128..=255;
}

/// Class `IN`.
pub(crate) const CLASS_IN: u16 = 1;
/// Length of a message's header.
pub(crate) const HEADER: usize = 12;
/// Length of an OPT record without options.
pub(crate) const OPT_LENGTH: usize = 11;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}
