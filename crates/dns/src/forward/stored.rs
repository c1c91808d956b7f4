//! Another server's answer, taken apart as far as it must be to be kept and given again.

use std::time::Duration;

use crate::guard::cookie::{self, OPTION_LENGTH};
use crate::slow::Envelope;
use crate::wire::question::Question;
use crate::wire::{HEADER, OPT_LENGTH, rtype, u16_at};

/// Most records of an answer.
const MOST_RECORDS: usize = 1024;
/// How long a failure is kept (RFC 9520 section 3.2).
const FAILURE: Duration = Duration::from_secs(2);
/// Longest that "no such name" is kept, whatever its zone says (RFC 2308 section 5).
const LONGEST_NEGATIVE: Duration = Duration::from_secs(15 * 60);
/// Header bits, in its third and fourth byte.
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RESPONSE: u8 = 0x80;
const RECURSION_AVAILABLE: u8 = 0x80;
const AUTHENTIC: u8 = 0x20;
const CHECKING_DISABLED: u8 = 0x10;

/// An answer without its OPT record, which is between two neighbours only (RFC 6891 section 6.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Header, question, records.
    bytes: Box<[u8]>,
    /// Where times to live stand.
    ttls: Box<[u16]>,
    /// Response code, its upper bits included.
    code: u16,
    /// How long it may be given again.
    pub(crate) lifetime: Duration,
}

/// One record's place.
struct Record {
    kind: u16,
    /// Where the time to live stands; class and type before it, length and data behind it.
    ttl_at: usize,
    data: std::ops::Range<usize>,
}

impl Stored {
    /// Takes a whole answer apart whose question ends at `question_end`. `None` when it is cut short or a length in
    /// it lies.
    pub(crate) fn read(answer: &[u8], question_end: usize) -> Option<Stored> {
        let header: &[u8; HEADER] = answer.first_chunk()?;
        if header[2] & TRUNCATED != 0 {
            return None;
        }
        let counts = [6, 8, 10].map(|at| u16_at(answer, at).unwrap_or(0));
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        if total > MOST_RECORDS {
            return None;
        }
        let mut stored = Stored {
            bytes: Box::default(),
            ttls: Box::default(),
            code: u16::from(header[3] & 0x0f),
            lifetime: Duration::ZERO,
        };
        let (mut at, mut ttls, mut least, mut negative) = (question_end, Vec::new(), u32::MAX, None);
        let mut kept = [0u16; 3];
        'sections: for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let record = read_record(answer, at)?;
                if record.kind == rtype::OPT {
                    stored.code |= u16::from(*answer.get(record.ttl_at)?) << 4;
                    // What stands behind it is additional, and nobody misses that.
                    break 'sections;
                }
                let ttl = ttl_at(answer, record.ttl_at)?;
                ttls.push(u16::try_from(record.ttl_at).ok()?);
                least = least.min(ttl);
                if section == 1 && record.kind == rtype::SOA {
                    let minimum = record.data.end.checked_sub(4).filter(|at| *at >= record.data.start)?;
                    negative = Some(ttl.min(ttl_at(answer, minimum)?));
                }
                kept[section] += 1;
                at = record.data.end;
            }
        }
        stored.bytes = answer.get(..at)?.into();
        for (place, count) in [6, 8, 10].into_iter().zip(kept) {
            stored.bytes[place..place + 2].copy_from_slice(&count.to_be_bytes());
        }
        stored.ttls = ttls.into();
        stored.lifetime = match (stored.code, kept[0]) {
            (0, 1..) => Duration::from_secs(least.into()),
            // Without a start of authority nobody knows how long (RFC 2308 section 5).
            (0 | 3, _) => Duration::from_secs(negative.unwrap_or(0).into()).min(LONGEST_NEGATIVE),
            _ => FAILURE,
        };
        Some(stored)
    }

    /// How much memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + 2 * self.ttls.len()
    }

    /// Response code, its upper bits included.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// The answer to `packet`, so many seconds after it came. True with it when it had to be cut short.
    pub(crate) fn answer(
        &self,
        packet: &[u8],
        question: &Question,
        age_s: u32,
        our_size: u16,
        envelope: &Envelope,
    ) -> (Vec<u8>, bool) {
        let option = envelope.cookie.map_or(0, |_| OPTION_LENGTH);
        let opt = question.edns.map_or(0, |_| OPT_LENGTH + option);
        let mut out = self.bytes.to_vec();
        // The client's own letters: the same name, whatever their case.
        out[HEADER..question.end].copy_from_slice(&packet[HEADER..question.end]);
        for at in &self.ttls {
            let at = usize::from(*at);
            let ttl = ttl_at(&self.bytes, at).unwrap_or(0).saturating_sub(age_s);
            out[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        let truncated = out.len() + opt > envelope.limit;
        if truncated {
            out.truncate(question.end);
            out[6..12].fill(0);
        }
        let wants_authentic = packet[3] & AUTHENTIC != 0 || question.edns.is_some_and(|edns| edns.dnssec_ok);
        let authentic = if wants_authentic { out[3] & AUTHENTIC } else { 0 };
        out[..2].copy_from_slice(&packet[..2]);
        out[2] = RESPONSE | packet[2] & RECURSION_DESIRED | if truncated { TRUNCATED } else { 0 };
        out[3] = RECURSION_AVAILABLE | authentic | packet[3] & CHECKING_DISABLED | (self.code & 0x0f) as u8;
        if let Some(edns) = question.edns {
            let additionals = u16_at(&out, 10).unwrap_or(0) + 1;
            out[10..12].copy_from_slice(&additionals.to_be_bytes());
            let [high, low] = our_size.to_be_bytes();
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            let upper = (self.code >> 4) as u8;
            out.extend([0, 0, rtype::OPT as u8, high, low, upper, 0, flags, 0, 0, option as u8]);
            if let Some(served) = envelope.cookie {
                out.extend([0, cookie::OPTION as u8, 0, served.bytes.len() as u8]);
                out.extend(served.bytes);
            }
        }
        (out, truncated)
    }
}

/// The record at `at`; `None` when it does not fit into the message.
fn read_record(message: &[u8], at: usize) -> Option<Record> {
    let fixed = skip_name(message, at)?;
    let length = usize::from(u16_at(message, fixed + 8)?);
    let data = fixed + 10..fixed + 10 + length;
    message.get(data.clone())?;
    Some(Record { kind: u16_at(message, fixed)?, ttl_at: fixed + 4, data })
}

/// Where a name ends. A pointer is its end: whoever reads the name follows it, and nobody does here.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let pointer = usize::from(u16_at(message, at)? & 0x3fff);
                return (pointer < at).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start > 255 {
            return None;
        }
    }
}

