//! DNS cookies (RFC 7873) in the form that servers of several makers share (RFC 9018): no state is kept for any
//! client.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::config::Secret;
use crate::guard::siphash::{Key, siphash};

/// Number of the EDNS option.
pub(crate) const OPTION: u16 = 10;
/// Length of the option in our answers.
pub(crate) const OPTION_LENGTH: usize = 4 + CLIENT + SERVER;
/// Lengths of the two parts.
const CLIENT: usize = 8;
const SERVER: usize = 16;
/// Longest server cookie that any server makes.
const LONGEST_SERVER: usize = 32;
/// How old a cookie may be, how far ahead of our clock, and from which age on the client gets a new one, in
/// seconds (RFC 9018 section 4.3).
const OLDEST: i32 = 3600;
const AHEAD: i32 = 300;
const STALE: i32 = 1800;
/// Version and reserved bytes at the start of a server cookie.
const HEAD: [u8; 4] = [1, 0, 0, 0];

/// What a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    client: [u8; CLIENT],
    /// A server cookie of the length that ours have.
    server: Option<[u8; SERVER]>,
}

/// What it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    /// Both cookies, for the answer.
    pub(crate) bytes: [u8; CLIENT + SERVER],
    /// The client has shown a cookie that we gave to its address.
    pub(crate) is_known: bool,
}

impl Cookie {
    /// Reads the option's data; `None` when no client may send such (RFC 7873 section 5.2.2).
    pub(crate) fn read(data: &[u8]) -> Option<Cookie> {
        let (client, server) = data.split_first_chunk()?;
        match server.len() {
            0 | 8..=LONGEST_SERVER => Some(Cookie { client: *client, server: server.try_into().ok() }),
            _ => None,
        }
    }
}

/// Our secrets: the first makes cookies, all of them recognize theirs.
#[derive(Debug)]
pub(crate) struct Jar(Vec<Key>);

impl Jar {
    /// With no secrets given, one of this process's own.
    pub(crate) fn new(secrets: &[Secret]) -> Jar {
        match secrets {
            [] => {
                let random = RandomState::new();
                let [low, high] = [random.hash_one(1), random.hash_one(2)].map(u64::to_le_bytes);
                let mut key = [0; 16];
                key[..8].copy_from_slice(&low);
                key[8..].copy_from_slice(&high);
                Jar(vec![key])
            }
            secrets => Jar(secrets.iter().map(Secret::bytes).collect()),
        }
    }

    pub(crate) fn serve(&self, cookie: &Cookie, from: IpAddr, now: u32) -> Served {
        let made_by =
            cookie.server.and_then(|server| self.maker(cookie, &server, from).map(|key| (key, server)));
        let recognized = made_by.and_then(|(key, server)| {
            let made = u32::from_be_bytes(*server[4..].first_chunk()?);
            let age = now.wrapping_sub(made).cast_signed();
            (-AHEAD..=OLDEST).contains(&age).then_some((key, server, age))
        });
        let server = match recognized {
            Some((0, server, age)) if age < STALE => server,
            _ => self.0.first().map_or([0; SERVER], |key| make(key, cookie, from, now)),
        };
        let mut bytes = [0; CLIENT + SERVER];
        bytes[..CLIENT].copy_from_slice(&cookie.client);
        bytes[CLIENT..].copy_from_slice(&server);
        Served { bytes, is_known: recognized.is_some() }
    }

    /// Which of our secrets made a server cookie.
    fn maker(&self, cookie: &Cookie, server: &[u8; SERVER], from: IpAddr) -> Option<usize> {
        let is_made_with = |key: &Key| {
            // Reserved bytes are hashed as they came. Time must not tell how much of a guess was right.
            let hash = hash(key, cookie, &server[..8], from);
            hash.iter().zip(&server[8..]).fold(0, |all, (a, b)| all | (a ^ b)) == 0
        };
        if server[0] == HEAD[0] { self.0.iter().position(is_made_with) } else { None }
    }
}

fn make(key: &Key, cookie: &Cookie, from: IpAddr, now: u32) -> [u8; SERVER] {
    let mut server = [0; SERVER];
    server[..4].copy_from_slice(&HEAD);
    server[4..8].copy_from_slice(&now.to_be_bytes());
    let hash = hash(key, cookie, &server[..8], from);
    server[8..].copy_from_slice(&hash);
    server
}

