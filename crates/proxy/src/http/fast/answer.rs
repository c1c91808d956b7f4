//! An endpoint's answer: its head as the client gets it, and where its body ends (RFC 9112 section 6.3).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::super::chunked::Chunked;
use super::super::framer::HeadLimits;
use super::request::put;

/// Longest head of an answer, and most fields, as on hyper's way.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 256 };

/// What an answer's first bytes are.
pub(super) enum Begun {
    /// Not a whole head yet.
    Partial,
    /// Nothing that could be passed on.
    Bad,
    /// An interim answer of so many bytes, which is not passed on.
    Interim(usize),
    /// A head.
    Head(Head),
}

/// A head that was copied.
pub(super) struct Head {
    pub(super) status: u16,
    /// Its length as it came.
    pub(super) length: usize,
    pub(super) body: Body,
    /// The endpoint keeps the connection.
    pub(super) keeps: bool,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum Body {
    /// It has.
    Over,
    /// After so many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked(Chunked),
    /// With the connection.
    UntilClosed,
}

/// A body that breaks off or lies about its chunks.
pub(super) struct Broken;

impl Body {
    /// How many of `bytes` belong to it; with chunks, less than all of them may be understood yet.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        match self {
            Body::Over => Ok(0),
            Body::UntilClosed => Ok(bytes.len()),
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    *self = Body::Over;
                }
                Ok(taken)
            }
            Body::Chunked(chunks) => {
                let mut taken = 0;
                while taken < bytes.len() && !chunks.is_over() {
                    match chunks.scan(&bytes[taken..], LIMITS).map_err(|_| Broken)? {
                        Some(more) => taken += more,
                        None => return Ok(taken),
                    }
                }
                if chunks.is_over() {
                    *self = Body::Over;
                }
                Ok(taken)
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Body::Over)
    }
}

/// Copies the head that `bytes` begin with to `out`, without what concerns the endpoint's connection. `bodiless` says
/// that it answers `HEAD`; `closing` that the client's connection ends with it.
pub(super) fn copy(bytes: &[u8], bodiless: bool, closing: bool, out: &mut Vec<u8>) -> Begun {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; LIMITS.fields];
    let mut response = Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() <= LIMITS.bytes => return Begun::Partial,
        _ => return Begun::Bad,
    };
    let (Some(status), Some(version)) = (response.code, response.version) else { return Begun::Bad };
    match status {
        // Nobody asked for another protocol here.
        101 => return Begun::Bad,
        100..200 => return Begun::Interim(length),
        200..=999 => {}
        _ => return Begun::Bad,
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[
        b'0' + (status / 100) as u8,
        b'0' + (status / 10 % 10) as u8,
        b'0' + (status % 10) as u8,
    ]);
    out.push(b' ');
    out.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let Some(framing) = fields_of(response.headers, out) else { return Begun::Bad };
    let empty = bodiless || matches!(status, 204 | 304);
    let keeps = framing.keeps && version == 1 && !(framing.coded && framing.length.is_some());
    let body = match &framing {
        _ if empty => Body::Over,
        Framing { chunked: true, .. } if version == 1 => Body::Chunked(Chunked::default()),
        Framing { coded: true, .. } => Body::UntilClosed,
        Framing { length: Some(0), .. } => Body::Over,
        Framing { length: Some(length), .. } => Body::Length(*length),
        Framing { length: None, .. } => Body::UntilClosed,
    };
    if matches!(body, Body::Chunked(_)) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if let (Some(length), false, true) = (framing.length, framing.coded, status != 204) {
        put(out, b"content-length", length.to_string().as_bytes());
    }
    if !framing.dated {
        super::rounds::with_date(|date| put(out, b"date", date));
    }
    let until_closed = matches!(body, Body::UntilClosed);
    if closing || until_closed {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Begun::Head(Head { status, length, body, keeps: keeps && !until_closed })
}

/// What the fields say of the body and of the connection.
struct Framing {
    length: Option<u64>,
    /// There is a transfer coding, and the last one is chunks.
    coded: bool,
    chunked: bool,
    keeps: bool,
    dated: bool,
}

