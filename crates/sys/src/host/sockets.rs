//! Who listens on this host: `/proc/net/{tcp,tcp6,udp,udp6}`, as `proc_net_tcp(5)` describes them.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A socket that waits for peers: TCP in state LISTEN, or UDP without a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listening {
    /// Protocol.
    pub transport: Transport,
    /// Where. The unspecified address is the wildcard; `[::]` may take IPv4 too, the table does not say.
    pub address: SocketAddr,
    /// User that owns it.
    pub uid: u32,
}

impl Listening {
    /// True when it takes its port on every address.
    pub fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }
}

/// A line that is not as the manual says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the kernel's socket table: {what} in line {line:?}")]
pub struct ParseError {
    what: &'static str,
    line: String,
}

/// State `TCP_LISTEN`, in the kernel's hexadecimal.
const LISTEN: &str = "0A";
/// State `TCP_CLOSE`, which is what a UDP socket without a peer shows.
const CLOSE: &str = "07";

/// All sockets that wait for peers in this network namespace.
///
/// # Errors
/// When a table cannot be read. A kernel without IPv6 has no `tcp6`, which is no error.
pub fn listening() -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    let tables = [
        (Transport::Tcp, "/proc/net/tcp"),
        (Transport::Tcp, "/proc/net/tcp6"),
        (Transport::Udp, "/proc/net/udp"),
        (Transport::Udp, "/proc/net/udp6"),
    ];
    for (transport, path) in tables {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && path.ends_with('6') => continue,
            Err(cause) => return Err(io::Error::new(cause.kind(), format!("open {path}: {cause}"))),
        };
        for line in BufReader::new(file).lines().skip(1) {
            found.extend(parse(transport, &line?).map_err(io::Error::other)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Reads one line of a table below its heading; `None` for a socket that waits for nobody.
///
/// # Errors
/// [`ParseError`] with the line.
pub fn parse(transport: Transport, line: &str) -> Result<Option<Listening>, ParseError> {
    let broken = |what| ParseError { what, line: line.chars().take(200).collect() };
    let mut fields = line.split_ascii_whitespace();
    let (Some(_slot), Some(local), Some(_remote), Some(state)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(broken("too few fields"));
    };
    let waits = match transport {
        Transport::Tcp => LISTEN,
        Transport::Udp => CLOSE,
    };
    if !state.eq_ignore_ascii_case(waits) {
        return Ok(None);
    }
    let address = address(local).ok_or_else(|| broken("no address"))?;
    // Queues, timer, retransmissions, then the user.
    let uid = fields.nth(3).and_then(|uid| uid.parse().ok()).ok_or_else(|| broken("no user"))?;
    Ok(Some(Listening { transport, address, uid }))
}

/// `0100007F:1F90`: 32-bit words in the byte order of this machine, the port in that of the network.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernels_lines() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 1 0";
        let read = parse(Transport::Tcp, v4).unwrap().unwrap();
        assert_eq!((read.address, read.uid), ("127.0.0.1:8080".parse().unwrap(), 1000));
        assert!(!read.is_wildcard());
        let v6 = "   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1";
        let read = parse(Transport::Tcp, v6).unwrap().unwrap();
        assert_eq!(read.address, "[::]:22".parse().unwrap());
        assert!(read.is_wildcard());
        let loopback = "2: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 0:0 0 53 0 1";
        let read = parse(Transport::Udp, loopback).unwrap().unwrap();
        assert_eq!(read.address, "[::1]:53".parse().unwrap());
    }

    #[test]
    fn passes_over_connections_and_names_broken_lines() {
        let established = "0: 0100007F:1F90 0100007F:A000 01 0:0 00:0 0 0 0 1";
        assert_eq!(parse(Transport::Tcp, established), Ok(None));
        for broken in
            ["", "0: x", "0: 0100007F 0 0A 0 0 0 0", "0: 01:1 0 0A 0 0 0 0", "0: 0100007F:1F90 0 0A 0"]
        {
            assert!(parse(Transport::Tcp, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn finds_this_process() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = listening().unwrap();
        for (transport, address) in
            [(Transport::Tcp, tcp.local_addr().unwrap()), (Transport::Udp, udp.local_addr().unwrap())]
        {
            assert!(found.iter().any(|l| l.transport == transport && l.address == address));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in ".{0,200}") {
            let _ = parse(Transport::Tcp, &line);
            let _ = parse(Transport::Udp, &line);
        }
    }
}
