//! As many queries as a server takes: several sockets, batches, never asleep.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sys::mmsg::{BATCH, Inbox, Outbox};

use super::question;

/// Sockets, each a client of its own to the server.
const SOCKETS: usize = 8;
/// Queries of one socket without an answer yet.
const OUTSTANDING: usize = 64;
/// Answers that have not come by then never will.
const PATIENCE: Duration = Duration::from_millis(200);
/// Different names of one run; more would only measure the loader's own memory.
const DRAWN: usize = 50_000;
/// Header's place of the number of answers, and of the response code.
const ANSWERS: usize = 6;
const CODE: usize = 3;

/// What a burst did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Answers with at least one record and no error.
    pub(crate) good: u64,
    /// Other answers.
    pub(crate) bad: u64,
    /// Queries that got none.
    pub(crate) lost: u64,
}

/// Queries for A records of random names.
pub(crate) struct Queries(Vec<Vec<u8>>);

impl Queries {
    /// `name` gives the name of a number below `count`.
    pub(crate) fn draw(count: u64, name: impl Fn(u64) -> String) -> Queries {
        // The same order in every run: what is compared gets the same work.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % count
        };
        Queries((0..DRAWN).map(|_| question(0, &name(next()))).collect())
    }
}

struct Client {
    socket: UdpSocket,
    outstanding: usize,
    last: Instant,
}

/// Asks `server` for so long.
pub(crate) fn burst(server: SocketAddr, queries: &Queries, time: Duration) -> Result<Answered> {
    let mut clients = (0..SOCKETS).map(|_| Client::new(server)).collect::<Result<Vec<_>>>()?;
    let (mut inbox, mut outbox) = (Inbox::new(BATCH, 4096), Outbox::new(BATCH, 512));
    let mut answered = Answered::default();
    let mut next = queries.0.iter().cycle();
    let end = Instant::now() + time;
    while Instant::now() < end {
        for client in &mut clients {
            client.receive(&mut inbox, &mut answered);
            while client.outstanding + BATCH <= OUTSTANDING {
                next.by_ref().take(BATCH).all(|query| outbox.push_bytes(query, None));
                client.send(&mut outbox);
            }
        }
    }
    ensure!(answered.good > 0, "no answer from {server} in {time:?}");
    Ok(answered)
}

impl Client {
    fn new(server: SocketAddr) -> Result<Client> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("open a UDP socket")?;
        socket.connect(server).with_context(|| format!("connect to {server}"))?;
        socket.set_nonblocking(true).context("make a socket not block")?;
        Ok(Client { socket, outstanding: 0, last: Instant::now() })
    }

    fn receive(&mut self, inbox: &mut Inbox, answered: &mut Answered) {
        match inbox.receive(&self.socket) {
            Ok(count) => {
                self.outstanding = self.outstanding.saturating_sub(count);
                self.last = Instant::now();
                for answer in inbox.iter() {
                    let is_good = answer.bytes.len() > 12
                        && answer.bytes[CODE] & 0x0f == 0
                        && answer.bytes[ANSWERS..ANSWERS + 2] != [0, 0];
                    *(if is_good { &mut answered.good } else { &mut answered.bad }) += 1;
                }
            }
            Err(_) if self.last.elapsed() > PATIENCE => {
                answered.lost += self.outstanding as u64;
                self.outstanding = 0;
                self.last = Instant::now();
            }
            Err(_) => {}
        }
    }

    fn send(&mut self, outbox: &mut Outbox) {
        // What the socket refuses is lost, and shows as such.
        self.outstanding += outbox.len();
        while !outbox.is_empty() && outbox.send(&self.socket).is_ok() {}
        outbox.clear();
    }
}
