//! Lies in PROXY headers, names without end, and crowds of senders.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::sleep;

use crate::daemon::Ports;

/// Headers that lie about their length, their parts, their version.
pub(super) async fn proxy_lies(ports: Ports) {
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let two = |rest: &[u8]| [&signature[..], rest].concat();
    let lies = [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 999999\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n".to_vec(),
        [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
        b"PROXY UNKNOWN".to_vec(),
        // A length of 65535 of which nothing comes.
        two(&[0x21, 0x11, 0xff, 0xff]),
        // Addresses that do not fit into what is declared.
        two(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]),
        // A value that is longer than its header.
        two(&[0x21, 0x11, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0xff, 0xff]),
        two(&[0x31, 0x11, 0, 12, 0, 0, 0, 0]),
        two(&[0x2f, 0xff, 0, 0]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let mut held = std::collections::VecDeque::new();
    for lie in lies.iter().cycle() {
        if let Ok(mut stream) = TcpStream::connect(ports.tcp).await {
            let _ = stream.write_all(lie).await;
            held.push_back(stream);
        }
        if held.len() > 500 {
            held.pop_front();
        }
    }
}

/// Queries whose names point at themselves, at each other and behind the end, and that lie about their records.
pub(super) async fn pointer_loops(ports: Ports) {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { return };
    let query = |counts: [u8; 4], rest: &[u8]| {
        let mut query = vec![0xbe, 0xef, 1, 0];
        query.extend(counts.iter().flat_map(|count| [0, *count]));
        query.extend_from_slice(rest);
        query
    };
    let pointer_to = |at: u8| vec![0xc0, at, 0, 1, 0, 1];
    let long: Vec<u8> = [63].into_iter().chain([b'x'; 63]).cycle().take(64 * 8).collect();
    let lies = [
        query([1, 0, 0, 0], &pointer_to(12)),
        query([1, 0, 0, 0], &[&[1, b'a'][..], &pointer_to(12)].concat()),
        query([2, 0, 0, 0], &[pointer_to(18), pointer_to(12)].concat()),
        query([1, 0, 0, 0], &pointer_to(255)),
        query([1, 0, 0, 0], &long),
        query([255, 255, 255, 255], &[0, 0, 1, 0, 1]),
        query([1, 0, 0, 1], &[0, 0, 1, 0, 1, 0, 0, 41, 4, 0, 0, 0, 0, 0, 0xff, 0xff]),
        vec![0; 11],
    ];
    for lie in lies.iter().cycle() {
        if socket.send_to(lie, ports.dns).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        tokio::task::yield_now().await;
    }
}

/// One question in the name of a whole network: 127.9.0.0/16 stands for addresses that somebody forged.
pub(super) async fn spoofed(ports: Ports) {
    let mut sockets = Vec::new();
    for number in 1..=200u8 {
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::new(127, 9, 9, number), 0)).await {
            sockets.push(socket);
        }
    }
    let query =
        b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07service\x06consul\x00\x00\xff\x00\x01";
    for socket in sockets.iter().cycle() {
        let _ = socket.send_to(query, ports.dns).await;
        tokio::task::yield_now().await;
    }
}

/// Each datagram begins a session.
pub(super) async fn sessions(ports: Ports) {
    loop {
        let Ok(socket) = UdpSocket::bind(SocketAddr::from((Ipv4Addr::new(127, 8, 8, 8), 0))).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = socket.send_to(b"another one", ports.udp).await;
        tokio::task::yield_now().await;
    }
}
