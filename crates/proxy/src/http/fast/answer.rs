//! An endpoint's answer: its head as the client gets it, and where its body ends (RFC 9112 section 6.3).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};
use relay::http::framing::{Framing, MOST_HEAD, MOST_HEADERS, Malformed, Said};

use super::request::put;

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
    pub(super) body: Framing,
    /// The endpoint keeps the connection.
    pub(super) keeps: bool,
}

/// Copies the head that `bytes` begin with to `out`, without what concerns the endpoint's connection. `bodiless` says
/// that it answers `HEAD`; `closing` that the client's connection ends with it.
pub(super) fn copy(bytes: &[u8], bodiless: bool, closing: bool, out: &mut Vec<u8>) -> Begun {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() <= MOST_HEAD => return Begun::Partial,
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
    let Ok((said, dated)) = fields_of(response.headers, out) else { return Begun::Bad };
    let (body, keeps) = said.verdict(status, version == 1, bodiless);
    if matches!(body, Framing::Chunked(_)) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if let (Some(length), false, true) = (said.length, said.is_coded(), status != 204) {
        put(out, b"content-length", length.to_string().as_bytes());
    }
    if !dated {
        super::rounds::with_date(|date| put(out, b"date", date));
    }
    if closing || matches!(body, Framing::UntilClosed) {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Begun::Head(Head { status, length, body, keeps })
}

/// Copies the fields that go on; what they say of the body and of the connection, and whether one is the date.
fn fields_of(fields: &[Header<'_>], out: &mut Vec<u8>) -> Result<(Said, bool), Malformed> {
    let (mut said, mut dated) = (Said::default(), false);
    let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let mut nominated = Vec::new();
    for field in named {
        for token in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match token {
                _ if token.eq_ignore_ascii_case(b"close") => said.closes = true,
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
            4 if is("date") => dated = true,
            7 if is("upgrade") => continue,
            10 if is("connection") || is("keep-alive") => continue,
            14 if is("http2-settings") => continue,
            14 if is("content-length") => {
                said.note_length(value)?;
                continue;
            }
            16 if is("proxy-connection") => continue,
            17 if is("transfer-encoding") => {
                said.note_coding(value)?;
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
    Ok((said, dated))
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
        assert!(head.keeps && head.status == 200 && matches!(head.body, Framing::Length(5)));
    }

    #[test]
    fn what_contradicts_itself_is_not_passed_on() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            let mut out = Vec::new();
            assert!(matches!(copy(bad.as_bytes(), false, false, &mut out), Begun::Bad), "{bad}");
        }
    }
}
