//! One question for addresses, as plain as it gets (RFC 1035).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// What a name server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// RCODE: 0 is fine, 3 is no such name.
    pub code: u8,
    /// Addresses, sorted.
    pub addresses: Vec<Ipv4Addr>,
}

/// Asks for the IPv4 addresses of a name.
///
/// # Errors
/// No answer within `limit`, or one that is not DNS.
pub fn ask(server: SocketAddr, limit: Duration, name: &str) -> io::Result<Said> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(limit))?;
    socket.send(&question(name))?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    read(&answer[..length]).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole DNS answer"))
}

/// Recursion desired, one question, type A.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

fn read(bytes: &[u8]) -> Option<Said> {
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (code, answers) = (bytes.get(3)? & 15, number(6)?);
    let mut at = past_name(bytes, 12)? + 4;
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = past_name(bytes, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + length)?;
        if let (1, Ok(address)) = (kind, <[u8; 4]>::try_from(data)) {
            addresses.push(address.into());
        }
        at += 10 + length;
    }
    addresses.sort_unstable();
    Some(Said { code, addresses })
}

fn past_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += usize::from(*length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, question, read};

    #[test]
    fn an_answer_is_read_by_its_addresses() {
        let mut answer = question("web.svc.internal");
        answer[3] = 0;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 1]);
        let said = Said { code: 0, addresses: vec![[10, 0, 0, 1].into()] };
        assert_eq!(read(&answer), Some(said));
        assert_eq!(read(&answer[..answer.len() - 1]), None);
        assert_eq!(read(&[]), None);
    }
}
