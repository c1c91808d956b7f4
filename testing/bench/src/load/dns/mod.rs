//! DNS clients: here one of a single question, is there an address for this name yet; beside it those that
//! ask as much as a server takes.

pub(crate) mod burst;
pub(crate) mod dnsperf;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A socket connected to one server.
pub(crate) struct Resolver {
    socket: UdpSocket,
    id: u16,
}

impl Resolver {
    pub(crate) fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("open a UDP socket")?;
        socket.connect(server).with_context(|| format!("connect to {server}"))?;
        socket.set_read_timeout(Some(Duration::from_secs(2))).context("set a timeout")?;
        Ok(Resolver { socket, id: 0 })
    }

    /// How many A records the server answers with.
    pub(crate) fn addresses(&mut self, name: &str) -> Result<u16> {
        self.id = self.id.wrapping_add(1);
        self.socket.send(&question(self.id, name)).context("send a DNS query")?;
        let mut answer = [0; 4096];
        let length = self.socket.recv(&mut answer).with_context(|| format!("no DNS answer for {name}"))?;
        ensure!(length >= 12 && answer[..2] == self.id.to_be_bytes(), "an answer to another question");
        match answer[3] & 0x0f {
            0 | 3 => Ok(u16::from_be_bytes([answer[6], answer[7]])),
            code => bail!("the server answers {name} with RCODE {code}"),
        }
    }

    /// Asks until there is an address, again when no answer comes, as resolvers do.
    pub(crate) fn wait_for(&mut self, name: &str, limit: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.addresses(name) {
                Ok(1..) => return Ok(()),
                answer if begin.elapsed() > limit => {
                    bail!("{name} is not in DNS after {limit:?}; the last answer: {answer:?}")
                }
                _ => {}
            }
        }
    }
}

/// Header, name, type A, class IN. Names come from this program, so labels are short.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::question;

    #[test]
    fn a_question_is_what_rfc_1035_says() {
        let expected = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";
        assert_eq!(question(7, "a.bc."), expected);
    }
}
