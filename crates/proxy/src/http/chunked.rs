//! A chunked body, strictly (RFC 9112 section 7.1).

use super::framer::HeadLimits;
use super::head;
use super::refusal::Refusal;

/// Longest chunk line: 16 digits of size would do; extensions are nobody's friend.
const MOST_LINE: usize = 512;
/// Most digits of a chunk's size: a body of 2^60 bytes is enough for everybody.
const MOST_DIGITS: usize = 15;

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
    Trailer {
        bytes: usize,
        fields: usize,
    },
    Over,
}

/// Follows one chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunked(Part);

impl Chunked {
    /// True when the body has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0 == Part::Over
    }

    /// Examines the next part of `bytes` and returns how long it is; `None` when it is not complete.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn scan(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Option<usize>, Refusal> {
        let (next, taken) = match self.0 {
            Part::Size => match line(bytes, MOST_LINE)? {
                None => return Ok(None),
                Some(line) => match size(line)? {
                    0 => (Part::Trailer { bytes: 0, fields: 0 }, line.len() + 2),
                    size => (Part::Data(size), line.len() + 2),
                },
            },
            Part::Data(left) => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                match left - taken as u64 {
                    0 => (Part::DataEnd, taken),
                    left => (Part::Data(left), taken),
                }
            }
            Part::DataEnd => match bytes {
                [b'\r', b'\n', ..] => (Part::Size, 2),
                [b'\r'] => return Ok(None),
                _ => return Err(Refusal::Chunk),
            },
            Part::Trailer { bytes: seen, fields } => match line(bytes, limits.bytes)? {
                None => return Ok(None),
                Some([]) => (Part::Over, 2),
                Some(line) => {
                    trailer(line)?;
                    let (seen, fields) = (seen + line.len() + 2, fields + 1);
                    if seen > limits.bytes || fields > limits.fields {
                        return Err(Refusal::TooManyFields);
                    }
                    (Part::Trailer { bytes: seen, fields }, line.len() + 2)
                }
            },
            Part::Over => return Ok(Some(0)),
        };
        self.0 = next;
        Ok(Some(taken))
    }
}

/// The line that `bytes` begin with, without its CRLF; `None` when its end has not come yet.
fn line(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, Refusal> {
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(most + 2)]) {
        Some(feed) if feed > 0 && bytes[feed - 1] == b'\r' => Ok(Some(&bytes[..feed - 1])),
        Some(_) => Err(Refusal::BareLineFeed),
        None if bytes.len() > most + 1 => Err(Refusal::Chunk),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if digits == 0 || digits > MOST_DIGITS {
        return Err(Refusal::Chunk);
    }
    let blank = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &extension[blank..] {
        [] if blank == 0 => {}
        [b';', rest @ ..] if rest.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t') => {}
        _ => return Err(Refusal::Chunk),
    }
    let text = std::str::from_utf8(size).map_err(|_| Refusal::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Refusal::Chunk)
}

/// Fields that would change the message's framing or routing after the fact (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [&[u8]; 5] =
    [b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade"];

fn trailer(line: &[u8]) -> Result<(), Refusal> {
    let (name, _) = head::field(line)?;
    match NOT_IN_TRAILERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
        true => Err(Refusal::Trailer),
        false => Ok(()),
    }
}
