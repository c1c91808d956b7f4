//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who a connection is really from, said by
//! the proxy before us in front of everything else, and by us to the server behind us.
//!
//! Only for peers that the configuration lists, and then always: whether a header comes is never guessed, since
//! anybody could send one.

mod v1;
mod v2;

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use serde::{Deserialize, Serialize};

/// Longest header that is read; one with every extension in use has a few hundred bytes.
pub const MOST: usize = 2048;

/// Which form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Both ends of a connection, as a proxy before us saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub from: SocketAddr,
    /// What it connected to.
    pub to: SocketAddr,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is relayed for somebody.
    Relayed(Ends),
    /// The proxy speaks for itself (a health check), or does not know for whom: the connection's own ends count.
    Own,
}

/// Bytes at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header, and how long it is.
    Whole(Header, usize),
    /// The beginning of one.
    Incomplete,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Neither form begins like this.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// It begins like one and breaks a rule.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

/// Reads a header from the start of `bytes`.
///
/// # Errors
/// [`BadHeader`] as soon as no continuation can make it one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    let starts = |signature: &[u8]| {
        let common = signature.len().min(bytes.len());
        signature[..common] == bytes[..common]
    };
    if starts(v1::SIGNATURE) {
        v1::parse(bytes)
    } else if starts(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(BadHeader::Absent)
    }
}

/// The header that tells a server of a connection's ends.
pub fn write(version: Version, ends: Ends) -> Vec<u8> {
    let (from, to) = match (canonical(ends.from), canonical(ends.to)) {
        (from, to) if from.is_ipv4() == to.is_ipv4() => (from, to),
        (from, to) => (mapped(from), mapped(to)),
    };
    match version {
        Version::V1 => v1::write(from, to),
        Version::V2 => v2::write(from, to),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}

/// Takes the header off a connection and not a byte more. The caller bounds the time.
///
/// # Errors
/// [`BadHeader`] as `InvalidData`; `UnexpectedEof` when the connection ends within it; the kernel's.
pub async fn take(stream: &mut TcpStream) -> io::Result<Header> {
    // On the heap: every connection of such a listener would carry it for as long as it lives.
    let (mut held, mut window) = (Vec::new(), vec![0; MOST]);
    loop {
        let seen = stream.peek(&mut window).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = held.len();
        held.extend_from_slice(&window[..seen]);
        let parsed = parse(&held).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        let ours = match parsed {
            Parsed::Whole(_, length) => length - before,
            // All of it belongs to the header.
            Parsed::Incomplete => seen,
        };
        stream.read_exact(&mut window[..ours]).await?;
        if let Parsed::Whole(header, _) = parsed {
            return Ok(header);
        }
    }
}

/// Any bytes, for fuzzing: what is read is within bounds and is read again from what we would write of it.
pub fn fuzz(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Parsed::Whole(header, length)) => {
            assert!(length <= bytes.len() && length <= MOST);
            assert_eq!(
                parse(&bytes[..length]),
                Ok(Parsed::Whole(header, length)),
                "what follows does not count"
            );
            assert_eq!(parse(&bytes[..length - 1]), Ok(Parsed::Incomplete), "a part is a part");
            let Header::Relayed(ends) = header else { return };
            for version in [Version::V1, Version::V2] {
                let written = write(version, ends);
                let Ok(Parsed::Whole(Header::Relayed(again), all)) = parse(&written) else {
                    unreachable!("what we write is a header: {written:?}")
                };
                assert_eq!(all, written.len());
                assert_eq!(canonical(again.from), canonical(ends.from));
                assert_eq!(canonical(again.to), canonical(ends.to));
            }
        }
        Ok(Parsed::Incomplete) => assert!(bytes.len() < MOST, "nothing is waited for without end"),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Ends {
        Ends { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    #[test]
    fn both_forms_survive_the_way() {
        for (from, to) in [
            ("192.0.2.1:56324", "198.51.100.2:443"),
            ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
            ("192.0.2.1:5", "[2001:db8::2]:6"),
        ] {
            for version in [Version::V1, Version::V2] {
                let bytes = write(version, ends(from, to));
                let Ok(Parsed::Whole(Header::Relayed(read), length)) = parse(&bytes) else {
                    panic!("{from}")
                };
                assert_eq!((canonical(read.from), canonical(read.to)), {
                    let ends = ends(from, to);
                    (ends.from, ends.to)
                });
                assert_eq!(length, bytes.len());
                fuzz(&bytes);
                (0..bytes.len()).for_each(|cut| assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete)));
            }
        }
    }

    #[tokio::test]
    async fn waiting_for_a_header_takes_no_room_in_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let size = size_of_val(&take(&mut stream));
        assert!(size < 512, "{size} bytes");
    }

    #[test]
    fn other_bytes_are_no_header() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"PROXYTCP4", b"\x16\x03\x01", b"\r\n\r\n\x00\r\nQUIX", b"p"]
        {
            assert_eq!(parse(bytes), Err(BadHeader::Absent), "{bytes:?}");
        }
        assert_eq!(parse(b""), Ok(Parsed::Incomplete));
    }
}
