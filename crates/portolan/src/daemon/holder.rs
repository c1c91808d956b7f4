//! Who holds an address that we wanted: the difference between an error and an answer.
//!
//! Read from `/proc`. Without privilege the kernel shows only this user's own processes; then the answer
//! says that much.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Which table of the kernel to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// In words who holds `address`, or a port that covers it; `None` when nobody seems to.
pub(crate) fn holder(transport: Transport, address: SocketAddr) -> Option<String> {
    let inode = inode_of(transport, address)?;
    Some(match process_with(&inode) {
        Some((pid, name)) => format!("{name} (pid {pid})"),
        None => "a process that this user may not look at".to_owned(),
    })
}

fn inode_of(transport: Transport, address: SocketAddr) -> Option<String> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| inode_in(line, transport, address))
    })
}

/// The inode of a line when it is a socket that keeps others off `address`. Fields, from 0: slot, local
/// address, remote address, state, …, inode (9).
fn inode_in(line: &str, transport: Transport, wanted: SocketAddr) -> Option<String> {
    const LISTEN: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (address, port) = local.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != wanted.port() {
        return None;
    }
    if transport == Transport::Tcp && *state != LISTEN {
        return None;
    }
    let is_wildcard = address.bytes().all(|digit| digit == b'0');
    (is_wildcard || address == hex_of(wanted)).then(|| (*inode).to_owned())
}

/// An address as the kernel writes it: 32-bit words in host order, in hexadecimal.
fn hex_of(address: SocketAddr) -> String {
    let words = |octets: &[u8]| {
        let word = |w: &[u8]| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        octets.chunks_exact(4).map(word).collect()
    };
    match address {
        SocketAddr::V4(v4) => words(&v4.ip().octets()),
        SocketAddr::V6(v6) => words(&v6.ip().octets()),
    }
}

fn process_with(inode: &str) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.into_iter().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|target| target == Path::new(&wanted))
        });
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| (pid, name().trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_process_that_listens() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = holder(Transport::Tcp, tcp.local_addr().unwrap()).unwrap();
        assert!(found.contains(&format!("(pid {})", std::process::id())), "{found}");
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let covered = SocketAddr::from(([127, 0, 0, 1], udp.local_addr().unwrap().port()));
        assert!(holder(Transport::Udp, covered).is_some(), "a wildcard covers every address");
        let v6 = std::net::TcpListener::bind("[::1]:0");
        if let Ok(v6) = v6 {
            assert!(holder(Transport::Tcp, v6.local_addr().unwrap()).is_some());
        }
    }

    #[test]
    fn nobody_holds_a_free_port() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(holder(Transport::Tcp, address), None);
    }
}
