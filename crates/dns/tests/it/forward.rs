//! Other servers' names, as clients see them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portolan_dns as dns;

use crate::common::{Face, query, records};

/// Length of a header.
const HEADER: usize = 12;

/// Another server.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    /// `answer` is given each query up to the end of its question, and where to answer.
    fn start(answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> Upstream {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                count.fetch_add(1, Relaxed);
                let end = HEADER + packet[HEADER..length].iter().position(|byte| *byte == 0).unwrap() + 5;
                answer(&socket, &packet[..end], from);
            }
        });
        Upstream { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

/// A response with this code, so many answers and authorities, and these records.
fn response(query: &[u8], code: u8, counts: [u8; 2], records: &[u8]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    (bytes[2], bytes[3]) = (bytes[2] | 0x80, code);
    bytes[6..12].copy_from_slice(&[0, counts[0], 0, counts[1], 0, 0]);
    bytes.extend_from_slice(records);
    bytes
}

const A: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x63";
const SOA: &[u8] = b"\0\0\x06\0\x01\0\0\x0e\x10\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x3c";

async fn face(to: Vec<SocketAddr>, timeout_ms: u64) -> Face {
    let timeout = Duration::from_millis(timeout_ms);
    let forward = dns::Forward { enabled: true, to, timeout, ..dns::Forward::default() };
    Face::start(dns::Config { forward, ..dns::Config::default() }).await
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0x0f
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_are_forwarded_when_asked_to() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Each query gets two answers, first one under a wrong id and with another address.
    let upstream = Upstream::start(|socket, query, from| {
        let answer = response(query, 0, [1, 0], A);
        let mut forged = answer.clone();
        forged[0] ^= 0xff;
        *forged.last_mut().unwrap() = 66;
        socket.send_to(&forged, from).unwrap();
        socket.send_to(&answer, from).unwrap();
    });
    let face = face(vec![silent.local_addr().unwrap(), upstream.address], 2000).await;
    let answer = face.ask("example.org", "A");
    assert_eq!(records(&answer), ["A 192.0.2.99"]);
    assert_eq!(answer[..2], [0, 7], "under the client's id");
    assert_eq!(code(&face.ask("nothing.svc.internal", "A")), 3, "ours is answered here");
    let again = face.exchange(&query(99, "Example.ORG", "A"));
    assert_eq!(records(&again), ["A 192.0.2.99"]);
    assert_eq!((again[1], &again[13..24]), (99, &b"Example\x03ORG"[..]), "in the client's own spelling");
    assert_eq!(upstream.asked(), 1, "kept");
    let metrics = face.metrics();
    assert!(metrics.contains("dns_forwarded_total{outcome=\"answered\"} 1"), "{metrics}");
    assert!(metrics.contains("dns_forwarded_total{outcome=\"cached\"} 1"), "{metrics}");
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_there_is_no_such_name_is_kept_as_long_as_its_zone_says() {
    let upstream = Upstream::start(|socket, query, from| {
        let records = if query[13] == b'z' || query[13] == b'Z' { SOA } else { &[] };
        let counts = [0, u8::from(!records.is_empty())];
        socket.send_to(&response(query, 3, counts, records), from).unwrap();
    });
    let face = face(vec![upstream.address], 5000).await;
    for (name, asked) in
        [("zone.example", 1), ("zone.example", 1), ("nobody.example", 2), ("nobody.example", 3)]
    {
        assert_eq!(code(&face.ask(name, "A")), 3);
        assert_eq!(upstream.asked(), asked, "{name}");
    }
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_a_failure_that_the_client_hears_of() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let face = face(vec![silent.local_addr().unwrap()], 50).await;
    assert_eq!(code(&face.ask("example.org", "A")), 2, "SERVFAIL");
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_of_servers_ends_at_its_second_turn() {
    let us = Arc::new(OnceLock::new());
    let them = us.clone();
    // A server that knows nobody to ask but us.
    let upstream = Upstream::start(move |socket, query, _| {
        socket.send_to(query, *them.get().unwrap()).unwrap();
    });
    let face = face(vec![upstream.address], 3000).await;
    us.set(face.address).unwrap();
    assert_eq!(code(&face.ask("example.org", "A")), 2, "SERVFAIL");
    // Its own question came back to us once; our answer to it is one more datagram that it passes on as a query.
    assert!(upstream.asked() <= 2, "asked {} times", upstream.asked());
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_question_of_many_is_asked_once() {
    let upstream = Upstream::start(|socket, query, from| {
        std::thread::sleep(Duration::from_millis(300));
        socket.send_to(&response(query, 0, [1, 0], A), from).unwrap();
    });
    let face = face(vec![upstream.address], 20_000).await;
    for id in 0..50 {
        face.send(&query(id, "example.org", "A"));
    }
    let first = face.exchange(&query(50, "example.org", "A"));
    assert_eq!(records(&first), ["A 192.0.2.99"]);
    assert_eq!(upstream.asked(), 1);
    face.stop().await;
}
