//! PROXY headers from the proxy before us, and to the service behind.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use portolan_proxy::{Config, ServiceListener};
use relay::proxy_header::{self, Ends, Version};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::echo::{echo, read_all};
use crate::harness::{Harness, Instance, config};

const FAILED: &str = "proxy_failures_total{reason=\"Header\"}";

fn ends() -> Ends {
    Ends { from: "203.0.113.7:4000".parse().unwrap(), to: "198.51.100.2:443".parse().unwrap() }
}

/// A listener that believes `peer` and tells the service.
fn believing(peer: IpAddr, send_proxy: Option<Version>) -> Config {
    let mut config = config();
    let listener = ServiceListener::new(([127, 0, 0, 1], 0).into(), "web");
    config.tcp = vec![ServiceListener { accept_proxy: vec![peer], send_proxy, ..listener }];
    config
}

/// What the service hears when a client says `said` and ends; it sends everything back.
async fn heard(harness: &Harness, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = TcpStream::connect(harness.tcp[0]).await.unwrap();
    client.set_nodelay(true).unwrap();
    for piece in pieces {
        // A connection that was closed refuses the rest.
        let _ = client.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let _ = client.shutdown().await;
    read_all(&mut client).await.unwrap_or_default()
}

#[tokio::test]
async fn a_listed_proxy_is_believed_and_the_service_is_told() {
    let server = echo("").await;
    for send in [Version::V1, Version::V2] {
        let harness = Harness::with(believing(Ipv4Addr::LOCALHOST.into(), Some(send))).await;
        harness.register("web", Instance::at(server.address));
        let expected = [proxy_header::write(send, ends()), b"hello".to_vec()].concat();
        for version in [Version::V1, Version::V2] {
            let header = proxy_header::write(version, ends());
            assert_eq!(heard(&harness, &[&header, b"hello"]).await, expected, "{version:?}");
            let bytes: Vec<&[u8]> = header.chunks(1).chain([&b"hello"[..]]).collect();
            assert_eq!(heard(&harness, &bytes).await, expected, "{version:?}, byte by byte");
        }
        harness.stop().await;
    }
}

#[tokio::test]
async fn a_listed_proxy_that_lies_is_closed() {
    let server = echo("").await;
    let harness = Harness::with(believing(Ipv4Addr::LOCALHOST.into(), None)).await;
    harness.register("web", Instance::at(server.address));
    let mut long = proxy_header::write(Version::V2, ends());
    long[14] = 0xff;
    let lies: [&[u8]; 5] =
        [b"hello", b"PROXY TCP4 203.0.113.7 x 1 2\r\n", &[b'P'; 3000], &long, b"PROXY TCP4 203.0.113.7"];
    for (number, lie) in lies.into_iter().enumerate() {
        assert_eq!(heard(&harness, &[lie]).await, b"", "{lie:?}");
        assert_eq!(harness.count(FAILED), number as u64 + 1);
    }
    assert_eq!(heard(&harness, &[b"PROXY UNKNOWN\r\n", b"hello"]).await, b"hello");
    harness.stop().await;
}

#[tokio::test]
async fn a_silent_proxy_is_closed() {
    let mut config = believing(Ipv4Addr::LOCALHOST.into(), None);
    config.name_timeout = Duration::from_millis(50);
    let harness = Harness::with(config).await;
    let mut client = TcpStream::connect(harness.tcp[0]).await.unwrap();
    client.write_all(b"PROXY TCP4 ").await.unwrap();
    assert!(read_all(&mut client).await.unwrap_or_default().is_empty());
    assert_eq!(harness.count(FAILED), 1);
    harness.stop().await;
}

#[tokio::test]
async fn from_anybody_else_a_header_is_just_bytes() {
    let server = echo("").await;
    let harness = Harness::with(believing(Ipv4Addr::new(192, 0, 2, 9).into(), None)).await;
    harness.register("web", Instance::at(server.address));
    let header = proxy_header::write(Version::V1, ends());
    assert_eq!(heard(&harness, &[&header, b"hello"]).await, [header, b"hello".to_vec()].concat());
    harness.stop().await;
}
