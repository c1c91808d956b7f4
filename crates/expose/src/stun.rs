//! What address the world sees, asked of somebody outside: STUN binding requests, RFC 8489 section 5 and 14.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Between two tries; the RFC begins with 500 ms and goes on for half a minute.
const TRIES: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(1500)];
/// Longest that a server's name is looked for.
const LOOKUP: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: usize = 1280;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED: u16 = 0x0020;
const HEADER: usize = 20;

/// What one server saw, or why it did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As it was named.
    pub server: String,
    /// Our socket as the server saw it.
    pub address: Result<SocketAddr, String>,
}

/// Asks each server from one and the same socket of this address, so that routers which give every destination
/// another port are noticed.
pub async fn ask(from: IpAddr, servers: &[String]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let socket = UdpSocket::bind((from, 0)).await;
    for server in servers {
        let address = match &socket {
            Ok(socket) => one(socket, server).await,
            Err(cause) => Err(format!("bind {from}: {cause}")),
        };
        seen.push(Seen { server: server.clone(), address });
    }
    seen
}

async fn one(socket: &UdpSocket, server: &str) -> Result<SocketAddr, String> {
    let is_v4 = socket.local_addr().is_ok_and(|own| own.is_ipv4());
    let found = timeout(LOOKUP, tokio::net::lookup_host(server)).await;
    let found = found.map_err(|_| format!("find {server}: no answer within {LOOKUP:?}"))?;
    let found = found.map_err(|cause| format!("find {server}: {cause}"))?;
    let address = found.into_iter().find(|address| address.is_ipv4() == is_v4);
    let address = address.ok_or_else(|| format!("{server} has no address of our family"))?;
    let id: [u8; 12] = std::array::from_fn(|_| fastrand::u8(..));
    let request = request(id);
    let mut buffer = [0; MAX_ANSWER];
    for wait in TRIES {
        socket.send_to(&request, address).await.map_err(|cause| format!("ask {server}: {cause}"))?;
        let answer = timeout(wait, async {
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await?;
                if from == address
                    && let Some(seen) = parse(&buffer[..length], id)
                {
                    return Ok::<_, std::io::Error>(seen);
                }
            }
        });
        match answer.await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(cause)) => return Err(format!("hear {server}: {cause}")),
            Err(_) => {}
        }
    }
    Err(format!("{server} did not answer"))
}

fn request(id: [u8; 12]) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0];
    packet.extend(COOKIE);
    packet.extend(id);
    packet
}

/// Reads a success response to the request with this transaction id; `None` for anything else.
pub fn parse(bytes: &[u8], id: [u8; 12]) -> Option<SocketAddr> {
    let (head, mut rest) = bytes.split_at_checked(HEADER)?;
    if head[..2] != [1, 1] || head[4..8] != COOKIE || head[8..] != id {
        return None;
    }
    while let Some((attribute, after)) = rest.split_at_checked(4) {
        let kind = u16::from_be_bytes([attribute[0], attribute[1]]);
        let length = usize::from(u16::from_be_bytes([attribute[2], attribute[3]]));
        let value = after.get(..length)?;
        if kind == XOR_MAPPED {
            return unmask(value, id);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Section 14.2: the address is hidden from routers that rewrite what looks like one.
fn unmask(value: &[u8], id: [u8; 12]) -> Option<SocketAddr> {
    let &[_, family, high, low, ref address @ ..] = value else { return None };
    let port = u16::from_be_bytes([high ^ COOKIE[0], low ^ COOKIE[1]]);
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(&id);
    let plain: Vec<u8> = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let ip: IpAddr = match family {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).into(),
        _ => return None,
    };
    Some((ip, port).into())
}

/// Fuzz target: whatever is sent, the answer is nothing or an address.
pub fn fuzz(bytes: &[u8]) {
    let id = bytes.get(8..HEADER).and_then(|id| id.try_into().ok()).unwrap_or_default();
    let _ = parse(bytes, id);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    /// RFC 5769 section 2.2, the part of the sample response that is an address: 192.0.2.1 port 32853.
    fn sample() -> Vec<u8> {
        let mut packet = vec![1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
        packet.extend(ID);
        packet.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        packet.extend([0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        packet
    }

    #[test]
    fn the_sample_of_the_standard_is_read() {
        assert_eq!(parse(&sample(), ID), Some("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(parse(&sample(), [0; 12]), None);
        for cut in 0..sample().len() {
            assert_eq!(parse(&sample()[..cut], ID), None, "{cut}");
        }
    }

    #[tokio::test]
    async fn a_server_tells_what_it_sees_and_a_closed_port_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let name = server.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            // The first datagram gets lost.
            drop(server.recv_from(&mut buffer).await);
            while let Ok((_, from)) = server.recv_from(&mut buffer).await {
                let SocketAddr::V4(from4) = from else { return };
                let mut answer = vec![1, 1, 0, 12];
                answer.extend(&buffer[4..20]);
                answer.extend([0, 0x20, 0, 8, 0, 1]);
                answer.extend((from4.port() ^ 0x2112).to_be_bytes());
                answer.extend(from4.ip().octets().iter().zip(COOKIE).map(|(a, b)| a ^ b));
                drop(server.send_to(&answer, from).await);
            }
        });
        let seen = ask([127, 0, 0, 1].into(), &[name, "nowhere.invalid:1".into()]).await;
        assert!(seen[0].address.as_ref().is_ok_and(|address| address.ip().is_loopback()), "{seen:?}");
        assert!(seen[1].address.is_err());
    }
}
