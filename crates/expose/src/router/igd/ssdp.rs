//! Looking for routers: the search of the UPnP Device Architecture 1.1, section 1.3.
//!
//! Answers come from port 1900 to the port that asked. A firewall that lets in only what answers a packet to
//! the same address takes those to a multicast search for strangers; so the gateway is asked directly too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Where devices listen.
const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), PORT);
/// The same of IPv6: the group of the site, which needs no interface to be named. UPnP Device Architecture 1.1, annex A.
const GROUP_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0xc)), PORT);
const PORT: u16 = 1900;
/// How long answers are waited for, in all.
const WAIT: Duration = Duration::from_millis(2500);
/// After an answer, others have this long.
const GRACE: Duration = Duration::from_millis(300);
/// Any host may answer as a router and be the first: the default gateway has at least so long.
const LEAST: Duration = Duration::from_millis(1200);
/// The search is repeated: datagrams get lost.
const TIMES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(400), Duration::from_millis(1200)];
/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4096;
/// Most answers of one search that are looked at.
const MOST: usize = 16;

/// What is looked for.
const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

/// A device that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who sent it.
    pub from: IpAddr,
    /// Where it describes itself.
    pub location: String,
}

/// Asks from one of our addresses: everybody, and `gateway` directly. Where that answers, nobody else counts. Devices that
/// described themselves at an address other than the one that they answered from are left out.
pub(super) async fn search(from: IpAddr, gateway: Option<SocketAddr>) -> std::io::Result<Vec<Answer>> {
    let socket = UdpSocket::bind((from, 0)).await?;
    let group = if from.is_ipv4() { GROUP } else { GROUP_V6 };
    let gateway = gateway.map(|mut gateway| {
        gateway.set_port(PORT);
        gateway
    });
    let mut found: Vec<Answer> = Vec::new();
    let begin = Instant::now();
    let mut end = begin + WAIT;
    let mut asks = TIMES.into_iter().map(|wait| begin + wait).peekable();
    let mut buffer = [0; MAX_ANSWER];
    loop {
        if asks.next_if(|at| *at <= Instant::now()).is_some() {
            ask(&socket, group, gateway).await?;
            continue;
        }
        let until = asks.peek().map_or(end, |at| end.min(*at));
        match timeout_at(until, socket.recv_from(&mut buffer)).await {
            Ok(Ok((length, sender))) => {
                let Some(answer) = parse(&buffer[..length], sender.ip()) else { continue };
                let is_gateway = gateway.is_some_and(|gateway| gateway.ip() == answer.from);
                // Others cannot fill the list up before it answers.
                if !found.contains(&answer) && (found.len() < MOST || is_gateway) {
                    end = end.min(patience(begin, Instant::now(), is_gateway));
                    found.push(answer);
                }
            }
            // A gateway without UPnP answers that its port is closed.
            Ok(Err(_)) => {}
            Err(_) if Instant::now() >= end => return Ok(preferred(found, gateway.map(|one| one.ip()))),
            Err(_) => {}
        }
    }
}

/// Until when others are waited for after an answer.
fn patience(begin: Instant, now: Instant, is_gateway: bool) -> Instant {
    if is_gateway { now + GRACE } else { (now + GRACE).max(begin + LEAST) }
}

/// The default gateway alone, where it is among them.
fn preferred(mut found: Vec<Answer>, gateway: Option<IpAddr>) -> Vec<Answer> {
    if found.iter().any(|answer| Some(answer.from) == gateway) {
        found.retain(|answer| Some(answer.from) == gateway);
    }
    found
}

async fn ask(socket: &UdpSocket, group: SocketAddr, direct: Option<SocketAddr>) -> std::io::Result<()> {
    for target in TARGETS {
        let text = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {group}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
        );
        let everybody = socket.send_to(text.as_bytes(), group).await;
        match direct {
            Some(direct) => drop(socket.send_to(text.as_bytes(), direct).await),
            None => drop(everybody?),
        }
    }
    Ok(())
}

/// Reads an answer.
pub fn parse(bytes: &[u8], from: IpAddr) -> Option<Answer> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(MAX_ANSWER))?).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?;
    if !status.starts_with("HTTP/1.") || status.split(' ').nth(1) != Some("200") {
        return None;
    }
    let mut location = None;
    let mut is_router = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "location" => location = Some(value.trim().to_owned()),
            "st" => is_router = TARGETS.contains(&value.trim()),
            _ => {}
        }
    }
    let location = location.filter(|_| is_router)?;
    let rest = location.strip_prefix("http://")?;
    let host = match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => rest.split(['/', ':']).next()?,
    };
    (host.parse() == Ok(from)).then_some(Answer { from, location })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(location: &str, target: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nst: {target}\r\nLocation: {location}\r\n\r\n"
        )
        .into()
    }

    #[test]
    fn the_default_gateway_is_waited_for_and_then_nobody_else_counts() {
        let begin = Instant::now();
        assert_eq!(patience(begin, begin, false), begin + LEAST);
        assert_eq!(patience(begin, begin, true), begin + GRACE);
        assert_eq!(patience(begin, begin + LEAST, false), begin + LEAST + GRACE);
        let of = |last: u8| Answer { from: [192, 168, 77, last].into(), location: String::new() };
        let router = IpAddr::from([192, 168, 77, 1]);
        assert_eq!(preferred(vec![of(9), of(1), of(8)], Some(router)), [of(1)]);
        assert_eq!(preferred(vec![of(9), of(8)], Some(router)), [of(9), of(8)]);
        assert_eq!(preferred(vec![of(9)], None), [of(9)]);
    }

    #[test]
    fn routers_that_speak_for_themselves_are_taken() {
        let from: IpAddr = [192, 168, 77, 1].into();
        let good = answer("http://192.168.77.1:5000/root.xml", TARGETS[0]);
        assert_eq!(parse(&good, from).unwrap().location, "http://192.168.77.1:5000/root.xml");
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let good = answer("http://[2001:db8::1]:5000/root.xml", TARGETS[1]);
        assert_eq!(parse(&good, six).unwrap().location, "http://[2001:db8::1]:5000/root.xml");
        assert_eq!(parse(&good, from), None);
        for bad in [
            answer("http://192.168.77.9:5000/root.xml", TARGETS[0]),
            answer("http://evil.example.org/", TARGETS[0]),
            answer("https://192.168.77.1/", TARGETS[0]),
            answer("http://192.168.77.1:5000/", "urn:schemas-upnp-org:device:MediaServer:1"),
            b"NOTIFY * HTTP/1.1\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK".to_vec(),
            vec![0xff; 5000],
        ] {
            assert_eq!(parse(&bad, from), None, "{}", String::from_utf8_lossy(&bad));
        }
    }
}
