//! Writes a plain answer into a buffer that belongs to somebody else: header, the client's own question
//! bytes, records whose owner is that question, an optional OPT. Allocates nothing.

use std::net::IpAddr;

use crate::guard::cookie::{self, OPTION_LENGTH, Served};
use crate::wire::question::{Edns, Question};
use crate::wire::{HEADER, OPT_LENGTH, rtype};

/// Owner name of nearly every record: a pointer to the question.
const QUESTION: [u8; 2] = [0xc0, HEADER as u8];
/// Most SRV targets of one answer that get an address record in its additional section.
pub(crate) const MAX_TARGETS: usize = 64;

/// Length of the five numbers at the end of a start of authority; the first is the serial number.
pub(crate) const SOA_NUMBERS: usize = 20;

/// Response codes used here (RFC 1035 section 4.1.1).
pub(crate) mod rcode {
    pub(crate) const NOERROR: u8 = 0;
    pub(crate) const NXDOMAIN: u8 = 3;
    /// RFC 7873 section 8.
    pub(crate) const BADCOOKIE: u16 = 23;
}

/// What an answer ends with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Response code, those that need an OPT record included.
    pub(crate) code: u16,
    /// The client's OPT record, which is answered with ours.
    pub(crate) edns: Option<Edns>,
    /// Both cookies, where the client sent one.
    pub(crate) cookie: Option<Served>,
    /// Largest datagram that we take.
    pub(crate) our_size: u16,
    /// Other names are forwarded for this client.
    pub(crate) recursion: bool,
}

/// An answer as it grows.
pub(crate) struct Writer<'b> {
    out: &'b mut [u8],
    at: usize,
    limit: usize,
    answers: u16,
    authorities: u16,
    additionals: u16,
    truncated: bool,
    /// Bytes kept free for the OPT record.
    opt: usize,
}

