//! How a connection begins (RFC 6455, section 4): an HTTP/1.1 request, and its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
pub use relay::http::websocket::accept_key;
use relay::http::websocket::new_key;

/// Longest answer to a request, in bytes.
const LONGEST_ANSWER: usize = 16 * 1024;

/// A request that asks for no WebSocket, or for one that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not say `Upgrade: websocket` and `Connection: Upgrade`.
    #[error("this is no request for a WebSocket")]
    NotAsked,
    /// Another version; 13 is the one that is spoken.
    #[error("WebSocket version 13 is spoken here")]
    Version,
    /// A key that is not 16 bytes in base 64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base 64")]
    Key,
}

/// Reads a client's request: what its answer says as `Sec-WebSocket-Accept`.
///
/// # Errors
/// [`Refusal`].
pub fn wanted(headers: &HeaderMap) -> Result<String, Refusal> {
    if !has_word(headers, header::UPGRADE, "websocket") || !has_word(headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::NotAsked);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).ok_or(Refusal::Key)?;
    let is_key = STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    let is_alone = headers.get_all(header::SEC_WEBSOCKET_KEY).iter().nth(1).is_none();
    if is_key && is_alone { Ok(accept_key(key)) } else { Err(Refusal::Key) }
}

fn has_word(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// A client's request for `path` of `host`, with the key that its answer must prove. `extra` are whole header lines,
/// each with its end.
pub fn request(host: &str, path: &str, extra: &str) -> (Vec<u8>, String) {
    let key = new_key();
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    );
    (text.into_bytes(), key)
}

/// An answer that opens no WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No HTTP, or too much of it.
    #[error("the server's answer is no HTTP: {0}")]
    Malformed(String),
    /// Another status than 101.
    #[error("the server answers {0} and opens no WebSocket")]
    Status(u16),
    /// 101, but not as RFC 6455 wants it.
    #[error("the server's answer has no right {0}")]
    Header(&'static str),
}

/// Reads the answer to a request with `key`: how many bytes it takes; `None` while it is not all there.
///
/// # Errors
/// [`Unanswered`].
pub fn read_response(bytes: &[u8], key: &str) -> Result<Option<usize>, Unanswered> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| Unanswered::Malformed(error.to_string()))?;
    let httparse::Status::Complete(length) = parsed else {
        let is_long = bytes.len() > LONGEST_ANSWER;
        return if is_long { Err(Unanswered::Malformed("it is too long".to_owned())) } else { Ok(None) };
    };
    match response.code {
        Some(101) => {}
        other => return Err(Unanswered::Status(other.unwrap_or_default())),
    }
    let value = |name: &str| {
        let mut found = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found.next().and_then(|header| std::str::from_utf8(header.value).ok());
        value.filter(|_| found.next().is_none()).map(str::trim)
    };
    if !value("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(Unanswered::Header("Upgrade"));
    }
    let connection = value("connection").unwrap_or_default();
    if !connection.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade")) {
        return Err(Unanswered::Header("Connection"));
    }
    if value("sec-websocket-accept") != Some(&accept_key(key)) {
        return Err(Unanswered::Header("Sec-WebSocket-Accept"));
    }
    // None was asked for.
    if value("sec-websocket-extensions").is_some() {
        return Err(Unanswered::Header("Sec-WebSocket-Extensions"));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_proven_as_in_the_rfc() {
        assert_eq!(accept_key(KEY), ACCEPT);
        let mut asked = headers(&[
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]);
        assert_eq!(wanted(&asked).as_deref(), Ok(ACCEPT));
        asked.insert("sec-websocket-key", "c2hvcnQ=".parse().unwrap());
        assert_eq!(wanted(&asked), Err(Refusal::Key));
        asked.insert("sec-websocket-version", "8".parse().unwrap());
        assert_eq!(wanted(&asked), Err(Refusal::Version));
        asked.remove("upgrade");
        assert_eq!(wanted(&asked), Err(Refusal::NotAsked));
    }

    #[test]
    fn only_a_right_answer_opens() {
        let right = format!(
            "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\nrest"
        );
        assert_eq!(read_response(right.as_bytes(), KEY), Ok(Some(right.len() - 4)));
        assert_eq!(read_response(&right.as_bytes()[..60], KEY), Ok(None));
        let wrong = right.replace("s3pP", "S3pP");
        assert_eq!(read_response(wrong.as_bytes(), KEY), Err(Unanswered::Header("Sec-WebSocket-Accept")));
        let plain = b"HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(read_response(plain, KEY), Err(Unanswered::Status(200)));
        assert!(matches!(read_response(b"SSH-2.0-x\r\n", KEY), Err(Unanswered::Malformed(_))));
    }

    #[test]
    fn what_a_client_asks_is_what_a_server_takes() {
        let (text, key) = request("example.com", "/authd", "");
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("GET /authd HTTP/1.1\r\nHost: example.com\r\n") && text.ends_with("\r\n\r\n")
        );
        let lines = text.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(wanted(&headers), Ok(accept_key(&key)));
    }
}
