//! A chunked body, followed strictly (RFC 9112 section 7.1): of a request or of an answer, to be passed on as it is or to be
//! taken apart.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};

/// Longest line of a chunk's size: 16 digits would do; extensions are nobody's friend.
const MOST_LINE: usize = 512;
/// Most digits of a size: a chunk of 2^60 bytes is enough for everybody.
const MOST_DIGITS: usize = 15;
/// Fields that would change the message's framing or routing after the fact (RFC 9110 section 6.5.1).
static NOT_IN_TRAILERS: [HeaderName; 5] = [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, UPGRADE];

/// Most that may follow the last chunk.
#[derive(Debug, Clone, Copy)]
pub struct MostTrailers {
    /// Bytes, ends of lines included.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Follows one chunked body.
#[derive(Debug, Default)]
pub struct Chunks(Part);

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
    Trailers {
        bytes: usize,
        fields: usize,
    },
    Over,
}

/// What comes next, with its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Sizes and ends of lines.
    Frame(usize),
    /// The body's own bytes.
    Data(usize),
    /// A line of the trailers, with its CRLF.
    Trailer(usize),
}

/// What is wrong with chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotChunks {
    /// RFC 9112 section 2.2.
    #[error("a line ends in a bare line feed instead of CRLF")]
    BareLineFeed,
    /// A size that is none, or too long a line, or data that goes on.
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// A line of the trailers that is no field.
    #[error("a trailer is malformed")]
    Field,
    /// See RFC 9110 section 6.5.1.
    #[error("a trailer has a field that may only stand in a head")]
    Forbidden,
    /// More than [`MostTrailers`].
    #[error("its trailers are too long")]
    TooMany,
}

impl Piece {
    /// Its length in bytes.
    pub fn length(self) -> usize {
        match self {
            Piece::Frame(length) | Piece::Data(length) | Piece::Trailer(length) => length,
        }
    }
}

impl Chunks {
    /// True when the body has ended.
    pub fn is_over(&self) -> bool {
        self.0 == Part::Over
    }

    /// The piece that `bytes` begin with; `None` when it is not complete, or when the body is over.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn next(&mut self, bytes: &[u8], most: MostTrailers) -> Result<Option<Piece>, NotChunks> {
        let (next, piece) = match self.0 {
            Part::Size => match line(bytes, MOST_LINE)? {
                None => return Ok(None),
                Some(line) => match size(line)? {
                    0 => (Part::Trailers { bytes: 0, fields: 0 }, Piece::Frame(line.len() + 2)),
                    size => (Part::Data(size), Piece::Frame(line.len() + 2)),
                },
            },
            Part::Data(_) if bytes.is_empty() => return Ok(None),
            Part::Data(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                match left - taken as u64 {
                    0 => (Part::DataEnd, Piece::Data(taken)),
                    left => (Part::Data(left), Piece::Data(taken)),
                }
            }
            Part::DataEnd => match bytes {
                [b'\r', b'\n', ..] => (Part::Size, Piece::Frame(2)),
                [] | [b'\r'] => return Ok(None),
                _ => return Err(NotChunks::Chunk),
            },
            Part::Trailers { bytes: seen, fields } => match line(bytes, most.bytes)? {
                None => return Ok(None),
                Some([]) => (Part::Over, Piece::Frame(2)),
                Some(line) => {
                    trailer(line)?;
                    let (seen, fields) = (seen + line.len() + 2, fields + 1);
                    if seen > most.bytes || fields > most.fields {
                        return Err(NotChunks::TooMany);
                    }
                    (Part::Trailers { bytes: seen, fields }, Piece::Trailer(line.len() + 2))
                }
            },
            Part::Over => return Ok(None),
        };
        self.0 = next;
        Ok(Some(piece))
    }
}

/// The line that `bytes` begin with, without its CRLF; `None` when its end has not come yet.
fn line(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, NotChunks> {
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(most + 2)]) {
        Some(feed) if feed > 0 && bytes[feed - 1] == b'\r' => Ok(Some(&bytes[..feed - 1])),
        Some(_) => Err(NotChunks::BareLineFeed),
        None if bytes.len() > most + 1 => Err(NotChunks::Chunk),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, NotChunks> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if digits == 0 || digits > MOST_DIGITS {
        return Err(NotChunks::Chunk);
    }
    let blank = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &extension[blank..] {
        [] if blank == 0 => {}
        [b';', rest @ ..] if rest.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t') => {}
        _ => return Err(NotChunks::Chunk),
    }
    let text = std::str::from_utf8(size).map_err(|_| NotChunks::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| NotChunks::Chunk)
}

/// Name and value of a line of the trailers, with its CRLF or without.
///
/// # Errors
/// Why it may not stand there.
pub(super) fn trailer(line: &[u8]) -> Result<(HeaderName, HeaderValue), NotChunks> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let colon = memchr::memchr(b':', line).ok_or(NotChunks::Field)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| NotChunks::Field)?;
    let value = HeaderValue::from_bytes(blanks_off(&line[colon + 1..])).map_err(|_| NotChunks::Field)?;
    match NOT_IN_TRAILERS.contains(&name) {
        true => Err(NotChunks::Forbidden),
        false => Ok((name, value)),
    }
}

/// `value` without blanks around it. Blanks alone: what else `trim_ascii` takes for white space, a bare CR first of
/// all, must be seen and refused.
fn blanks_off(value: &[u8]) -> &[u8] {
    let is_other = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (value.iter().position(is_other), value.iter().rposition(is_other)) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: MostTrailers = MostTrailers { bytes: 64, fields: 2 };

    fn end(bytes: &[u8]) -> Result<bool, NotChunks> {
        let (mut chunks, mut at) = (Chunks::default(), 0);
        while let Some(piece) = chunks.next(&bytes[at..], MOST)? {
            at += piece.length();
        }
        Ok(chunks.is_over())
    }

    #[test]
    fn what_is_not_chunks_is_refused() {
        for (bad, why) in [
            ("zz\r\n", NotChunks::Chunk),
            ("5\nhello", NotChunks::BareLineFeed),
            ("5 \r\n", NotChunks::Chunk),
            ("+5\r\nhello\r\n", NotChunks::Chunk),
            ("0x5\r\n", NotChunks::Chunk),
            ("5\r\nhelloX", NotChunks::Chunk),
            ("1000000000000000\r\n", NotChunks::Chunk),
            ("5;\u{1}\r\n", NotChunks::Chunk),
            ("0\r\nContent-Length: 4\r\n\r\n", NotChunks::Forbidden),
            ("0\r\nno colon\r\n\r\n", NotChunks::Field),
            ("0\r\na: b\r\n folded\r\n\r\n", NotChunks::Field),
            ("0\r\na: b\0c\r\n\r\n", NotChunks::Field),
            ("0\r\na: b\r\r\n\r\n", NotChunks::Field),
            ("0\r\na: \x0cb\r\n\r\n", NotChunks::Field),
            ("0\r\na: b\r\na: b\r\na: b\r\n\r\n", NotChunks::TooMany),
        ] {
            assert_eq!(end(bad.as_bytes()), Err(why), "{bad:?}");
        }
        assert_eq!(end(b"3;x=\"y\"\r\nabc\r\n0\r\na: b\r\n\r\n"), Ok(true));
        assert_eq!(end(b"3\r\nab"), Ok(false));
    }
}
