//! Datagrams through a relay, there and back.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sys::listen::Sharing;
use sys::mmsg::{BATCH, Inbox, Outbox};

/// Clients, each with a session of its own.
const CLIENTS: usize = 16;
/// Datagrams of one client under way.
const OUTSTANDING: usize = 32;
/// As long as a DNS query or a short game packet.
const LENGTH: usize = 64;
/// Room for all of them at the server: what is lost is lost by the relay.
const BUFFER: usize = 2 << 20;
/// What has not come back by then never will.
const PATIENCE: Duration = Duration::from_millis(100);

/// A server that sends everything back, for as long as this process lives.
pub(crate) fn mirror() -> Result<SocketAddr> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = sys::listen::udp(any, Sharing::Exclusive, BUFFER).context("open a UDP socket")?;
    socket.set_nonblocking(false).context("make a socket block")?;
    let address = socket.local_addr().context("ask for an address")?;
    std::thread::spawn(move || {
        let (mut inbox, mut outbox) = (Inbox::new(BATCH, 2048), Outbox::new(BATCH, 2048));
        while inbox.receive(&socket).is_ok() {
            inbox.iter().for_each(|datagram| drop_if_full(&mut outbox, datagram.bytes, datagram.from));
            while !outbox.is_empty() && outbox.send(&socket).is_ok() {}
            outbox.clear();
        }
    });
    Ok(address)
}

fn drop_if_full(outbox: &mut Outbox, bytes: &[u8], to: Option<SocketAddr>) {
    let _ = outbox.push_bytes(bytes, to);
}

/// What came back, and what did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) round_trips: u64,
    pub(crate) lost: u64,
}

struct Client {
    socket: UdpSocket,
    outstanding: usize,
    last: Instant,
}

/// Sends through `relay` for so long.
pub(crate) fn through(relay: SocketAddr, time: Duration) -> Result<Returned> {
    let mut clients = (0..CLIENTS).map(|_| Client::new(relay)).collect::<Result<Vec<_>>>()?;
    let (mut inbox, mut outbox) = (Inbox::new(BATCH, 2048), Outbox::new(BATCH, LENGTH));
    let mut returned = Returned::default();
    let end = Instant::now() + time;
    while Instant::now() < end {
        clients.iter_mut().for_each(|client| client.turn(&mut inbox, &mut outbox, &mut returned));
    }
    ensure!(returned.round_trips > 0, "nothing came back from {relay} in {time:?}");
    Ok(returned)
}

impl Client {
    fn new(relay: SocketAddr) -> Result<Client> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("open a UDP socket")?;
        socket.connect(relay).with_context(|| format!("connect to {relay}"))?;
        socket.set_nonblocking(true).context("make a socket not block")?;
        Ok(Client { socket, outstanding: 0, last: Instant::now() })
    }

    fn turn(&mut self, inbox: &mut Inbox, outbox: &mut Outbox, returned: &mut Returned) {
        match inbox.receive(&self.socket) {
            Ok(count) => {
                self.outstanding = self.outstanding.saturating_sub(count);
                returned.round_trips += count as u64;
                self.last = Instant::now();
            }
            Err(_) if self.last.elapsed() > PATIENCE => {
                returned.lost += self.outstanding as u64;
                (self.outstanding, self.last) = (0, Instant::now());
            }
            Err(_) => {}
        }
        if self.outstanding <= OUTSTANDING / 2 {
            let more = OUTSTANDING - self.outstanding;
            (0..more).for_each(|_| drop_if_full(outbox, &[7; LENGTH], None));
            self.outstanding += more;
            while !outbox.is_empty() && outbox.send(&self.socket).is_ok() {}
            outbox.clear();
        }
    }
}
