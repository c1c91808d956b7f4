//! The head of an HTTP/1.1 answer that is read by hand, and of the request before it.
//!
//! As careful as hyper's client: what contradicts itself is no answer, and an answer whose end could be read in two
//! ways is the last one of its connection (RFC 9112 section 6.3).

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::dechunk::Dechunk;

/// Longest head of an answer, in bytes, and most fields.
pub(super) const MOST_HEAD: usize = 64 * 1024;
pub(super) const MOST_HEADERS: usize = 256;

/// What came is no answer to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what it sent is no answer: {0}")]
pub(crate) struct Malformed(pub(super) &'static str);

/// A head that was read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The endpoint keeps the connection.
    pub(super) keeps: bool,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// It has.
    Over,
    /// After so many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked(Dechunk),
    /// With the connection.
    UntilClosed,
}

impl Framing {
    /// The next frame that `bytes` begin with, which are taken off them; `None` when it is not complete, or when the body
    /// is over.
    ///
    /// # Errors
    /// Bytes that are no such body.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Option<Frame<Bytes>>, Malformed> {
        match self {
            Framing::Over => Ok(None),
            _ if bytes.is_empty() => Ok(None),
            Framing::UntilClosed => Ok(Some(Frame::data(std::mem::take(bytes)))),
            Framing::Length(length) => {
                let count = usize::try_from(*length).unwrap_or(usize::MAX).min(bytes.len());
                *length -= count as u64;
                if *length == 0 {
                    *self = Framing::Over;
                }
                Ok(Some(Frame::data(bytes.split_to(count))))
            }
            Framing::Chunked(chunks) => {
                let frame = chunks.next(bytes)?;
                if chunks.is_over() {
                    *self = Framing::Over;
                }
                Ok(frame)
            }
        }
    }
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
    let (framing, keeps) = frame(headers, status, version == 1, bodiless)?;
    Ok((length, Some(Head { response: answer, framing, keeps })))
}

/// Where the body ends, and whether the connection may be used again; what says so twice is said once afterwards.
fn frame(
    headers: &mut HeaderMap,
    status: StatusCode,
    is_new: bool,
    bodiless: bool,
) -> Result<(Framing, bool), Malformed> {
    let length = length(headers)?;
    let coded = headers.contains_key(TRANSFER_ENCODING);
    if coded && length.is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    let keeps = is_new && !(coded && length.is_some()) && !closes(headers);
    let framing = match (coded, length) {
        _ if bodiless || matches!(status.as_u16(), 204 | 304) => Framing::Over,
        (true, _) if is_new && is_chunked(headers)? => Framing::Chunked(Dechunk::default()),
        (true, _) | (false, None) => Framing::UntilClosed,
        (false, Some(0)) => Framing::Over,
        (false, Some(length)) => Framing::Length(length),
    };
    let keeps = keeps && !matches!(framing, Framing::UntilClosed);
    Ok((framing, keeps))
}

/// One decimal number, however often it is said.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    let mut count = 0;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let number = match !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            true => value.to_str().ok().and_then(|text| text.parse::<u64>().ok()),
            false => None,
        };
        let number = number.ok_or(Malformed("its length is no number"))?;
        if found.replace(number).is_some_and(|before| before != number) {
            return Err(Malformed("it has two lengths"));
        }
        count += 1;
    }
    if let (Some(number), 2..) = (found, count) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(number));
    }
    Ok(found)
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, Malformed> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next().map(HeaderValue::as_bytes).unwrap_or_default();
    // Another coding within would be lost: the client is not told of it.
    if codings.next().is_some() || coding.contains(&b',') {
        return Err(Malformed("it has several transfer codings"));
    }
    Ok(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
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
    fn a_body_ends_where_its_head_says() {
        let of = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
        assert!(matches!(of("Transfer-Encoding: chunked\r\n").framing, Framing::Chunked(_)));
        assert!(matches!(of("Content-Length: 0\r\n").framing, Framing::Over));
        let open = of("");
        assert!(matches!(open.framing, Framing::UntilClosed) && !open.keeps);
        let both = of("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n");
        assert!(matches!(both.framing, Framing::Chunked(_)) && !both.keeps, "and never asked again");
        assert!(!both.response.headers().contains_key(CONTENT_LENGTH));
        let twice = of("Content-Length: 4\r\nContent-Length: 4\r\n");
        assert!(matches!(twice.framing, Framing::Length(4)));
        assert_eq!(twice.response.headers().get_all(CONTENT_LENGTH).iter().count(), 1);
        assert!(!of("Connection: x, Close\r\nContent-Length: 1\r\n").keeps);
        assert!(!head("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").unwrap().unwrap().keeps);
        assert!(
            head("HTTP/1.1 103 Early\r\n\r\n").unwrap().is_none() && head("HTTP/1.1 2").unwrap().is_none()
        );
    }

    #[test]
    fn what_contradicts_itself_is_no_answer() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
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
