//! Which requests are plain, and how they go out.
//!
//! A list of what passes and not of what does not: a request that differs in anything from what is known here is
//! hyper's. What is copied was checked by the same functions as everything else ([`crate::http::head`]).

use super::super::head::{self, Lines};

/// What decides where a plain request goes.
pub(super) struct Request<'a> {
    pub(super) target: &'a str,
    /// As the client wrote it.
    pub(super) host: &'a str,
    /// `HEAD`.
    pub(super) bodiless: bool,
}

/// What becomes of a header field.
enum Fate {
    Copied,
    Host,
    /// Said anew for the next connection, or of no concern to it.
    Dropped,
    Unusual,
}

/// Copies a head to `out`, names in lower case, without its empty line and without what the proxy says itself; `None`
/// when it is not plain.
pub(super) fn copy<'a>(head: &'a [u8], most_fields: usize, out: &mut Vec<u8>) -> Option<Request<'a>> {
    let mut lines = Lines(head);
    let line = lines.next()?;
    let (old, target) = head::request_line(line).ok()?;
    let method = &line[..line.len() - target.len() - b"  HTTP/1.1".len()];
    if old || !matches!(method, b"GET" | b"HEAD") || !is_plain_target(target) {
        return None;
    }
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
    let mut host = None;
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        let (name, value) = head::field(line).ok()?;
        match fate(name, value) {
            _ if count > most_fields => return None,
            Fate::Unusual => return None,
            Fate::Dropped => {}
            Fate::Host if host.replace(value).is_some() => return None,
            Fate::Host | Fate::Copied => put(out, name, value),
        }
    }
    let (target, host) = (std::str::from_utf8(target).ok()?, std::str::from_utf8(host?).ok()?);
    Some(Request { target, host, bodiless: method == b"HEAD" })
}

/// Writes a field, its name in lower case.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(name);
    out[from..].make_ascii_lowercase();
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Origin form (RFC 9112 section 3.2.1) of characters that every URI parser takes: `pchar`, `/` and `?` of RFC 3986.
fn is_plain_target(target: &[u8]) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            plain[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let others = b"-._~!$&'()*+,;=:@/?%";
        let mut at = 0;
        while at < others.len() {
            plain[others[at] as usize] = true;
            at += 1;
        }
        plain
    };
    target.first() == Some(&b'/') && target.iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// By length first: most names are none of these.
fn fate(name: &[u8], value: &[u8]) -> Fate {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Fate::Unusual,
        3 if is("via") => Fate::Unusual,
        4 if is("host") => Fate::Host,
        6 if is("expect") => Fate::Unusual,
        7 if is("upgrade") => Fate::Unusual,
        9 if is("forwarded") || is("x-real-ip") => Fate::Dropped,
        10 if is("connection") => match value.eq_ignore_ascii_case(b"keep-alive") {
            true => Fate::Dropped,
            false => Fate::Unusual,
        },
        10 if is("keep-alive") => Fate::Dropped,
        12 if is("content-type")
            && value.len() >= 16
            && value[..16].eq_ignore_ascii_case(b"application/grpc") =>
        {
            Fate::Unusual
        }
        14 if is("content-length") || is("http2-settings") => Fate::Unusual,
        15 if is("x-forwarded-for") || is("x-original-host") => Fate::Dropped,
        16 if is("x-forwarded-host") || is("x-forwarded-port") || is("proxy-connection") => Fate::Dropped,
        17 if is("x-forwarded-proto") => Fate::Dropped,
        17 if is("transfer-encoding") => Fate::Unusual,
        18 if is("x-forwarded-prefix") || is("x-forwarded-server") || is("proxy-authenticate") => {
            Fate::Dropped
        }
        19 if is("proxy-authorization") => Fate::Dropped,
        // A look-alike of one of the above in some server's eyes.
        _ if name.contains(&b'_') => Fate::Unusual,
        _ => Fate::Copied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(head: &str) -> Option<String> {
        let mut out = Vec::new();
        copy(head.as_bytes(), 100, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_plain_request_loses_what_is_said_anew() {
        let head = "GET /a?b=c HTTP/1.1\r\nHost: web\r\nAccept:\t*/* \r\nConnection: Keep-Alive\r\n\
                    X-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\nCookie: a=b\r\n\r\n";
        assert_eq!(
            copied(head).unwrap(),
            "GET /a?b=c HTTP/1.1\r\nhost: web\r\naccept: */*\r\ncookie: a=b\r\n"
        );
    }

    #[test]
    fn whatever_is_unusual_is_left_to_hyper() {
        for (line, fields) in [
            ("POST / HTTP/1.1", ""),
            ("GET / HTTP/1.0", ""),
            ("GET * HTTP/1.1", ""),
            ("GET http://web/ HTTP/1.1", ""),
            ("GET /a#b HTTP/1.1", ""),
            ("GET /a\"b HTTP/1.1", ""),
            ("GET /\u{e9} HTTP/1.1", ""),
            ("GET  / HTTP/1.1", ""),
            ("GET / HTTP/1.1", "Host: web\r\n"),
            ("GET / HTTP/1.1", "Connection: close\r\n"),
            ("GET / HTTP/1.1", "Connection: keep-alive, x-secret\r\n"),
            ("GET / HTTP/1.1", "Upgrade: websocket\r\n"),
            ("GET / HTTP/1.1", "TE: trailers\r\n"),
            ("GET / HTTP/1.1", "Expect: 100-continue\r\n"),
            ("GET / HTTP/1.1", "Content-Length: 0\r\n"),
            ("GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n"),
            ("GET / HTTP/1.1", "Via: 1.1 x\r\n"),
            ("GET / HTTP/1.1", "X_Forwarded_For: 1.2.3.4\r\n"),
            ("GET / HTTP/1.1", "Content-Type: application/grpc+proto\r\n"),
            ("GET / HTTP/1.1", "X Y: z\r\n"),
            ("GET / HTTP/1.1", "X: y\r\n z\r\n"),
            ("GET / HTTP/1.1", "X: a\0b\r\n"),
        ] {
            assert_eq!(copied(&format!("{line}\r\nHost: web\r\n{fields}\r\n")), None, "{line} {fields}");
        }
        assert_eq!(copied("GET / HTTP/1.1\r\n\r\n"), None, "no host");
    }
}
