//! Programs that ask a broker: one packet of JSON, one back with a descriptor; and what they do with the connection.

use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::set_socket_linger;
use sys::pass::{Packet, Passing as _, ReceiveError, Socket};

use super::Client;

/// What one write of the bulk flow has.
const BLOCK: usize = 256 * 1024;
/// A ping, and its answer.
const PING: usize = 64;
/// Longest packet of the broker's.
const LONGEST: usize = 64 * 1024;
/// How long a service may take to be known.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program's connection to a broker.
pub(crate) struct Program(OwnedFd);

fn request(name: &str) -> String {
    format!(r#"{{"v":1,"op":"connect","name":"{name}"}}"#)
}

impl Program {
    pub(crate) fn at(broker: &Path) -> Result<Program> {
        let socket = sys::pass::seqpacket(broker);
        Ok(Program(socket.with_context(|| format!("connect to the broker at {}", broker.display()))?))
    }

    /// A connection, once the service is known.
    pub(crate) fn connect(&self, name: &str) -> Result<OwnedFd> {
        let begin = Instant::now();
        loop {
            match self.ask(&request(name))? {
                (_, Some(socket)) => return Ok(socket),
                (said, None) if begin.elapsed() > PATIENCE => bail!("no connection to {name}: {said}"),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn ask(&self, request: &str) -> Result<(String, Option<OwnedFd>)> {
        self.0.send(request.as_bytes(), &[]).context("ask the broker")?;
        let mut buffer = vec![0; LONGEST];
        let packet = self.0.receive(&mut buffer).context("hear from the broker")?;
        let said = String::from_utf8_lossy(&buffer[..packet.length]).into_owned();
        Ok((said, packet.descriptors.into_iter().next()))
    }
}

/// A program that asks for one connection after another, and closes each.
pub(crate) struct Asker {
    socket: Socket,
    request: String,
    buffer: Vec<u8>,
}

impl Asker {
    /// On the runtime that this is called on.
    pub(crate) fn new(broker: &Path, name: &str) -> Result<Asker> {
        let Program(socket) = Program::at(broker)?;
        sys::pass::set_blocking(socket.as_fd(), false).context("make a socket not block")?;
        let socket = Socket::register(socket).context("watch a socket")?;
        Ok(Asker { socket, request: request(name), buffer: vec![0; LONGEST] })
    }
}

impl Client for Asker {
    async fn step(&mut self, _: u64) -> Result<()> {
        let Asker { socket, request, buffer } = self;
        socket.when_writable(|to| to.send(request.as_bytes(), &[])).await.context("ask the broker")?;
        let heard = socket.when_readable(|from| {
            from.receive(buffer).map_err(|error| match error {
                ReceiveError::Socket(cause) => cause,
                other => std::io::Error::other(other),
            })
        });
        let Packet { length, descriptors } = heard.await.context("hear from the broker")?;
        let Some(connection) = descriptors.into_iter().next() else {
            bail!("no connection: {}", String::from_utf8_lossy(&buffer[..length]));
        };
        // Reset, or the ports of a short second wait for a minute each. A Unix socket knows no such thing.
        let _ = set_socket_linger(&connection, Some(Duration::ZERO));
        Ok(())
    }
}

/// Round trips of 64 bytes, one after the other, for so long.
pub(crate) fn pings(stream: &mut (impl Read + Write), time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let (mut trips, mut answer) = (0, [0; PING]);
    while Instant::now() < end {
        stream.write_all(&[7; PING]).context("send a ping")?;
        stream.read_exact(&mut answer).context("wait for a ping's answer")?;
        trips += 1;
    }
    Ok(trips)
}

/// Writes for so long; bytes that were written.
pub(crate) fn bulk(stream: &mut impl Write, time: Duration) -> Result<u64> {
    let block = vec![b'x'; BLOCK];
    let end = Instant::now() + time;
    let mut written = 0;
    while Instant::now() < end {
        stream.write_all(&block).context("write to a sink")?;
        written += BLOCK as u64;
    }
    Ok(written)
}
