//! One HTTP/1 request head, examined byte by byte (RFC 9112 sections 2 to 6).

use super::framer::{Framing, HeadLimits};
use super::refusal::Refusal;

/// Longest request line. Longer ones are answered 414.
const MOST_REQUEST_LINE: usize = 16 * 1024;

/// Length of the head that `bytes` begin with, its empty line included; `None` when that has not come yet.
/// The first `searched` bytes are known to hold no end.
///
/// # Errors
/// A line that does not end in CRLF.
pub(crate) fn end(bytes: &[u8], searched: usize) -> Result<Option<usize>, Refusal> {
    // The end may straddle what was searched: its last three bytes count again.
    let mut at = searched.saturating_sub(3);
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let feed = at + found;
        if feed == 0 || bytes[feed - 1] != b'\r' {
            return Err(Refusal::BareLineFeed);
        }
        if feed >= 3 && bytes[feed - 3..feed] == *b"\r\n\r" {
            return Ok(Some(feed + 1));
        }
        if feed == 1 {
            // A second empty line: the caller skips one. This client has lost count of a body.
            return Err(Refusal::EmptyRequestLine);
        }
        at = feed + 1;
    }
    Ok(None)
}

/// Examines a complete head and says how its body is delimited.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn check(head: &[u8], limits: HeadLimits) -> Result<Framing, Refusal> {
    let mut lines = Lines(head);
    let (old, target) = request_line(lines.next().ok_or(Refusal::RequestLine)?)?;
    let mut fields = Fields::default();
    let mut count = 0;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        count += 1;
        if count > limits.fields {
            return Err(Refusal::TooManyFields);
        }
        let (name, value) = field(line)?;
        fields.note(name, value)?;
    }
    fields.verdict(old, target)
}

/// Lines without their CRLF.
pub(crate) struct Lines<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let feed = memchr::memchr(b'\n', self.0)?;
        let line = &self.0[..feed.saturating_sub(1)];
        self.0 = &self.0[feed + 1..];
        Some(line)
    }
}

/// True when it is HTTP/1.0, and the target.
pub(crate) fn request_line(line: &[u8]) -> Result<(bool, &[u8]), Refusal> {
    if line.len() > MOST_REQUEST_LINE {
        return Err(Refusal::TargetTooLong);
    }
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    if method.is_empty() || method.len() > 64 || !method.iter().copied().all(is_token) {
        return Err(Refusal::RequestLine);
    }
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::Target);
    }
    match version {
        b"HTTP/1.1" => Ok((false, target)),
        b"HTTP/1.0" => Ok((true, target)),
        _ if version.starts_with(b"HTTP/") => Err(Refusal::Version),
        _ => Err(Refusal::RequestLine),
    }
}

/// Name and value of a header line, the value without blanks around it.
///
/// # Errors
/// A folded line, a name that is none, a control character.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::FoldedField);
    }
    let colon = memchr::memchr(b':', line).ok_or(Refusal::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Refusal::FieldName);
    }
    // Without an early way out, so that many bytes are looked at in one instruction.
    let control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value.iter().fold(false, |found, byte| found | control(*byte)) {
        return Err(Refusal::ControlCharacter);
    }
    Ok((name, value.trim_ascii()))
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            token[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < others.len() {
            token[others[at] as usize] = true;
            at += 1;
        }
        token
    };
    TOKEN[usize::from(byte)]
}

/// The fields that say where a request ends and whom it is for.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        // By length first: most fields are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => match self.host.replace(value) {
                None => Ok(()),
                Some(_) => Err(Refusal::SeveralHosts),
            },
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                match self.length.replace(content_length(value)?) {
                    None => Ok(()),
                    // Equal ones too: a list could be read as such by one and not by another.
                    Some(_) => Err(Refusal::ContentLength),
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Refusal::TransferEncoding);
                }
                match value.eq_ignore_ascii_case(b"chunked") {
                    true => Ok(()),
                    false => Err(Refusal::TransferCoding),
                }
            }
            _ => Ok(()),
        }
    }

    fn verdict(self, old: bool, target: &[u8]) -> Result<Framing, Refusal> {
        match self.host {
            None if !old => return Err(Refusal::NoHost),
            Some(host) => agree(host, target)?,
            None => {}
        }
        match (self.chunked, self.length) {
            (true, _) if old => Err(Refusal::TransferEncoding),
            (true, Some(_)) => Err(Refusal::TwoLengths),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Digits only: no sign, no list, no blank inside, nothing that overflows.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(Refusal::ContentLength)
}

/// A target in absolute form must name the host that `Host` names (RFC 9112 section 3.2.2 lets the target
/// win; then the two could be read in two ways further on).
fn agree(host: &[u8], target: &[u8]) -> Result<(), Refusal> {
    let Some(from) = memchr::memmem::find(target, b"://").map(|at| at + 3) else { return Ok(()) };
    if target[0] == b'/' {
        return Ok(());
    }
    let authority = &target[from..];
    let end = authority.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(authority.len());
    let plain = |text: &'_ [u8]| text.strip_suffix(b":80").unwrap_or(text).to_ascii_lowercase();
    match plain(&authority[..end]) == plain(host) {
        true => Ok(()),
        false => Err(Refusal::OtherHost),
    }
}
