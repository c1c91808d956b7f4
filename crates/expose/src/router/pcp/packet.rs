//! The packets: RFC 6887 sections 7, 11.1 and 14.1.

use std::net::{IpAddr, Ipv6Addr};

use crate::wish::{Port, Protocol};

/// Tells a mapping's owner from everybody else.
pub type Nonce = [u8; 12];

const VERSION: u8 = 2;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const ANSWER: u8 = 0x80;
/// "Rather nothing than another port", section 13.2.
const PREFER_FAILURE: [u8; 4] = [2, 0, 0, 0];
const HEADER: usize = 24;
const BODY: usize = 36;

/// The operation that makes, renews and removes mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// Of the owner.
    pub nonce: Nonce,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Port of the client.
    pub internal: u16,
    /// Port at the router, wished or given.
    pub external: u16,
    /// Address at the router, wished or given.
    pub address: IpAddr,
    /// Seconds, wished or given; 0 removes.
    pub lifetime: u32,
}

/// An answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Mapped(Map),
    /// Section 7.4.
    Failed {
        /// The result code.
        code: u8,
        /// Of the request, where the router repeats it.
        nonce: Option<Nonce>,
    },
}

impl Answer {
    /// True when it answers this request and no other.
    pub(super) fn is_to(&self, request: &Map) -> bool {
        match self {
            Answer::Mapped(map) => {
                map.nonce == request.nonce
                    && map.protocol == request.protocol
                    && map.internal == request.internal
            }
            Answer::Failed { nonce, .. } => nonce.is_none_or(|nonce| nonce == request.nonce),
        }
    }
}

pub(super) fn announce(client: IpAddr) -> Vec<u8> {
    header(ANNOUNCE, 0, client)
}

pub(super) fn is_announce(bytes: &[u8]) -> bool {
    // Whatever the result, this is somebody who speaks version 2.
    matches!(bytes, [VERSION, op, _, code, ..] if *op == ANNOUNCE | ANSWER && bytes.len() >= HEADER && *code != 1)
}

pub(super) fn map(client: IpAddr, map: &Map, strict: bool) -> Vec<u8> {
    let mut packet = header(MAP, map.lifetime, client);
    packet.extend(map.nonce);
    packet.extend([number(map.protocol), 0, 0, 0]);
    packet.extend(map.internal.to_be_bytes());
    packet.extend(map.external.to_be_bytes());
    packet.extend(sixteen(map.address));
    if strict {
        packet.extend(PREFER_FAILURE);
    }
    packet
}

/// Reads the answer to a mapping; `None` for anything else.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let (head, body) = bytes.split_at_checked(HEADER)?;
    if head[0] != VERSION || head[1] != MAP | ANSWER {
        return None;
    }
    let nonce: Option<Nonce> = body.get(..12).and_then(|nonce| nonce.try_into().ok());
    if head[3] != 0 {
        return Some(Answer::Failed { code: head[3], nonce });
    }
    let body: &[u8; BODY] = body.get(..BODY)?.try_into().ok()?;
    let protocol = match body[12] {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let address: [u8; 16] = body[20..].try_into().ok()?;
    Some(Answer::Mapped(Map {
        nonce: nonce?,
        protocol,
        internal: u16::from_be_bytes([body[16], body[17]]),
        external: u16::from_be_bytes([body[18], body[19]]),
        address: Ipv6Addr::from(address).to_canonical(),
        lifetime: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
    }))
}

/// The owner's mark of one mapping.
pub(super) fn nonce(secret: u64, port: Port, internal: u16) -> Nonce {
    let [a, b] = internal.to_be_bytes();
    let [c, d] = port.number.to_be_bytes();
    let first = mix(secret, &[number(port.protocol), a, b, c, d]);
    let second = mix(first, &[0]);
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&first.to_be_bytes());
    nonce[8..].copy_from_slice(&second.to_be_bytes()[..4]);
    nonce
}

/// Spreads bytes over a number: FNV-1a with a final avalanche. It only has to be unlikely to be guessed by
/// those who do not know the secret.
pub(super) fn mix(start: u64, bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(start ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn header(opcode: u8, lifetime: u32, client: IpAddr) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER + BODY + PREFER_FAILURE.len());
    packet.extend([VERSION, opcode, 0, 0]);
    packet.extend(lifetime.to_be_bytes());
    packet.extend(sixteen(client));
    packet
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Map {
        let port = Port { protocol: Protocol::Tcp, number: 18081 };
        Map {
            nonce: nonce(7, port, 8080),
            protocol: Protocol::Tcp,
            internal: 8080,
            external: 18081,
            address: IpAddr::from([0, 0, 0, 0]),
            lifetime: 300,
        }
    }

    fn answered() -> Vec<u8> {
        let mut packet =
            map([45, 83, 0, 1].into(), &Map { address: [45, 83, 0, 1].into(), ..wanted() }, false);
        packet[1] |= ANSWER;
        packet
    }

    #[test]
    fn a_mapping_goes_out_as_drawn_and_comes_back() {
        let packet = map([192, 168, 77, 2].into(), &wanted(), true);
        assert_eq!(packet.len(), HEADER + BODY + 4);
        assert_eq!(packet[..8], [2, 1, 0, 0, 0, 0, 1, 44]);
        assert_eq!(packet[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 168, 77, 2]);
        let Some(Answer::Mapped(map)) = parse(&answered()) else { panic!("not read") };
        assert_eq!((map.address.to_string(), map.lifetime, map.external), ("45.83.0.1".into(), 300, 18081));
        assert!(Answer::Mapped(map).is_to(&wanted()));
        assert!(!Answer::Mapped(Map { internal: 1, ..map }).is_to(&wanted()));
    }

    #[test]
    fn refusals_and_cut_answers_are_told_apart() {
        let mut refused = answered();
        refused[3] = 8;
        assert_eq!(parse(&refused), Some(Answer::Failed { code: 8, nonce: Some(wanted().nonce) }));
        for cut in 0..HEADER + BODY {
            assert_eq!(parse(&answered()[..cut]), None);
        }
    }

    #[test]
    fn every_mapping_has_a_mark_of_its_own() {
        let port = |number| Port { protocol: Protocol::Udp, number };
        assert_eq!(nonce(1, port(5), 6), nonce(1, port(5), 6));
        assert_ne!(nonce(1, port(5), 6), nonce(1, port(6), 5));
        assert_ne!(nonce(1, port(5), 6), nonce(2, port(5), 6));
    }
}
