//! Queries that the fast path takes.

use crate::guard::cookie::{self, Cookie};
use crate::wire::name::{LowerName, NameError};
use crate::wire::{CLASS_IN, HEADER, OPT_LENGTH, rtype, u16_at};

/// What a plain query asks. Reused from one packet to the next.
#[derive(Debug, Default, Clone)]
pub(crate) struct Question {
    /// Name asked for.
    pub(crate) name: LowerName,
    /// Type asked for.
    pub(crate) qtype: u16,
    /// Where the question section ends in the packet.
    pub(crate) end: usize,
    /// The client's OPT record.
    pub(crate) edns: Option<Edns>,
}

/// What a plain OPT record says (RFC 6891 section 6.1). Options but cookies are read over: none changes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Largest UDP answer that the client takes.
    pub(crate) size: u16,
    /// The DO bit (RFC 3225), which is given back.
    pub(crate) dnssec_ok: bool,
    /// The client's cookie.
    pub(crate) cookie: Option<Cookie>,
}

/// Why a packet is not for the fast path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusual {
    /// Not a query, or shorter than a header: nobody gets an answer to that.
    Drop,
    /// For the slow path to look at.
    Slow,
}

impl Question {
    /// Reads a plain query: opcode QUERY, one question of class IN with an uncompressed name, at most one
    /// OPT record of version 0, nothing behind it.
    pub(crate) fn read(&mut self, packet: &[u8]) -> Result<(), Unusual> {
        let header: &[u8; HEADER] = packet.first_chunk().ok_or(Unusual::Drop)?;
        if header[2] & 0x80 != 0 {
            return Err(Unusual::Drop);
        }
        let opcode_aa_tc = header[2] & 0x7e;
        let counts = [header[4], header[5], header[6], header[7], header[8], header[9], header[10]];
        if opcode_aa_tc != 0 || counts != [0, 1, 0, 0, 0, 0, 0] || header[11] > 1 {
            return Err(Unusual::Slow);
        }
        let taken = self.name.read(&packet[HEADER..]).map_err(|cause| match cause {
            NameError::NotPlain | NameError::Malformed => Unusual::Slow,
        })?;
        let fixed = packet.get(HEADER + taken..HEADER + taken + 4).ok_or(Unusual::Slow)?;
        self.qtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        if u16::from_be_bytes([fixed[2], fixed[3]]) != CLASS_IN {
            return Err(Unusual::Slow);
        }
        self.end = HEADER + taken + 4;
        let rest = &packet[self.end..];
        self.edns = match header[11] {
            0 if rest.is_empty() => None,
            1 => Some(Edns::read(rest).ok_or(Unusual::Slow)?),
            _ => return Err(Unusual::Slow),
        };
        Ok(())
    }
}

impl Edns {
    /// Reads exactly one OPT record of version 0 whose options add up.
    fn read(record: &[u8]) -> Option<Edns> {
        let fixed: &[u8; OPT_LENGTH] = record.first_chunk()?;
        let (kind, version) = (u16::from_be_bytes([fixed[1], fixed[2]]), fixed[6]);
        let options = &record[OPT_LENGTH..];
        let length = usize::from(u16::from_be_bytes([fixed[9], fixed[10]]));
        if fixed[0] != 0 || kind != rtype::OPT || version != 0 || options.len() != length {
            return None;
        }
        let cookie = cookie_in(options).ok()?;
        let (size, dnssec_ok) = (u16::from_be_bytes([fixed[3], fixed[4]]), fixed[7] & 0x80 != 0);
        Some(Edns { size, dnssec_ok, cookie })
    }
}

/// Options whose lengths do not add up, or a cookie as no client may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadOptions;

/// The first cookie among the options of an OPT record; any more are ignored (RFC 7873 section 5.2).
pub(crate) fn cookie_in(mut options: &[u8]) -> Result<Option<Cookie>, BadOptions> {
    let mut found = None;
    while !options.is_empty() {
        let length = u16_at(options, 2).ok_or(BadOptions)?;
        let (option, rest) = options.split_at_checked(4 + usize::from(length)).ok_or(BadOptions)?;
        if found.is_none() && u16_at(option, 0) == Some(cookie::OPTION) {
            found = Some(Cookie::read(&option[4..]).ok_or(BadOptions)?);
        }
        options = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03Web\x03svc\x08internal\0\0\x01\0\x01";

    fn read(packet: &[u8]) -> Result<Question, Unusual> {
        let mut question = Question::default();
        question.read(packet).map(|()| question)
    }

    fn with_opt(opt: &[u8]) -> Vec<u8> {
        let mut packet = PLAIN.to_vec();
        packet[11] = 1;
        packet.extend_from_slice(opt);
        packet
    }

    #[test]
    fn reads_a_plain_query() {
        let question = read(PLAIN).unwrap();
        assert_eq!((question.qtype, question.end, question.edns), (rtype::A, PLAIN.len(), None));
        assert_eq!(format!("{:?}", question.name), "web.svc.internal.");
    }

    #[test]
    fn reads_edns_with_options() {
        let question = read(&with_opt(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x06\0\x0c\0\x02ab")).unwrap();
        assert_eq!(question.edns, Some(Edns { size: 1232, dnssec_ok: true, cookie: None }));
        let question = read(&with_opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x0801234567")).unwrap();
        assert_eq!(question.edns.unwrap().cookie, Cookie::read(b"01234567"));
    }

    #[test]
    fn leaves_the_rest_to_the_slow_path() {
        let opts: [&[u8]; 6] = [
            b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x0a\0\x070123456",
            b"\0\0\x29\x04\xd0\0\x01\0\0\0\0",
            b"\0\0\x29\x04\xd0\0\0\0\0\0\x02\0",
            b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0a\0\x09",
            b"\x01a\0\x29\x04\xd0\0\0\0\0\0",
            b"\0\0\x29",
        ];
        for opt in opts {
            assert_eq!(read(&with_opt(opt)).unwrap_err(), Unusual::Slow, "{opt:?}");
        }
        for (at, byte) in [(2, 0x28), (2, 0x02), (5, 2), (7, 1), (9, 1), (11, 2), (PLAIN.len() - 1, 3)] {
            let mut packet = PLAIN.to_vec();
            packet[at] = byte;
            assert_eq!(read(&packet).unwrap_err(), Unusual::Slow, "byte {at}");
        }
        assert_eq!(read(&[PLAIN, b"x"].concat()).unwrap_err(), Unusual::Slow);
        assert_eq!(read(&PLAIN[..20]).unwrap_err(), Unusual::Slow);
    }

    #[test]
    fn drops_answers_and_scraps() {
        let mut packet = PLAIN.to_vec();
        packet[2] = 0x81;
        assert_eq!(read(&packet).unwrap_err(), Unusual::Drop);
        assert_eq!(read(&PLAIN[..11]).unwrap_err(), Unusual::Drop);
    }
}
