//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443` and an end of line.

use std::net::{IpAddr, SocketAddr};

use super::{BadHeader, Ends, Header, Parsed};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// Longest line with its end (section 2.1).
const LONGEST: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    let malformed = Err(BadHeader::Malformed("its line has no end within 107 bytes"));
    let window = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < LONGEST { Ok(Parsed::Incomplete) } else { malformed };
    };
    let Some(line) = window[..end].strip_suffix(b"\r") else {
        return Err(BadHeader::Malformed("its line ends without a carriage return"));
    };
    let line = std::str::from_utf8(line).map_err(|_| BadHeader::Malformed("it is no text"))?;
    let header = match line.split(' ').collect::<Vec<_>>()[..] {
        // Whatever follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Header::Own,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == (family == "TCP4"))?;
                Some(SocketAddr::new(ip, decimal(port)?))
            };
            match (address(from, from_port), address(to, to_port)) {
                (Some(from), Some(to)) => Header::Relayed(Ends { from, to }),
                _ => return Err(BadHeader::Malformed("an address or a port is none of its family")),
            }
        }
        _ => return Err(BadHeader::Malformed("its words are not those of any family")),
    };
    Ok(Parsed::Whole(header, end + 1))
}

/// A port without sign and leading zeros, so that nobody reads it in another way.
fn decimal(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok())?
}

/// Both addresses are of one family.
pub(super) fn write(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_specification_shows() {
        let ends =
            Ends { from: "192.168.0.1:56324".parse().unwrap(), to: "192.168.0.11:443".parse().unwrap() };
        let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(parse(line), Ok(Parsed::Whole(Header::Relayed(ends), 47)));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Parsed::Whole(Header::Own, 15)));
        let longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        assert_eq!(parse(longest), Ok(Parsed::Whole(Header::Own, longest.len())));
    }

    #[test]
    fn lies_are_refused() {
        for line in [
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 65536\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 +5 443\r\n",
            "PROXY TCP4 ::1 ::1 5 443\r\n",
            "PROXY TCP6 192.168.0.1 192.168.0.11 5 443\r\n",
            "PROXY TCP4  192.168.0.1 192.168.0.11 5 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 5 443 6\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 5\r\n",
            "PROXY UDP4 192.168.0.1 192.168.0.11 5 6\r\n",
            "PROXY TCP4 192.168.0.1\r\n 192.168.0.11 5 6\r\n",
            "PROXY \r\n",
        ] {
            assert!(matches!(parse(line.as_bytes()), Err(BadHeader::Malformed(_))), "{line}");
        }
        assert!(parse(&[b"PROXY ".as_slice(), &[b'a'; 200]].concat()).is_err(), "without an end");
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'a'; 100]].concat()), Ok(Parsed::Incomplete));
    }
}
