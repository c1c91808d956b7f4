//! UDP with sessions.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_proxy::{Config, ServiceListener, Transports};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{Harness, Instance, config, eventually};

/// Sends every datagram back, with the address that it came from before it.
async fn mirror() -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut answer = format!("{from} ").into_bytes();
            answer.extend_from_slice(&buffer[..count]);
            answer.truncate(65_507);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (address, task)
}

fn with_udp() -> Config {
    let mut config = config();
    config.udp = vec![ServiceListener::new(([127, 0, 0, 1], 0).into(), "dns")];
    config
}

async fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// Asks once; the session's address and the rest of the answer.
async fn ask(client: &UdpSocket, say: &[u8]) -> Option<(String, Vec<u8>)> {
    client.send(say).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let count = timeout(Duration::from_secs(2), client.recv(&mut buffer)).await.ok()?.ok()?;
    let space = buffer.iter().position(|byte| *byte == b' ').unwrap();
    let from = String::from_utf8(buffer[..space].to_vec()).unwrap();
    Some((from, buffer[space + 1..count].to_vec()))
}

#[tokio::test]
async fn a_client_keeps_its_session() {
    let (address, _server) = mirror().await;
    let harness = Harness::with(with_udp()).await;
    harness.register("dns", Instance::at(address));
    let (a, b) = (client(harness.udp[0]).await, client(harness.udp[0]).await);
    let first = ask(&a, b"one").await.unwrap();
    assert_eq!(first.1, b"one");
    assert_eq!(ask(&a, b"two").await.unwrap(), (first.0.clone(), b"two".to_vec()));
    assert_ne!(ask(&b, b"one").await.unwrap().0, first.0, "another client, another session");
    let large = vec![7; 60_000];
    assert_eq!(ask(&a, &large).await.unwrap().1, large, "nothing is cut off");
    assert_eq!(harness.count("relay_udp_sessions_total"), 2);
    harness.stop().await;
}

#[tokio::test]
async fn sessions_end_when_idle_and_are_limited() {
    let (address, _server) = mirror().await;
    let mut config = with_udp();
    (config.udp_idle_timeout, config.max_udp_sessions_per_address) = (Duration::from_millis(300), 2);
    let harness = Harness::with(config).await;
    harness.register("dns", Instance::at(address));
    let clients = [client(harness.udp[0]).await, client(harness.udp[0]).await, client(harness.udp[0]).await];
    // The limit holds for each thread's socket: three of one thread need not meet, so ask until it tells.
    let first = ask(&clients[0], b"x").await.unwrap().0;
    eventually("the session has ended", async || harness.count("relay_open") == 0).await;
    assert_ne!(ask(&clients[0], b"x").await.unwrap().0, first, "a new session");
    let mut crowd = Vec::new();
    for _ in 0..12 {
        crowd.push(client(harness.udp[0]).await);
        crowd.last().unwrap().send(b"x").await.unwrap();
    }
    eventually("some are turned away", async || {
        harness.count("relay_refused_connections_total{limit=\"Address\"}") > 0
    })
    .await;
    harness.stop().await;
}

#[tokio::test]
async fn a_refused_datagram_ends_the_session() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let harness = Harness::with(with_udp()).await;
    harness.register("dns", Instance::at(address));
    let client = client(harness.udp[0]).await;
    client.send(b"x").await.unwrap();
    eventually("the session has come and gone", async || {
        harness.count("relay_udp_sessions_total") == 1 && harness.count("relay_open") == 0
    })
    .await;
    harness.stop().await;
}

#[tokio::test]
async fn a_virtual_address_takes_datagrams() {
    let (address, _server) = mirror().await;
    let harness = Harness::start().await;
    harness.register("dns", Instance::at(address));
    let port = UdpSocket::bind("127.77.3.4:0").await.unwrap().local_addr().unwrap().port();
    let at: SocketAddr = ([127, 77, 3, 4], port).into();
    harness.virtuals.open(at, "dns".into(), Transports { tcp: false, udp: true }).await.unwrap();
    assert_eq!(ask(&client(at).await, b"hello").await.unwrap().1, b"hello");
    harness.virtuals.close(at).await;
    UdpSocket::bind(at).await.expect("the address is free again");
    harness.stop().await;
}
