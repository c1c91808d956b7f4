//! The head of an HTTP/1.1 answer that is read by hand, and of the request before it.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::framing::{Framing, MOST_HEAD, MOST_HEADERS, Malformed, Said};

/// A head that was read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The endpoint keeps the connection.
    pub(super) keeps: bool,
}

/// Takes the head that `bytes` begin with off them, and interim ones before it, which are not passed on; `None` when it
/// has not come whole. `bodiless` says that it answers `HEAD`.
///
/// # Errors
/// Why it is none.
pub(super) fn take(bytes: &mut Bytes, bodiless: bool) -> Result<Option<Head>, Malformed> {
    loop {
        match read(bytes, bodiless)? {
            (0, _) => return Ok(None),
            (length, head) => {
                bytes.advance(length);
                if head.is_some() {
                    return Ok(head);
                }
            }
        }
    }
}

/// Length of the head that `bytes` begin with, 0 when it is not whole, and the head unless it is an interim one.
fn read(bytes: &Bytes, bodiless: bool) -> Result<(usize, Option<Head>), Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= MOST_HEAD => length,
        Ok(Status::Partial) if bytes.len() <= MOST_HEAD => return Ok((0, None)),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed("its head is too long")),
        Err(_) => return Err(Malformed("its head is malformed")),
    };
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(Malformed("it has no status"));
    };
    let status = match code {
        101 => return Err(Malformed("it switches protocols, and nobody asked")),
        100..200 => return Ok((length, None)),
        _ => StatusCode::from_u16(code).map_err(|_| Malformed("its status is none"))?,
    };
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    if let Some(reason) = response.reason
        && status.canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(Bytes::copy_from_slice(reason.as_bytes()))
    {
        answer.extensions_mut().insert(reason);
    }
    let headers = answer.headers_mut();
    headers.reserve(response.headers.len() + 2);
    for field in response.headers.iter() {
        let malformed = |_| Malformed("a header field is malformed");
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("a name is none"))?;
        // Shares the memory of the whole head.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).map_err(malformed)?;
        headers.append(name, value);
    }
    let said = said(headers)?;
    let (framing, keeps) = said.verdict(status.as_u16(), version == 1, bodiless);
    Ok((length, Some(Head { response: answer, framing, keeps })))
}

/// What the fields say of the body; what says so twice is said once afterwards.
fn said(headers: &mut HeaderMap) -> Result<Said, Malformed> {
    let mut said = Said::default();
    for value in headers.get_all(CONTENT_LENGTH) {
        said.note_length(value.as_bytes())?;
    }
    for value in headers.get_all(TRANSFER_ENCODING) {
        said.note_coding(value.as_bytes())?;
    }
    said.closes = closes(headers);
    match said.length {
        Some(_) if said.is_coded() => drop(headers.remove(CONTENT_LENGTH)),
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => {}
    }
    Ok(said)
}

fn closes(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// A request without a body as it goes out, its host first; its URI is a path, its host a field. `None` when there is more
/// to it than fields and an empty line.
pub(super) fn written<B>(request: &Request<B>) -> Option<Vec<u8>> {
    let headers = request.headers();
    let is_plain = request.version() != Version::HTTP_10
        && request.uri().authority().is_none()
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
    if !is_plain {
        return None;
    }
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = headers.get(HOST) {
        put(&mut out, "host", host.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| **name != HOST) {
        put(&mut out, name.as_str(), value.as_bytes());
    }
    if headers.contains_key(TE) && !headers.contains_key(CONNECTION) {
        put(&mut out, "connection", b"te");
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Malformed> {
        take(&mut Bytes::copy_from_slice(text.as_bytes()), false)
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        let of = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
        let both = of("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n");
        assert!(!both.response.headers().contains_key(CONTENT_LENGTH) && !both.keeps);
        let twice = of("Content-Length: 4\r\nContent-Length: 4\r\n");
        assert_eq!(twice.response.headers().get_all(CONTENT_LENGTH).iter().count(), 1);
        assert!(!of("Connection: x, Close\r\nContent-Length: 1\r\n").keeps);
        assert!(
            head("HTTP/1.1 103 Early\r\n\r\n").unwrap().is_none() && head("HTTP/1.1 2").unwrap().is_none()
        );
    }

    #[test]
    fn what_is_no_head_of_an_answer_is_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(head(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_is_written_with_its_host_first() {
        let request = Request::get("/a?b").header("x-y", "z").header(HOST, "web").header(TE, "trailers");
        let request = request.body(()).unwrap();
        assert_eq!(
            String::from_utf8(written(&request).unwrap()).unwrap(),
            "GET /a?b HTTP/1.1\r\nhost: web\r\nx-y: z\r\nte: trailers\r\nconnection: te\r\n\r\n"
        );
        assert_eq!(written(&Request::get("/").header(CONTENT_LENGTH, "4").body(()).unwrap()), None);
    }
}
