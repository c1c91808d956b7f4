//! Where the body of an endpoint's HTTP/1.1 answer ends (RFC 9112 section 6.3), for those who pass its bytes on as they are
//! and those who take it apart.
//!
//! As careful as hyper's client: what contradicts itself is no answer, and an answer whose end could be read in two
//! ways is the last one of its connection.

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::Frame;

use super::chunks::{self, Chunks, MostTrailers, NotChunks, Piece};

/// Longest head of an answer, in bytes; its trailers may be as long.
pub const MOST_HEAD: usize = 64 * 1024;
/// Most fields of either.
pub const MOST_HEADERS: usize = 256;

const MOST_TRAILERS: MostTrailers = MostTrailers { bytes: MOST_HEAD, fields: MOST_HEADERS };

/// What came is no answer to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what it sent is no answer: {0}")]
pub struct Malformed(pub &'static str);

impl From<NotChunks> for Malformed {
    fn from(why: NotChunks) -> Malformed {
        Malformed(match why {
            NotChunks::BareLineFeed => "a chunk's line ends in a bare line feed",
            NotChunks::Chunk => "a chunk is malformed",
            NotChunks::Field => "a trailer is malformed",
            NotChunks::Forbidden => "a trailer has a field that may only stand in a head",
            NotChunks::TooMany => "its trailers are too long",
        })
    }
}

/// What a head says of its body and of the connection, field by field.
#[derive(Debug, Default)]
pub struct Said {
    /// The value of `Content-Length`.
    pub length: Option<u64>,
    coding: Option<Coding>,
    /// `Connection: close`.
    pub closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Said {
    /// Notes a value of `Content-Length`: one decimal number, however often it is said.
    ///
    /// # Errors
    /// A value that is none, or another one than before.
    pub fn note_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let length = text.and_then(|text| text.parse().ok()).ok_or(Malformed("its length is no number"))?;
        match self.length.replace(length).is_some_and(|before| before != length) {
            true => Err(Malformed("it has two lengths")),
            false => Ok(()),
        }
    }

    /// Notes a value of `Transfer-Encoding`.
    ///
    /// # Errors
    /// Several codings: one within another would be lost, since the client is not told of it.
    pub fn note_coding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let is_chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        let coding = if is_chunked { Coding::Chunked } else { Coding::Other };
        match self.coding.replace(coding).is_some() || value.contains(&b',') {
            true => Err(Malformed("it has several transfer codings")),
            false => Ok(()),
        }
    }

    /// There is a transfer coding: then a length means nothing.
    pub fn is_coded(&self) -> bool {
        self.coding.is_some()
    }

    /// Where the body ends, and whether the connection may be used again. `is_new` says HTTP/1.1, `bodiless` that it answers
    /// `HEAD`.
    pub fn verdict(&self, status: u16, is_new: bool, bodiless: bool) -> (Framing, bool) {
        let framing = match (self.coding, self.length) {
            _ if bodiless || matches!(status, 204 | 304) => Framing::Over,
            (Some(Coding::Chunked), _) if is_new => Framing::Chunked(Chunks::default()),
            (Some(_), _) | (None, None) => Framing::UntilClosed,
            (None, Some(0)) => Framing::Over,
            (None, Some(length)) => Framing::Length(length),
        };
        let is_clear = !(self.is_coded() && self.length.is_some());
        let keeps = is_new && is_clear && !self.closes && !matches!(framing, Framing::UntilClosed);
        (framing, keeps)
    }
}

/// Where a body ends.
#[derive(Debug)]
pub enum Framing {
    /// It has.
    Over,
    /// After so many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked(Chunks),
    /// With the connection.
    UntilClosed,
}

impl Framing {
    /// True when the body has ended.
    pub fn is_over(&self) -> bool {
        matches!(self, Framing::Over)
    }