/// Client cookie, head of the server cookie, client address.
fn hash(key: &Key, cookie: &Cookie, head: &[u8], from: IpAddr) -> [u8; 8] {
    let mut message = [0; CLIENT + 8 + 16];
    message[..CLIENT].copy_from_slice(&cookie.client);
    message[CLIENT..CLIENT + 8].copy_from_slice(head);
    let address = &mut message[CLIENT + 8..];
    let length = match from.to_canonical() {
        IpAddr::V4(ip) => {
            address[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            address.copy_from_slice(&ip.octets());
            16
        }
    };
    siphash(key, &message[..CLIENT + 8 + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn jar(secrets: &[&str]) -> Jar {
        Jar::new(&secrets.iter().map(|hex| Secret::try_from((*hex).to_owned()).unwrap()).collect::<Vec<_>>())
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// RFC 9018 appendix A.1: a client without a server cookie.
    #[test]
    fn a_new_client_gets_the_cookie_that_the_rfc_computes() {
        let cookie = Cookie::read(&bytes("2464c4abcf10c957")).unwrap();
        let served = jar(&[SECRET]).serve(&cookie, "198.51.100.100".parse().unwrap(), 1_559_731_985);
        assert_eq!(served.bytes[..], bytes("2464c4abcf10c957010000005cf79f111f8130c3eee29480"));
        assert!(!served.is_known);
    }

    /// Appendix A.2: the same client again, forty minutes later.
    #[test]
    fn a_known_client_gets_a_younger_one_in_time() {
        let cookie = Cookie::read(&bytes("2464c4abcf10c957010000005cf79f111f8130c3eee29480")).unwrap();
        let from = "198.51.100.100".parse().unwrap();
        let served = jar(&[SECRET]).serve(&cookie, from, 1_559_734_385);
        assert!(served.is_known);
        assert_eq!(served.bytes[..], bytes("2464c4abcf10c957010000005cf7a871d4a564a1442aca77"));
        let soon = jar(&[SECRET]).serve(&cookie, from, 1_559_731_985 + 60);
        assert_eq!(soon.bytes[8..], cookie.server.unwrap());
        for now in [1_559_731_985 + 3601, 1_559_731_985 - 301] {
            assert!(!jar(&[SECRET]).serve(&cookie, from, now).is_known, "{now}");
        }
        let other = "198.51.100.101".parse().unwrap();
        assert!(!jar(&[SECRET]).serve(&cookie, other, 1_559_734_385).is_known, "another address");
    }

    /// Appendix A.3: reserved bytes that are not zero are part of what is hashed. The cookie is two hours old.
    #[test]
    fn reserved_bytes_count() {
        let cookie = Cookie::read(&bytes("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5")).unwrap();
        let (jar, from) = (jar(&[SECRET]), "203.0.113.203".parse().unwrap());
        assert_eq!(jar.maker(&cookie, &cookie.server.unwrap(), from), Some(0));
        let served = jar.serve(&cookie, from, 1_559_734_700);
        assert!(!served.is_known);
        assert_eq!(served.bytes[..], bytes("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"));
    }

    /// Appendix A.4: IPv6, and a secret that is being replaced.
    #[test]
    fn an_older_secret_still_recognizes() {
        let cookie = Cookie::read(&bytes("22681ab97d52c298010000005cf7c57926556bd0934c72f8")).unwrap();
        let from = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let jar = jar(&["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"]);
        let served = jar.serve(&cookie, from, 1_559_741_961);
        assert!(served.is_known);
        assert_eq!(served.bytes[..], bytes("22681ab97d52c298010000005cf7c609a6bb79d16625507a"));
    }

    #[test]
    fn lengths_that_nobody_may_send() {
        for length in [0, 7, 9, 15, 41, 64] {
            assert_eq!(Cookie::read(&vec![1; length]), None, "{length}");
        }
        for length in [8, 16, 24, 40] {
            let cookie = Cookie::read(&vec![1; length]).unwrap();
            assert_eq!(cookie.server.is_some(), length == 24, "{length}");
        }
    }
}