impl<'b> Writer<'b> {
    /// Starts an answer of at most `limit` bytes to `packet`. `None` when not even the question fits.
    pub(crate) fn start(
        out: &'b mut [u8],
        packet: &[u8],
        question: &Question,
        limit: usize,
    ) -> Option<Writer<'b>> {
        let opt = question.edns.map_or(0, |edns| OPT_LENGTH + edns.cookie.map_or(0, |_| OPTION_LENGTH));
        let limit = limit.min(out.len()).checked_sub(opt)?;
        if question.end > limit {
            return None;
        }
        out[..question.end].copy_from_slice(&packet[..question.end]);
        let at = question.end;
        Some(Writer { out, at, limit, answers: 0, authorities: 0, additionals: 0, truncated: false, opt })
    }

    /// How many answer records there are.
    pub(crate) fn answers(&self) -> u16 {
        self.answers
    }

    /// True when records were left out.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// An address as answer to the question; false when it does not fit, and then the answer is marked.
    pub(crate) fn address(&mut self, ttl: u32, ip: IpAddr) -> bool {
        if !self.put_address(QUESTION, ttl, ip) {
            self.truncated = true;
            return false;
        }
        self.answers += 1;
        true
    }

    /// A service location (RFC 2782) as answer to the question. `target` writes the uncompressed name and
    /// says how long it is. Returns where that name stands; `None` when it does not fit, and then the
    /// answer is marked.
    pub(crate) fn srv(
        &mut self,
        ttl: u32,
        weight: u16,
        port: u16,
        target: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<u16> {
        let record = self.srv_record(ttl, weight, port, target);
        match record {
            Some(_) => self.answers += 1,
            None => self.truncated = true,
        }
        record
    }

    fn srv_record(
        &mut self,
        ttl: u32,
        weight: u16,
        port: u16,
        target: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<u16> {
        const FIXED: usize = 18;
        let room = self.out.get_mut(self.at..self.limit).filter(|room| room.len() > FIXED)?;
        let length = target(&mut room[FIXED..])?;
        room[..2].copy_from_slice(&QUESTION);
        room[2..10].copy_from_slice(&fixed(rtype::SRV, ttl));
        room[10..12].copy_from_slice(&(length as u16 + 6).to_be_bytes());
        room[12..14].copy_from_slice(&PRIORITY.to_be_bytes());
        room[14..16].copy_from_slice(&weight.to_be_bytes());
        room[16..18].copy_from_slice(&port.to_be_bytes());
        let name = self.at + FIXED;
        self.at = name + length;
        Some(name as u16)
    }

    /// An address in the additional section for the name that stands at `name`; false when it does not fit.
    pub(crate) fn additional_address(&mut self, name: u16, ttl: u32, ip: IpAddr) -> bool {
        let fits = self.put_address((0xc000 | name).to_be_bytes(), ttl, ip);
        self.additionals += u16::from(fits);
        fits
    }

    /// The start of authority that a negative answer carries (RFC 2308). Its owner is what the question
    /// says from byte `owner` of its name on; `data` is the record's data, but for the serial number.
    pub(crate) fn soa(&mut self, owner: usize, ttl: u32, data: &[u8], serial: u32) {
        let end = self.at + 12 + data.len();
        let Some(room) = self.out.get_mut(self.at..end).filter(|_| end <= self.limit) else { return };
        room[..2].copy_from_slice(&(0xc000 | (HEADER + owner) as u16).to_be_bytes());
        room[2..10].copy_from_slice(&fixed(rtype::SOA, ttl));
        room[10..12].copy_from_slice(&(data.len() as u16).to_be_bytes());
        room[12..].copy_from_slice(data);
        let serial_at = room.len() - SOA_NUMBERS;
        room[serial_at..serial_at + 4].copy_from_slice(&serial.to_be_bytes());
        self.at = end;
        self.authorities += 1;
    }

    /// Leaves out whatever stands behind the question, and says so.
    pub(crate) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// Completes header and OPT; returns the answer's length.
    pub(crate) fn finish(mut self, end: End) -> usize {
        let End { code, edns, cookie, our_size, recursion } = end;
        let recursion_desired = self.out[2] & 0x01;
        self.out[2] = 0x84 | if self.truncated { 0x02 } else { 0 } | recursion_desired;
        self.out[3] = (code & 0x0f) as u8 | if recursion { 0x80 } else { 0 };
        self.additionals += u16::from(edns.is_some());
        self.out[6..8].copy_from_slice(&self.answers.to_be_bytes());
        self.out[8..10].copy_from_slice(&self.authorities.to_be_bytes());
        self.out[10..12].copy_from_slice(&self.additionals.to_be_bytes());
        if let Some(edns) = edns {
            let [high, low] = our_size.to_be_bytes();
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            let options = if cookie.is_some() { OPTION_LENGTH as u8 } else { 0 };
            let upper = (code >> 4) as u8;
            let opt = [0, 0, rtype::OPT as u8, high, low, upper, 0, flags, 0, 0, options];
            self.out[self.at..self.at + OPT_LENGTH].copy_from_slice(&opt);
            self.at += OPT_LENGTH;
            if let Some(served) = cookie {
                let option = &mut self.out[self.at..self.at + OPTION_LENGTH];
                option[..4].copy_from_slice(&[0, cookie::OPTION as u8, 0, served.bytes.len() as u8]);
                option[4..].copy_from_slice(&served.bytes);
                self.at += OPTION_LENGTH;
            }
        }
        debug_assert!(self.at <= self.limit + self.opt);
        self.at
    }

    fn put_address(&mut self, owner: [u8; 2], ttl: u32, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.put(owner, rtype::A, ttl, &ip.octets()),
            IpAddr::V6(ip) => self.put(owner, rtype::AAAA, ttl, &ip.octets()),
        }
    }

    #[inline]
    fn put<const N: usize>(&mut self, owner: [u8; 2], kind: u16, ttl: u32, data: &[u8; N]) -> bool {
        let end = self.at + 12 + N;
        if end > self.limit {
            return false;
        }
        let room = &mut self.out[self.at..end];
        room[..2].copy_from_slice(&owner);
        room[2..10].copy_from_slice(&fixed(kind, ttl));
        room[10..12].copy_from_slice(&(N as u16).to_be_bytes());
        room[12..].copy_from_slice(data);
        self.at = end;
        true
    }
}

/// Priority of every SRV record: all endpoints are equal, weights tell them apart.
pub(crate) const PRIORITY: u16 = 1;

/// Type, class IN and time to live, as they stand in a record.
#[inline]
fn fixed(kind: u16, ttl: u32) -> [u8; 8] {
    ((u64::from(kind) << 48) | (1 << 32) | u64::from(ttl)).to_be_bytes()
}