/// Seconds; one with the top bit set is zero (RFC 2181 section 8).
fn ttl_at(message: &[u8], at: usize) -> Option<u32> {
    let seconds = u32::from_be_bytes(*message.get(at..)?.first_chunk()?);
    Some(if seconds > i32::MAX as u32 { 0 } else { seconds })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The answer to `a.` type A, with records written as bytes.
    pub(in crate::forward) fn answer(flags: [u8; 2], counts: [u16; 3], records: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, flags[0] | 0x80, flags[1], 0, 1];
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        bytes.extend(records);
        bytes
    }

    pub(in crate::forward) const END: usize = HEADER + 7;
    const A: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x01";
    const SOA: &[u8] =
        b"\0\0\x06\0\x01\0\0\x0e\x10\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x3c";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\x01\0\0\0\0\0";

    fn lifetime(flags: [u8; 2], counts: [u16; 3], records: &[&[u8]]) -> Option<u64> {
        Stored::read(&answer(flags, counts, &records.concat()), END).map(|stored| stored.lifetime.as_secs())
    }

    #[test]
    fn what_is_kept_and_for_how_long() {
        assert_eq!(lifetime([0, 0], [1, 0, 0], &[A]), Some(30));
        assert_eq!(lifetime([0, 0], [1, 1, 0], &[A, SOA]), Some(30), "the least");
        assert_eq!(lifetime([0, 3], [0, 1, 0], &[SOA]), Some(60), "the zone's own word");
        assert_eq!(lifetime([0, 0], [0, 1, 0], &[SOA]), Some(60), "no such type");
        assert_eq!(lifetime([0, 3], [0, 0, 0], &[]), Some(0), "nobody knows how long");
        assert_eq!(lifetime([0, 2], [0, 0, 0], &[]), Some(2));
        assert_eq!(lifetime([2, 0], [1, 0, 0], &[A]), None, "cut short");
        let mut years = A.to_vec();
        years[6] = 0x80;
        assert_eq!(lifetime([0, 0], [1, 0, 0], &[&years]), Some(0), "a negative time");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for cut in 1..A.len() {
            assert_eq!(lifetime([0, 0], [1, 0, 0], &[&A[..cut]]), None, "{cut}");
        }
        assert_eq!(lifetime([0, 0], [2, 0, 0], &[A]), None);
        assert_eq!(lifetime([0, 0], [u16::MAX, u16::MAX, u16::MAX], &[A]), None);
        assert_eq!(lifetime([0, 0], [1, 0, 0], &[b"\xc0\x13", &A[2..]]), None, "a pointer to itself");
        assert_eq!(lifetime([0, 0], [1, 0, 0], &[b"\x40\x13", &A[2..]]), None);
    }

    #[test]
    fn the_other_servers_opt_stays_here() {
        let stored = Stored::read(&answer([0, 0], [1, 0, 1], &[A, OPT].concat()), END).unwrap();
        assert_eq!((stored.bytes.len(), stored.code), (END + A.len(), 16));
        assert_eq!(stored.bytes[6..12], [0, 1, 0, 0, 0, 0]);
    }
}