/// Copies the fields that go on; `None` when they contradict each other.
fn fields_of(fields: &[Header<'_>], out: &mut Vec<u8>) -> Option<Framing> {
    let mut framing = Framing { length: None, coded: false, chunked: false, keeps: true, dated: false };
    let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let mut nominated = Vec::new();
    for field in named {
        for token in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match token {
                _ if token.eq_ignore_ascii_case(b"close") => framing.keeps = false,
                _ if token.eq_ignore_ascii_case(b"keep-alive") || token.is_empty() => {}
                // The body's length belongs to the message whatever an endpoint calls it.
                _ if token.eq_ignore_ascii_case(b"content-length") => {}
                _ => nominated.push(token),
            }
        }
    }
    for Header { name, value } in fields {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => continue,
            4 if is("date") => framing.dated = true,
            7 if is("upgrade") => continue,
            10 if is("connection") || is("keep-alive") => continue,
            14 if is("http2-settings") => continue,
            14 if is("content-length") => {
                let length = length(value)?;
                if framing.length.replace(length).is_some_and(|before| before != length) {
                    return None;
                }
                continue;
            }
            16 if is("proxy-connection") => continue,
            17 if is("transfer-encoding") => {
                framing.coded = true;
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                framing.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                // Another coding within would be lost: the client is not told of it.
                if value.contains(&b',') {
                    return None;
                }
                continue;
            }
            18 if is("proxy-authenticate") => continue,
            19 if is("proxy-authorization") => continue,
            _ => {}
        }
        if !nominated.iter().any(|token| token.eq_ignore_ascii_case(name.as_bytes())) {
            put(out, name.as_bytes(), value);
        }
    }
    Some(framing)
}

/// One decimal number.
fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> (String, Option<Head>) {
        let mut out = Vec::new();
        let head = match copy(text.as_bytes(), false, false, &mut out) {
            Begun::Head(head) => Some(head),
            _ => None,
        };
        (String::from_utf8(out).unwrap(), head)
    }

    #[test]
    fn what_concerns_the_endpoints_connection_stays_on_it() {
        let (out, head) = head(
            "HTTP/1.1 200 Fine\r\nDate: now\r\nConnection: x-secret, Keep-Alive\r\nX-Secret: 1\r\nKeep-Alive: \
             timeout=5\r\nContent-Length: 5\r\nX-Kept:  yes \r\n\r\nhello",
        );
        assert_eq!(out, "HTTP/1.1 200 Fine\r\ndate: now\r\nx-kept: yes\r\ncontent-length: 5\r\n\r\n");
        let head = head.unwrap();
        assert!(head.keeps && head.status == 200 && matches!(head.body, Body::Length(5)));
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let body = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\nDate: x\r\n{fields}\r\n")).1.unwrap();
        assert!(matches!(body("Transfer-Encoding: chunked\r\n").body, Body::Chunked(_)));
        assert!(matches!(body("Content-Length: 0\r\n").body, Body::Over));
        let open = body("");
        assert!(matches!(open.body, Body::UntilClosed) && !open.keeps);
        let both = body("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n");
        assert!(matches!(both.body, Body::Chunked(_)) && !both.keeps, "and never asked again");
        assert!(!body("Connection: close\r\nContent-Length: 1\r\n").keeps);
    }

    #[test]
    fn what_contradicts_itself_is_not_passed_on() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            let mut out = Vec::new();
            assert!(matches!(copy(bad.as_bytes(), false, false, &mut out), Begun::Bad), "{bad}");
        }
    }

    #[test]
    fn chunks_are_followed_however_they_are_cut() {
        let whole = b"5;x\r\nhello\r\n0\r\nA: b\r\n\r\n";
        for cut in 0..whole.len() {
            let mut body = Body::Chunked(Chunked::default());
            let first = body.take(&whole[..cut]).ok().unwrap();
            let second = body.take(&whole[first..]).ok().unwrap();
            assert_eq!(first + second, whole.len(), "cut at {cut}");
            assert!(body.is_over());
        }
        assert!(Body::Chunked(Chunked::default()).take(b"zz\r\n").is_err());
    }
}
