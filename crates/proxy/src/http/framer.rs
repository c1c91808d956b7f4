//! Where HTTP/1 requests begin and end, strictly: what two parsers could read in two ways is refused.
//!
//! A sans-IO scanner that stands before hyper. hyper parses well and leniently: it takes bare line feeds,
//! drops a `Content-Length` beside `Transfer-Encoding`, and tells nobody. Here every byte of a head, a chunk
//! line and a trailer is looked at first, and hyper is handed only what passed. Bodies are skipped by count.

use relay::http::chunks::{Chunks, MostTrailers, Piece};

use super::head;
use super::refusal::Refusal;

/// Sizes that a head must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// Bytes of the whole head, also of a trailer section.
    pub(crate) bytes: usize,
    /// Header fields.
    pub(crate) fields: usize,
}

impl HeadLimits {
    /// The same for a trailer section.
    fn trailers(self) -> MostTrailers {
        MostTrailers { bytes: self.bytes, fields: self.fields }
    }
}

/// How the body that follows a head is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// None, or so many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// So many bytes from the start may be handed on.
    pub(crate) pass: usize,
    /// What comes after them.
    pub(crate) then: Then,
}

/// See [`Scan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: all was examined.
    More,
    /// The beginning of something that is not complete. Scan it again with more behind it.
    Partial,
    /// Something to refuse; the connection ends with it.
    Refused(Refusal),
}

#[derive(Debug)]
enum Phase {
    Head,
    Body(u64),
    Chunks(Chunks),
    /// No HTTP/1 any more: HTTP/2, or an upgraded connection.
    Raw,
}

/// Follows one connection.
#[derive(Debug)]
pub(crate) struct Framer {
    limits: HeadLimits,
    phase: Phase,
    /// Of a partial head: so many bytes have no end in them.
    searched: usize,
    /// True when an empty line was skipped before the head that is awaited.
    blank: bool,
    heads: u64,
}

/// What opens an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Framer {
    /// A framer at the start of a connection.
    pub(crate) fn new(limits: HeadLimits) -> Framer {
        Framer { limits, phase: Phase::Head, searched: 0, blank: false, heads: 0 }
    }

    /// Heads that passed.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// True once the connection turned out to be HTTP/2.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.phase, Phase::Raw)
    }

    /// Bytes that may be read and handed on without looking: what is left of a body of known length.
    pub(crate) fn unexamined(&self) -> u64 {
        match self.phase {
            Phase::Raw => u64::MAX,
            Phase::Body(left) => left,
            Phase::Head | Phase::Chunks(_) => 0,
        }
    }

    /// True between two requests.
    pub(crate) fn awaits_head(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Counts bytes that were handed on without looking.
    pub(crate) fn skip(&mut self, count: u64) {
        if let Phase::Body(left) = &mut self.phase {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.phase = Phase::Head;
            }
        }
    }

    /// Examines `bytes`, which begin where the last scan's `pass` ended.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut pass = 0;
        loop {
            let rest = &bytes[pass..];
            if rest.is_empty() {
                return Scan { pass, then: Then::More };
            }
            let step = match &mut self.phase {
                Phase::Raw => Ok(Some(rest.len())),
                Phase::Head => self.head(rest),
                Phase::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    self.skip(taken as u64);
                    Ok(Some(taken))
                }
                Phase::Chunks(chunks) => {
                    let step = chunks.next(rest, self.limits.trailers());
                    if chunks.is_over() {
                        self.phase = Phase::Head;
                    }
                    step.map(|piece| piece.map(Piece::length)).map_err(Refusal::from)
                }
            };
            match step {
                Ok(Some(taken)) => pass += taken,
                Ok(None) => return Scan { pass, then: Then::Partial },
                Err(refusal) => return Scan { pass, then: Then::Refused(refusal) },
            }
        }
    }

    /// Takes one head; `None` when its end has not come yet.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        if self.heads == 0 && bytes[0] == b'P' {
            if bytes.starts_with(PREFACE) {
                self.phase = Phase::Raw;
                self.heads += 1;
                return Ok(Some(bytes.len()));
            }
            if PREFACE.starts_with(bytes) {
                return Ok(None);
            }
        }
        // One empty line is skipped (RFC 9112 section 2.2): old clients send one after a body.
        match bytes {
            [b'\r'] if !self.blank => return Ok(None),
            [b'\r', b'\n', ..] if !self.blank => {
                self.blank = true;
                return Ok(Some(2));
            }
            _ => {}
        }
        let Some(length) = head::end(bytes, self.searched)? else {
            self.searched = bytes.len();
            return if bytes.len() > self.limits.bytes { Err(Refusal::HeadTooLong) } else { Ok(None) };
        };
        (self.searched, self.blank) = (0, false);
        if length > self.limits.bytes {
            return Err(Refusal::HeadTooLong);
        }
        self.phase = match head::check(&bytes[..length], self.limits)? {
            Framing::Length(0) => Phase::Head,
            Framing::Length(length) => Phase::Body(length),
            Framing::Chunked => Phase::Chunks(Chunks::default()),
        };
        self.heads += 1;
        Ok(Some(length))
    }
}
