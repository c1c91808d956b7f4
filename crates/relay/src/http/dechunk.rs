//! Chunks of an endpoint's answer taken apart, strictly (RFC 9112 section 7.1).

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http_body::Frame;

use super::head::Malformed;

/// Longest line of a chunk's size, extensions included.
const MOST_LINE: usize = 512;
/// Most digits of a size: a chunk of 2^60 bytes is enough for everybody.
const MOST_DIGITS: usize = 15;
/// Most bytes of trailers, and most of them.
const MOST_TRAILERS: usize = 64 * 1024;
const MOST_FIELDS: usize = 256;
/// Fields that would change the message's framing or routing after the fact (RFC 9110 section 6.5.1).
static NOT_IN_TRAILERS: [HeaderName; 5] = [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, UPGRADE];

/// Takes one chunked body apart.
#[derive(Debug, Default)]
pub(super) struct Dechunk {
    part: Part,
    trailers: HeaderMap,
    /// Bytes of trailers so far.
    trailing: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The line with a chunk's size.
    #[default]
    Size,
    /// So many bytes of data, then CRLF.
    Data(u64),
    /// The CRLF after data.
    DataEnd,
    /// The lines after the last chunk, up to an empty one.
    Trailers,
    Over,
}

impl Dechunk {
    /// True when the body has ended.
    pub(super) fn is_over(&self) -> bool {
        self.part == Part::Over
    }

    /// The next frame that `bytes` begin with, which are taken off them; `None` when it is not complete, or when the body
    /// is over.
    ///
    /// # Errors
    /// Bytes that are no chunks.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Frame<Bytes>>, Malformed> {
        loop {
            match self.part {
                Part::Size => {
                    let Some(line) = line(bytes, MOST_LINE)? else { return Ok(None) };
                    self.part = match size(&line)? {
                        0 => Part::Trailers,
                        size => Part::Data(size),
                    };
                }
                Part::Data(_) if bytes.is_empty() => return Ok(None),
                Part::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.part = match left - count as u64 {
                        0 => Part::DataEnd,
                        left => Part::Data(left),
                    };
                    return Ok(Some(Frame::data(bytes.split_to(count))));
                }
                Part::DataEnd => match &bytes[..] {
                    [b'\r', b'\n', ..] => {
                        bytes.advance(2);
                        self.part = Part::Size;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(Malformed("a chunk goes on after its end")),
                },
                Part::Trailers => {
                    let Some(line) = line(bytes, MOST_TRAILERS)? else { return Ok(None) };
                    if !line.is_empty() {
                        self.trailer(&line)?;
                        continue;
                    }
                    self.part = Part::Over;
                    let trailers = std::mem::take(&mut self.trailers);
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
                Part::Over => return Ok(None),
            }
        }
    }

    fn trailer(&mut self, line: &Bytes) -> Result<(), Malformed> {
        const BAD: Malformed = Malformed("a trailer is malformed");
        self.trailing += line.len() + 2;
        if self.trailing > MOST_TRAILERS || self.trailers.len() >= MOST_FIELDS {
            return Err(Malformed("its trailers are too long"));
        }
        let colon = memchr::memchr(b':', line).ok_or(BAD)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| BAD)?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| BAD)?;
        if NOT_IN_TRAILERS.contains(&name) {
            return Err(Malformed("a trailer has a field that may only stand in a head"));
        }
        self.trailers.append(name, value);
        Ok(())
    }
}

/// The line that `bytes` begin with, taken off them with its CRLF; `None` when its end has not come yet.
fn line(bytes: &mut Bytes, most: usize) -> Result<Option<Bytes>, Malformed> {
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(most + 2)]) {
        Some(feed) if feed > 0 && bytes[feed - 1] == b'\r' => {
            let line = bytes.split_to(feed - 1);
            bytes.advance(2);
            Ok(Some(line))
        }
        Some(_) => Err(Malformed("a chunk's line ends in a bare line feed")),
        None if bytes.len() > most + 1 => Err(Malformed("a chunk's line is too long")),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, Malformed> {
    const BAD: Malformed = Malformed("a chunk's size is none");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if digits == 0 || digits > MOST_DIGITS {
        return Err(BAD);
    }
    let blank = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &extension[blank..] {
        [] if blank == 0 => {}
        [b';', rest @ ..] if rest.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t') => {}
        _ => return Err(BAD),
    }
    let text = std::str::from_utf8(size).map_err(|_| BAD)?;
    u64::from_str_radix(text, 16).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data and trailers of a body that comes in two parts; what is left of it.
    fn taken(whole: &[u8], cut: usize) -> Result<(Vec<u8>, HeaderMap, Bytes), Malformed> {
        let mut body = Dechunk::default();
        let (mut data, mut trailers, mut left) = (Vec::new(), HeaderMap::new(), Bytes::new());
        for part in [&whole[..cut], &whole[cut..]] {
            left = [&left[..], part].concat().into();
            while let Some(frame) = body.next(&mut left)? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                }
            }
        }
        assert!(body.is_over(), "cut at {cut}");
        Ok((data, trailers, left))
    }

    #[test]
    fn chunks_are_followed_however_they_are_cut() {
        let whole = b"5;x=\"y\"\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nmore";
        for cut in 0..whole.len() {
            let (data, trailers, left) = taken(whole, cut).unwrap();
            assert_eq!((&data[..], &trailers["a"]), (&b"hello!"[..], &HeaderValue::from_static("b")));
            assert_eq!(left, "more");
        }
    }

    #[test]
    fn what_is_not_chunks_is_refused() {
        for bad in [
            "zz\r\n",
            "5\nhello",
            "5 \r\n",
            "+5\r\nhello\r\n",
            "0x5\r\n",
            "5\r\nhelloX",
            "1000000000000000\r\n",
            "0\r\nContent-Length: 4\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "5;\u{1}\r\n",
        ] {
            let mut bytes = Bytes::copy_from_slice(bad.as_bytes());
            let mut body = Dechunk::default();
            let end = loop {
                match body.next(&mut bytes) {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            assert!(end.is_err(), "{bad:?}");
        }
    }
}
