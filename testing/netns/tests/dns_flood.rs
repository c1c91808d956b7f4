//! A flood of queries in the name of a network that never asked: what comes back to it is little, and others do not
//! notice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use portolan_netns::{Lab, Start, dns, need};
use serde_json::json;

const NAME: &str = "web.service.consul";
const RATE: u32 = 20;
const FLOOD: u32 = 2000;
/// Documentation addresses (RFC 5737): the attacker answers for one of them, so that what would have hit is counted.
const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const LONG: Duration = Duration::from_secs(20);

/// A query for an address, with a cookie if there is one.
fn query(cookie: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!cookie.is_empty())];
    for label in NAME.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    if !cookie.is_empty() {
        let length = cookie.len() as u8;
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, length + 4, 0, 10, 0, length]);
        bytes.extend(cookie);
    }
    bytes
}

/// What came back.
#[derive(Debug, Default)]
struct Back {
    answers: u32,
    cut_short: u32,
    bytes: usize,
}

impl Back {
    fn take(&mut self, socket: &UdpSocket, wait: Duration) {
        socket.set_read_timeout(Some(wait)).unwrap();
        let mut answer = [0; 4096];
        while let Ok(length) = socket.recv(&mut answer) {
            let is_cut = answer[2] & 2 != 0;
            *(if is_cut { &mut self.cut_short } else { &mut self.answers }) += 1;
            self.bytes += length;
        }
    }
}

#[test]
fn a_forged_network_gets_little_and_others_all() {
    let lab = need!(Lab::new(&["server", "attacker"]));
    let [server, attacker] = &lab.hosts[..] else { panic!("two hosts") };
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(Start::new(server, folder.path().join("data")))
        .set("node.open_beyond_loopback=true")
        .set(format!("dns.listen={}:8600", server.address))
        .set(format!("dns.rate_limit.responses_per_second={RATE}"))
        .run()
        .unwrap();
    daemon
        .put(
            "/v1/agent/service/register",
            &json!({ "Name": "web", "Address": "10.9.8.7", "Port": 80 }).to_string(),
        )
        .unwrap();
    server.ip("route add 198.51.100.0/24 dev eth0\n").unwrap();
    attacker.ip(&format!("addr add {VICTIM}/32 dev eth0\n")).unwrap();
    let to = SocketAddr::from((server.address, 8600));
    daemon
        .eventually("the name", |_| {
            let said = attacker.enter(|| dns::ask(to, Duration::from_secs(1), NAME));
            said.ok().filter(|said| !said.addresses.is_empty())
        })
        .unwrap();

    let forged = attacker.enter(|| UdpSocket::bind((VICTIM, 0)).unwrap());
    forged.connect(to).unwrap();
    let (mut back, plain, begin) = (Back::default(), query(&[]), Instant::now());
    for number in 0..FLOOD {
        forged.send(&plain).unwrap();
        if number % 16 == 15 {
            back.take(&forged, Duration::from_micros(500));
        }
    }
    back.take(&forged, Duration::from_millis(500));
    let most = f64::from(RATE) * (begin.elapsed().as_secs_f64() + 2.0);
    assert!(back.answers > 0 && f64::from(back.answers) <= most, "{back:?}, at most {most} answers");
    assert!(back.cut_short > 0 && back.cut_short <= FLOOD / 2 + 1, "every second one: {back:?}");
    assert!(back.bytes < plain.len() * FLOOD as usize, "less comes back than was sent: {back:?}");

    // Another network meanwhile, and a client of the flooded one that can show who it is.
    for _ in 0..RATE / 2 {
        let said = attacker.enter(|| dns::ask(to, LONG, NAME)).unwrap();
        assert_eq!(said.addresses, [Ipv4Addr::new(10, 9, 8, 7)]);
    }
    let cookie = cookie(&forged);
    for _ in 0..3 * RATE {
        forged.send(&query(&cookie)).unwrap();
        let mut answer = [0; 512];
        forged.set_read_timeout(Some(LONG)).unwrap();
        forged.recv(&mut answer).unwrap();
        assert_eq!((answer[3] & 15, answer[7]), (0, 1), "an answer each time");
    }
}

/// Asks with a client's cookie until the server's comes.
fn cookie(socket: &UdpSocket) -> Vec<u8> {
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        socket.send(&query(b"01234567")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = [0; 512];
        if let Ok(length) = socket.recv(&mut answer)
            && length > 28
            && answer[length - 28..length - 24] == [0, 10, 0, 24]
        {
            return answer[length - 24..length].to_vec();
        }
    }
    panic!("no cookie came within {LONG:?}")
}
