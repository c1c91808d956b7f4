//! Passing a query on to other servers. Off unless configured.
//!
//! One question is under way once, however many ask it: that keeps a forger from trying many answers at the same
//! time (RFC 5452 section 5), and ends a loop of servers that forward to each other at its second turn. Answers are
//! kept for as long as they say, failures for a moment; nothing that belongs to one neighbour (EDNS options, ids)
//! is passed on to another.

mod cache;
mod exchange;
mod stored;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use relay::limit::holder;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use crate::config::Forward;
use crate::forward::cache::{Cache, Key};
use crate::forward::stored::Stored;
use crate::slow::{Envelope, Query};
use crate::wire::HEADER;
use crate::wire::question::Question;

/// Where the host's resolvers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most servers asked for one query.
const MOST_SERVERS: usize = 3;
/// Share of all queries under way that one client may have.
const SHARE: usize = 4;

/// Asks other servers.
#[derive(Debug)]
pub(crate) struct Forwarder {
    servers: Vec<SocketAddr>,
    within: Duration,
    permits: Semaphore,
    most_of_one: usize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
    under_way: Mutex<HashMap<Key, Arc<Asking>>>,
    cache: Cache,
    /// Turns a counter into numbers that nobody outside can predict.
    secret: RandomState,
    counter: AtomicU64,
}

/// One question under way: whoever asks it waits for the same answer, which may be none.
type Asking = OnceCell<Option<Arc<Stored>>>;

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

/// What another server's answer became.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) code: u16,
    pub(crate) truncated: bool,
    /// Nobody was asked.
    pub(crate) from_cache: bool,
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
            most_of_one: config.max_in_flight.div_ceil(SHARE),
            by_client: Mutex::default(),
            under_way: Mutex::default(),
            cache: Cache::new(config.cache_entries, config.cache_ttl),
            secret: RandomState::new(),
            counter: AtomicU64::new(0),
        }))
    }

    /// The answer from the cache or from the first server that gives one; `None` when none does, too many queries are
    /// under way, or this one is not as clients send it. `envelope` says how long the answer may be.
    pub(crate) async fn ask(&self, query: &Query<'_>, envelope: &Envelope, our_size: u16) -> Option<Reply> {
        let mut question = Question::default();
        question.read(query.packet).ok()?;
        let lower = query.packet.get(HEADER..question.end)?.to_ascii_lowercase().into();
        let dnssec_ok = question.edns.is_some_and(|edns| edns.dnssec_ok);
        let key = Key { question: lower, flags: (dnssec_ok, query.packet[3] & 0x10 != 0) };
        let kept = self.cache.get(&key, Instant::now());
        let from_cache = kept.is_some();
        let (stored, age_s) = match kept {
            Some(kept) => kept,
            None => (self.fetch(&key, query.from).await?, 0),
        };
        let (bytes, truncated) = stored.answer(query.packet, &question, age_s, our_size, envelope);
        Some(Reply { bytes, code: stored.code(), truncated, from_cache })
    }

    /// Asks, or waits for who asks the same already.
    async fn fetch(&self, key: &Key, from: IpAddr) -> Option<Arc<Stored>> {
        let _permit = self.permits.try_acquire().ok()?;
        let _seat = self.seat(from)?;
        let asking = lock(&self.under_way).entry(key.clone()).or_default().clone();
        let stored = asking.get_or_init(|| self.first_answer(key)).await.clone();
        let mut under_way = lock(&self.under_way);
        if under_way.get(key).is_some_and(|other| Arc::ptr_eq(other, &asking)) {
            under_way.remove(key);
        }
        stored
    }

    async fn first_answer(&self, key: &Key) -> Option<Arc<Stored>> {
        let random = [(); 4].map(|()| self.random());
        let [high, low, ..] = self.random().to_be_bytes();
        let query = exchange::query([high, low], &key.question, &random, key.flags);
        for server in &self.servers {
            let asked = timeout(self.within, exchange::ask(*server, &query)).await;
            let answer = asked.map_err(io::Error::from).flatten().and_then(|answer| {
                let stored = Stored::read(&answer, HEADER + key.question.len());
                stored.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is malformed"))
            });
            match answer {
                Ok(stored) => {
                    let stored = Arc::new(stored);
                    self.cache.put(key, &stored, Instant::now());
                    return Some(stored);
                }
                Err(cause) => tracing::debug!(%server, %cause, "forward a DNS query"),
            }
        }
        None
    }

    fn random(&self) -> u64 {
        self.secret.hash_one(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// One of the places that a client may have: a network of IPv6 is one, since whoever has one address there has 2^64.
    fn seat(&self, client: IpAddr) -> Option<Seat<'_>> {
        let client = holder(client);
        let mut by_client = lock(&self.by_client);
        let taken = by_client.entry(client).or_default();
        if *taken >= self.most_of_one {
            return None;
        }
        *taken += 1;
        Some(Seat { by_client: &self.by_client, client })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Seat<'f> {
    by_client: &'f Mutex<HashMap<IpAddr, usize>>,
    client: IpAddr,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut by_client = lock(self.by_client);
        if let Some(taken) = by_client.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                by_client.remove(&self.client);
            }
        }
    }
}

/// Any bytes as a query and another server's answer to it, for fuzzing.
pub(crate) fn fuzz(query: &[u8], answer: &[u8]) {
    let _ = exchange::compare(query, answer);
    let Some(asked) = exchange::question_of(answer) else { return };
    let Some(stored) = Stored::read(answer, HEADER + asked.len()) else { return };
    // A client that asks the same, with room for little.
    let packet = [&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], asked].concat();
    let mut question = Question::default();
    if question.read(&packet).is_err() {
        return;
    }
    for limit in [512, usize::from(u16::MAX)] {
        let envelope = Envelope { limit, serial: 0, recursion: true, cookie: None, slips: false };
        let (bytes, truncated) = stored.answer(&packet, &question, 1, 1232, &envelope);
        assert!(bytes.len() <= limit && bytes[..2] == [7, 7] && bytes[2] & 0x80 != 0);
        assert!(truncated || bytes.len() <= answer.len());
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
    fn a_network_of_ipv6_has_the_share_of_one_client() {
        let to = vec!["192.0.2.1:53".parse().unwrap()];
        let config = Forward { enabled: true, to, max_in_flight: 8, ..Forward::default() };
        let forwarder = Forwarder::new(&config, &[]).unwrap().unwrap();
        let seat = |text: &str| forwarder.seat(text.parse().unwrap());
        let taken = [seat("2001:db8::1").unwrap(), seat("2001:db8::2").unwrap()];
        assert!(seat("2001:db8::3").is_none());
        assert!(seat("2001:db8:0:1::1").is_some() && seat("192.0.2.7").is_some());
        drop(taken);
        assert!(seat("2001:db8::3").is_some());
    }

    #[test]
    fn does_not_ask_itself() {
        let us: SocketAddr = "127.0.0.1:8600".parse().unwrap();
        let config = Forward { enabled: true, to: vec![us], ..Forward::default() };
        assert!(matches!(Forwarder::new(&config, &[us]), Err(ForwardError::Nobody)));
    }
}
