//! TCP (RFC 7766): pipelined queries, answers in whatever order they are ready, nobody served for nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use relay::limit::holder;
use state::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::Shared;
use crate::config::TcpLimits;
use crate::later;
use crate::metrics::Closed;

/// Longest query that is read; a longer one ends the connection.
const LONGEST_QUERY: usize = 4096;
/// Queries of one connection that are answered at the same time.
const PIPELINE: usize = 16;
/// Answers that wait for one connection's client to read.
const UNREAD: usize = 16;
/// Pause after the kernel refused a connection, which it does when descriptors run out.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// Accepts until it is time to leave. Connections end by themselves: each holds the drain.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, limits: TcpLimits, drain: Drain) {
    let limits = Arc::new(limits);
    let guests = Arc::new(Guests::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.started() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::debug!(%cause, "accept a DNS connection");
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        let is_local = shared.zone.load().is_local(from.ip());
        let seat = match guests.clone().seat(from.ip(), is_local, &limits) {
            Ok(seat) => seat,
            Err(why) => {
                shared.metrics.closed(why);
                continue;
            }
        };
        let (shared, limits, drain) = (shared.clone(), limits.clone(), drain.clone());
        tokio::spawn(async move {
            shared.metrics.tcp_connections.inc();
            // Small answers must not wait for the client's acknowledgement of the one before.
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            let connection = Connection { shared: shared.clone(), from, limits, drain };
            connection.serve(read, write).await;
            shared.metrics.tcp_connections.dec();
            drop(seat);
        });
    }
}

struct Connection {
    shared: Arc<Shared>,
    from: SocketAddr,
    limits: Arc<TcpLimits>,
    drain: Drain,
}

impl Connection {
    async fn serve(self, read: OwnedReadHalf, write: OwnedWriteHalf) {
        let (answers, queue) = mpsc::channel(UNREAD);
        let within = self.limits.write_timeout;
        let mut writer = tokio::spawn(write_all(write, queue, within));
        let reason = tokio::select! {
            reason = self.read_all(read, answers) => reason,
            // The client does not read, or is gone: what it still asks is of no use to it.
            result = &mut writer => {
                let is_slow = result.is_ok_and(|result| is_timeout(&result));
                is_slow.then_some(Closed::NotReading)
            }
        };
        if let Some(reason) = reason {
            self.shared.metrics.closed(reason);
        }
        if !writer.is_finished() {
            let _ = writer.await;
        }
    }

    /// Reads queries until the client ends, pauses for too long, or it is time to leave.
    async fn read_all(&self, read: OwnedReadHalf, answers: mpsc::Sender<Vec<u8>>) -> Option<Closed> {
        let mut read = BufReader::with_capacity(1024, read);
        let idle = self.limits.idle_timeout;
        let permits = Arc::new(Semaphore::new(PIPELINE));
        loop {
            let query = tokio::select! {
                query = timeout(idle, read_query(&mut read)) => query,
                () = self.drain.started() => return None,
            };
            let query = match query {
                Ok(Ok(Some(query))) => query,
                Ok(Ok(None)) => return Some(Closed::Oversized),
                Ok(Err(_)) => return None,
                Err(_) => return Some(Closed::Idle),
            };
            self.shared.metrics.tcp_query();
            let permit = permits.clone().acquire_owned().await.ok()?;
            let (shared, from, answers) = (self.shared.clone(), self.from.ip(), answers.clone());
            tokio::spawn(async move {
                let _permit = permit;
                if let Some(answer) = later::answer(&shared, &query, from).await {
                    // Refused only when the connection is gone.
                    let _ = answers.send(answer).await;
                }
            });
        }
    }
}

/// One query behind its length; `None` when it is longer than any.
async fn read_query(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(read.read_u16().await?);
    if length > LONGEST_QUERY {
        return Ok(None);
    }
    let mut query = vec![0; length];
    read.read_exact(&mut query).await?;
    Ok(Some(query))
}

/// Writes answers behind their lengths, as many at once as are ready.
async fn write_all(
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Vec<u8>>,
    within: Duration,
) -> io::Result<()> {
    let (mut answers, mut bytes) = (Vec::new(), Vec::new());
    while queue.recv_many(&mut answers, UNREAD).await > 0 {
        for answer in answers.drain(..) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&answer);
        }
        timeout(within, write.write_all(&bytes)).await??;
        bytes.clear();
    }
    write.shutdown().await
}

fn is_timeout(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Who is connected: of IPv6 networks, since whoever has one address there has 2^64.
#[derive(Default)]
struct Guests(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place; dropping it gives it back.
struct Seat {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    fn seat(self: Arc<Self>, address: IpAddr, is_local: bool, limits: &TcpLimits) -> Result<Seat, Closed> {
        let address = holder(address);
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.values().sum::<usize>() >= limits.max_connections {
            return Err(Closed::TooMany);
        }
        let taken = seats.entry(address).or_default();
        if *taken >= limits.max_per_address && !is_local {
            return Err(Closed::TooManyFromAddress);
        }
        *taken += 1;
        drop(seats);
        Ok(Seat { guests: self, address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_has_the_seats_of_one_address() {
        let guests = Arc::new(Guests::default());
        let limits = TcpLimits { max_per_address: 2, ..TcpLimits::default() };
        let seat = |text: &str| guests.clone().seat(text.parse().unwrap(), false, &limits);
        let first = seat("2001:db8::1").unwrap();
        let _second = seat("2001:db8::2").unwrap();
        assert!(matches!(seat("2001:db8::ffff:3"), Err(Closed::TooManyFromAddress)));
        let _other =
            [seat("2001:db8:0:1::1").unwrap(), seat("192.0.2.1").unwrap(), seat("192.0.2.2").unwrap()];
        drop(first);
        let _third = seat("2001:db8::3").unwrap();
    }
}
