//! One question to one server. Every one goes out from a port of its own that the kernel chose at random, under an id
//! and with a spelling of the name that nobody outside can predict, and an answer counts only with all of them
//! (RFC 5452; the spelling is draft-vixie-dnsext-dns0x20).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::wire::{HEADER, rtype};

const TRUNCATED: u8 = 0x02;
/// Largest answer by UDP that we ask for.
const SIZE: u16 = 1232;
/// Longest that is read; a server that sends more did not read what we asked for.
const LONGEST: usize = 4096;

/// What becomes of a server's datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// It is the answer.
    Exact,
    /// It is but for the spelling: a server that does not keep it, or somebody who guessed.
    Respelled,
    /// It is about something else.
    Foreign,
}

/// A question as it goes out: `question` is name, type and class; `random` has a bit for the case of each letter.
pub(crate) fn query(id: [u8; 2], question: &[u8], random: &[u64; 4], flags: (bool, bool)) -> Vec<u8> {
    let (dnssec_ok, checking_disabled) = flags;
    let mut bytes = vec![id[0], id[1], 0x01, if checking_disabled { 0x10 } else { 0 }];
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 1]);
    let name = question.len().saturating_sub(4);
    for (at, byte) in question.iter().enumerate() {
        let raises = at < name && random[at / 64 % 4] >> (at % 64) & 1 == 1;
        // A length byte is below 64 and no letter.
        bytes.push(if raises { byte.to_ascii_uppercase() } else { *byte });
    }
    let [high, low] = SIZE.to_be_bytes();
    bytes.extend([0, 0, rtype::OPT as u8, high, low, 0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    bytes
}

/// Asks by UDP, and by TCP where that is not enough.
pub(crate) async fn ask(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    match by_udp(server, query).await? {
        Some(answer) if answer[2] & TRUNCATED == 0 => Ok(answer),
        _ => by_tcp(server, query).await,
    }
}

/// `None` when TCP must decide.
async fn by_udp(server: SocketAddr, query: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        match compare(query, &answer[..length]) {
            Match::Exact => {
                answer.truncate(length);
                answer.shrink_to_fit();
                return Ok(Some(answer));
            }
            Match::Respelled => return Ok(None),
            Match::Foreign => {}
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match compare(query, &answer) {
        Match::Exact | Match::Respelled => Ok(answer),
        Match::Foreign => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question"))
        }
    }
}

/// Whether `answer` is a response with the id and the question of `query`.
pub(crate) fn compare(query: &[u8], answer: &[u8]) -> Match {
    let Some(header) = answer.first_chunk::<HEADER>() else { return Match::Foreign };
    let is_response = header[2] & 0x80 != 0;
    match (question_of(query), question_of(answer)) {
        (Some(asked), Some(told)) if is_response && header[..2] == query[..2] => match () {
            () if asked == told => Match::Exact,
            () if asked.eq_ignore_ascii_case(told) => Match::Respelled,
            () => Match::Foreign,
        },
        _ => Match::Foreign,
    }
}

/// Name, type and class of the one question, as bytes.
pub(crate) fn question_of(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER..at + 5),
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query = query([0x12, 0x34], b"\x02ab\0\0\x01\0\x01", &[0b10; 4], (true, true));
        assert_eq!(query[HEADER..HEADER + 8], *b"\x02Ab\0\0\x01\0\x01");
        let mut answer = query.clone();
        assert_eq!(compare(&query, &answer), Match::Foreign);
        answer[2] |= 0x80;
        assert_eq!(compare(&query, &answer), Match::Exact);
        for at in [0, 1, 5, 13, 17] {
            let mut other = answer.clone();
            other[at] ^= 3;
            assert_eq!(compare(&query, &other), Match::Foreign, "byte {at}");
        }
        let mut respelled = answer.clone();
        respelled[13] ^= 0x20;
        assert_eq!(compare(&query, &respelled), Match::Respelled);
        assert_eq!(compare(&query, &answer[..14]), Match::Foreign);
    }
}