    /// How many of `bytes` belong to the body; with chunks, less than all of them may be understood yet.
    ///
    /// # Errors
    /// Bytes that are no such body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some(piece) = self.piece(&bytes[taken..])? {
            taken += piece.length();
        }
        Ok(taken)
    }

    /// The next frame that `bytes` begin with, which are taken off them; `None` when it is not complete, or when the body
    /// is over. Trailers are gathered in `trailers` until they are whole.
    ///
    /// # Errors
    /// As [`Framing::take`].
    pub(super) fn frame(
        &mut self,
        bytes: &mut Bytes,
        trailers: &mut HeaderMap,
    ) -> Result<Option<Frame<Bytes>>, Malformed> {
        while let Some(piece) = self.piece(bytes)? {
            match piece {
                Piece::Data(length) => return Ok(Some(Frame::data(bytes.split_to(length)))),
                Piece::Frame(length) => bytes.advance(length),
                Piece::Trailer(length) => {
                    let (name, value) = chunks::trailer(&bytes.split_to(length))?;
                    trailers.append(name, value);
                }
            }
        }
        let is_whole = self.is_over() && !trailers.is_empty();
        Ok(is_whole.then(|| Frame::trailers(std::mem::take(trailers))))
    }

    /// What of the body `bytes` begin with.
    fn piece(&mut self, bytes: &[u8]) -> Result<Option<Piece>, Malformed> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match self {
            Framing::Over => Ok(None),
            Framing::UntilClosed => Ok(Some(Piece::Data(bytes.len()))),
            Framing::Length(length) => {
                let count = usize::try_from(*length).unwrap_or(usize::MAX).min(bytes.len());
                *length -= count as u64;
                if *length == 0 {
                    *self = Framing::Over;
                }
                Ok(Some(Piece::Data(count)))
            }
            Framing::Chunked(chunks) => {
                let piece = chunks.next(bytes, MOST_TRAILERS)?;
                if chunks.is_over() {
                    *self = Framing::Over;
                }
                Ok(piece)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Data and trailers of a chunked body that comes in two parts; what is left of it.
    fn taken(whole: &[u8], cut: usize) -> (Vec<u8>, HeaderMap, Bytes) {
        let (mut body, mut gathered) = (Framing::Chunked(Chunks::default()), HeaderMap::new());
        let (mut data, mut trailers, mut left) = (Vec::new(), HeaderMap::new(), Bytes::new());
        for part in [&whole[..cut], &whole[cut..]] {
            left = [&left[..], part].concat().into();
            while let Some(frame) = body.frame(&mut left, &mut gathered).unwrap() {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                }
            }
        }
        assert!(body.is_over(), "cut at {cut}");
        (data, trailers, left)
    }

    #[test]
    fn chunks_are_followed_however_they_are_cut() {
        let whole = b"5;x=\"y\"\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nmore";
        for cut in 0..whole.len() {
            let (data, trailers, left) = taken(whole, cut);
            assert_eq!((&data[..], &trailers["a"]), (&b"hello!"[..], &HeaderValue::from_static("b")));
            assert_eq!(left, "more");
            let mut body = Framing::Chunked(Chunks::default());
            let first = body.take(&whole[..cut]).unwrap();
            let second = body.take(&whole[first..]).unwrap();
            assert_eq!(first + second, whole.len() - 4, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let of = |lengths: &[&str], coding: Option<&str>, is_new| {
            let mut said = Said::default();
            lengths.iter().for_each(|length| said.note_length(length.as_bytes()).unwrap());
            coding.iter().for_each(|coding| said.note_coding(coding.as_bytes()).unwrap());
            said.verdict(200, is_new, false)
        };
        assert!(matches!(of(&[], Some("Chunked"), true), (Framing::Chunked(_), true)));
        assert!(matches!(of(&[], Some("chunked"), false), (Framing::UntilClosed, false)));
        assert!(matches!(of(&[], Some("gzip"), true), (Framing::UntilClosed, false)));
        assert!(matches!(of(&[], None, true), (Framing::UntilClosed, false)));
        assert!(matches!(of(&["0"], None, true), (Framing::Over, true)));
        assert!(matches!(of(&["4", "4"], None, true), (Framing::Length(4), true)));
        assert!(matches!(of(&["4"], None, false), (Framing::Length(4), false)));
        let both = of(&["4"], Some("chunked"), true);
        assert!(matches!(both, (Framing::Chunked(_), false)), "and never asked again");
    }

    #[test]
    fn what_contradicts_itself_is_no_answer() {
        let mut said = Said::default();
        assert!(said.note_length(b"+1").is_err() && said.note_length(b"").is_err());
        said.note_length(b"1").unwrap();
        assert!(said.note_length(b"2").is_err());
        assert!(said.note_coding(b"gzip, chunked").is_err());
        let mut said = Said::default();
        said.note_coding(b"gzip").unwrap();
        assert!(said.note_coding(b"chunked").is_err());
    }
}
