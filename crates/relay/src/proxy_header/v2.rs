//! Version 2: a signature, two bytes of meaning, a length, addresses, and extensions whose lengths must add up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{BadHeader, Ends, Header, MOST, Parsed};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Version 2 with each of the two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Families: internet protocol and stream.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// Lengths of their addresses.
const TCP4_LENGTH: usize = 12;
const TCP6_LENGTH: usize = 36;
const UNIX_LENGTH: usize = 216;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    if let Some(command) = bytes.get(12)
        && !matches!(*command, LOCAL | PROXY)
    {
        return Err(BadHeader::Malformed("its version or command is unknown"));
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(Parsed::Incomplete) };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MOST {
        return Err(BadHeader::Malformed("it is longer than 2048 bytes"));
    }
    let Some(rest) = bytes.get(FIXED..length) else { return Ok(Parsed::Incomplete) };
    let (header, extensions) = addresses(fixed[12], fixed[13], rest)?;
    match add_up(extensions) {
        true => Ok(Parsed::Whole(header, length)),
        false => Err(BadHeader::Malformed("the lengths of its extensions do not add up")),
    }
}

/// What the addresses say, and what stands behind them.
fn addresses(command: u8, family: u8, rest: &[u8]) -> Result<(Header, &[u8]), BadHeader> {
    let short = BadHeader::Malformed("it is too short for its family");
    let relayed = |from, to| match command {
        LOCAL => Header::Own,
        _ => Header::Relayed(Ends { from, to }),
    };
    match family {
        // Nothing can be said of what follows.
        UNSPECIFIED => Ok((Header::Own, &[])),
        TCP4 => {
            let (block, behind) = rest.split_first_chunk::<TCP4_LENGTH>().ok_or(short)?;
            let [a, b, c, d, e, f, g, h, p, q, r, s] = *block;
            let from = SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([p, q]));
            let to = SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), u16::from_be_bytes([r, s]));
            Ok((relayed(from, to), behind))
        }
        TCP6 => {
            let (from, behind) = rest.split_first_chunk::<16>().ok_or(short)?;
            let (to, behind) = behind.split_first_chunk::<16>().ok_or(short)?;
            let ([p, q, r, s], behind) = behind.split_first_chunk::<4>().ok_or(short)?;
            let from = SocketAddr::new(Ipv6Addr::from(*from).into(), u16::from_be_bytes([*p, *q]));
            let to = SocketAddr::new(Ipv6Addr::from(*to).into(), u16::from_be_bytes([*r, *s]));
            Ok((relayed(from, to), behind))
        }
        UNIX => Ok((Header::Own, rest.get(UNIX_LENGTH..).ok_or(short)?)),
        _ => Err(BadHeader::Malformed("it is not about a stream")),
    }
}

/// Type, length and value each, to the last byte.
fn add_up(mut extensions: &[u8]) -> bool {
    while let Some(([_, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        extensions = rest;
    }
    extensions.is_empty()
}

/// Both addresses are of one family.
pub(super) fn write(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(TCP6_LENGTH);
    for address in [from, to] {
        match address.ip() {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    addresses.extend(from.port().to_be_bytes());
    addresses.extend(to.port().to_be_bytes());
    let family = if from.is_ipv4() { TCP4 } else { TCP6 };
    [SIGNATURE, &[PROXY, family, 0, addresses.len() as u8], &addresses].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[test]
    fn extensions_are_read_over() {
        let rest =
            [&[192, 0, 2, 1, 198, 51, 100, 2, 0, 5, 1, 187][..], &[4, 0, 2, 9, 9], &[1, 0, 0]].concat();
        let bytes = header(PROXY, TCP4, &rest);
        let ends = Ends { from: "192.0.2.1:5".parse().unwrap(), to: "198.51.100.2:443".parse().unwrap() };
        assert_eq!(parse(&bytes), Ok(Parsed::Whole(Header::Relayed(ends), bytes.len())));
        assert_eq!(parse(&header(LOCAL, TCP4, &rest)), Ok(Parsed::Whole(Header::Own, bytes.len())));
        let unspecified = header(LOCAL, UNSPECIFIED, &[]);
        assert_eq!(parse(&unspecified), Ok(Parsed::Whole(Header::Own, 16)));
    }

    #[test]
    fn lies_are_refused() {
        let addresses = [7; TCP4_LENGTH];
        let with = |tail: &[u8]| header(PROXY, TCP4, &[&addresses[..], tail].concat());
        for bytes in [
            with(&[1]),
            with(&[1, 0]),
            with(&[1, 0, 5, 1]),
            with(&[1, 0xff, 0xff]),
            header(PROXY, TCP4, &addresses[..11]),
            header(PROXY, TCP6, &[0; 35]),
            header(PROXY, UNIX, &[0; 215]),
            header(PROXY, 0x12, &addresses),
            header(0x22, TCP4, &addresses),
            header(0x11, TCP4, &addresses),
            header(PROXY, TCP4, &[0; 4096]),
        ] {
            assert!(matches!(parse(&bytes), Err(BadHeader::Malformed(_))), "{bytes:?}");
        }
    }
}
