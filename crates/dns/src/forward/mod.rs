//! Passing a query on to other servers. Off unless configured.
//!
//! Deliberately without a cache: the host's resolver has one, and answers kept here would outlive what it
//! learns. Every query goes out from a port of its own that the kernel chose at random, under an id of our
//! own, and an answer counts only with that id and the same question (RFC 5452).

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Forward;
use crate::slow::Transport;
use crate::wire::HEADER;

/// Where the host's resolvers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most servers asked for one query.
const MOST_SERVERS: usize = 3;

/// Asks other servers.
#[derive(Debug)]
pub(crate) struct Forwarder {
    servers: Vec<SocketAddr>,
    within: Duration,
    permits: Semaphore,
    /// Turns a counter into ids that nobody outside can predict.
    secret: RandomState,
    counter: AtomicU64,
}

/// Why names cannot be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The host's list cannot be read.
    #[error("forward DNS queries: read {RESOLV_CONF}")]
    Read(#[source] io::Error),
    /// It lists nobody but ourselves.
    #[error("forward DNS queries: no server is configured, and {RESOLV_CONF} lists none but this daemon")]
    Nobody,
}

impl Forwarder {
    /// `None` when forwarding is off. `ours` are the addresses that we answer on ourselves.
    pub(crate) fn new(config: &Forward, ours: &[SocketAddr]) -> Result<Option<Forwarder>, ForwardError> {
        if !config.enabled {
            return Ok(None);
        }
        let mut servers = config.to.clone();
        if servers.is_empty() {
            servers = nameservers(&std::fs::read_to_string(RESOLV_CONF).map_err(ForwardError::Read)?);
        }
        servers.retain(|server| !ours.contains(server));
        servers.truncate(MOST_SERVERS);
        if servers.is_empty() {
            return Err(ForwardError::Nobody);
        }
        Ok(Some(Forwarder {
            servers,
            within: config.timeout.max(Duration::from_millis(1)),
            permits: Semaphore::new(config.max_in_flight),
            secret: RandomState::new(),
            counter: AtomicU64::new(0),
        }))
    }

    /// The first answer that any server gives; `None` when none does, or too many queries are under way.
    pub(crate) async fn ask(&self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let _permit = self.permits.try_acquire().ok()?;
        let id: [u8; 2] = packet.first_chunk().copied()?;
        let mut query = packet.to_vec();
        query[..2].copy_from_slice(&self.next_id());
        for server in &self.servers {
            let asked = timeout(self.within, ask_one(*server, &query, transport)).await;
            match asked.map_err(io::Error::from).flatten() {
                Ok(mut answer) => {
                    answer[..2].copy_from_slice(&id);
                    return Some(answer);
                }
                Err(cause) => tracing::debug!(%server, %cause, "forward a DNS query"),
            }
        }
        None
    }

    fn next_id(&self) -> [u8; 2] {
        let number = self.secret.hash_one(self.counter.fetch_add(1, Ordering::Relaxed));
        [number as u8, (number >> 8) as u8]
    }
}

async fn ask_one(server: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    const TRUNCATED: u8 = 0x02;
    let answer = by_udp(server, query).await?;
    // A client by UDP gets the short answer and decides for itself.
    match transport {
        Transport::Tcp if answer[2] & TRUNCATED != 0 => by_tcp(server, query).await,
        _ => Ok(answer),
    }
}

async fn by_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(query, &answer[..length]) {
            answer.truncate(length);
            answer.shrink_to_fit();
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match is_answer(query, &answer) {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question")),
    }
}

/// True for a response with the id and the question of `query`.
pub(crate) fn is_answer(query: &[u8], answer: &[u8]) -> bool {
    let Some(header) = answer.first_chunk::<HEADER>() else { return false };
    let is_response = header[2] & 0x80 != 0;
    let question = question_of(query);
    let same = question.is_some() && question == question_of(answer).as_ref().copied();
    is_response && header[..2] == query[..2] && same
}

/// Name, type and class of the one question, as bytes.
fn question_of(message: &[u8]) -> Option<&[u8]> {
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

/// The servers that a `resolv.conf` lists.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let addresses = words.filter_map(|words| match words[..] {
        ["nameserver", address, ..] => address.parse::<IpAddr>().ok(),
        _ => None,
    });
    addresses.map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# comment\nsearch lan\nnameserver 192.0.2.1\n nameserver 2001:db8::1 \nnameserver x\n";
        let expected: Vec<SocketAddr> =
            vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let query = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut answer = query.to_vec();
        assert!(!is_answer(query, &answer));
        answer[2] |= 0x80;
        assert!(is_answer(query, &answer));
        for at in [0, 1, 5, 13, 16] {
            let mut other = answer.clone();
            other[at] ^= 3;
            assert!(!is_answer(query, &other), "byte {at}");
        }
        assert!(!is_answer(query, &answer[..14]));
    }

    #[test]
    fn does_not_ask_itself() {
        let us: SocketAddr = "127.0.0.1:8600".parse().unwrap();
        let config = Forward { enabled: true, to: vec![us], ..Forward::default() };
        assert!(matches!(Forwarder::new(&config, &[us]), Err(ForwardError::Nobody)));
    }
}
