//! The head of an HTTP/1.1 request.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Longest head, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;
/// Most fields in it.
const MOST: usize = 64;

/// What was asked.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

/// Bytes that are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The head at the beginning of `bytes` and its length; `None` while it is not all there.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MOST];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(&bytes[..bytes.len().min(LONGEST)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
        _ => return Err(Malformed),
    };
    // Of HTTP/1.0 only what ncat says: a tunnel has none of the differences.
    if request.version != Some(1) && request.method != Some("CONNECT") {
        return Err(Malformed);
    }
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes()).map_err(|_| Malformed)?;
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?);
    }
    Ok(Some((Head { method, target: request.path.unwrap_or_default().to_owned(), headers }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_and_has_its_limits() {
        let text = b"CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\nrest";
        let (head, length) = read(text).unwrap().unwrap();
        assert_eq!((head.method, &*head.target, length), (Method::CONNECT, "web:80", text.len() - 4));
        assert!(read(&text[..30]).unwrap().is_none());
        assert!(read(b"CONNECT web:80 HTTP/1.0\r\n\r\n").unwrap().is_some());
        assert!(read(b"GET http://web/ HTTP/1.0\r\n\r\n").is_err());
        assert!(read(b"nonsense\r\n\r\n").is_err());
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LONGEST));
        assert!(read(long.as_bytes()).is_err());
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST + 1));
        assert!(read(many.as_bytes()).is_err());
    }
}
