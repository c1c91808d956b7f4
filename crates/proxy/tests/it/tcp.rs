//! TCP: by first line, by listener, by virtual address.

use portolan_proxy::{ServiceListener, Transports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::{echo, nobody, read_all, serve};
use crate::harness::{Harness, Instance, config, eventually};

#[tokio::test]
async fn a_first_line_names_the_service() {
    let server = echo("").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut padded = [0u8; 256];
    padded[..3].copy_from_slice(b"web");
    for first in [&b"web\nhello"[..], b"web\r\nhello", b" WEB \nhello", b"web\0hello"] {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(first).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await.unwrap(), b"hello", "{first:?}");
    }
    for first in [&b"web"[..], &padded] {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(first).await.unwrap();
        // The bare name has no end but the first read's: talk only once the server was reached.
        eventually("the server is reached", async || {
            server.connections.load(std::sync::atomic::Ordering::Relaxed)
                >= if first.len() == 3 { 5 } else { 6 }
        })
        .await;
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await.unwrap(), b"hello", "{} bytes", first.len());
    }
    harness.stop().await;
}

#[tokio::test]
async fn an_unknown_name_is_closed_and_counted() {
    let harness = Harness::start().await;
    for first in [&b"nobody\n"[..], b"\n", b"\xff\xff\n", &[b'a'; 256]] {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(first).await.unwrap();
        assert!(read_all(&mut client).await.unwrap_or_default().is_empty());
    }
    assert_eq!(harness.count("proxy_failures_total{reason=\"UnknownService\"}"), 1);
    assert_eq!(harness.count("proxy_failures_total{reason=\"Named\"}"), 3);
    harness.stop().await;
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let mut config = config();
    config.name_timeout = std::time::Duration::from_millis(50);
    let harness = Harness::with(config).await;
    let mut client = TcpStream::connect(harness.named).await.unwrap();
    assert!(read_all(&mut client).await.unwrap_or_default().is_empty());
    assert_eq!(harness.count("proxy_failures_total{reason=\"Named\"}"), 1);
    harness.stop().await;
}

#[tokio::test]
async fn a_listener_leads_to_its_service_and_half_close_is_kept() {
    // Answers only after it has heard the end.
    let server = serve(|mut stream| async move {
        let heard = read_all(&mut stream).await.unwrap();
        let _ = stream.write_all(format!("{} bytes", heard.len()).as_bytes()).await;
    })
    .await;
    let mut config = config();
    config.tcp = vec![ServiceListener::new(([127, 0, 0, 1], 0).into(), "late")];
    let harness = Harness::with(config).await;
    harness.register("late", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.tcp[0]).await.unwrap();
    client.write_all(&vec![7; 300_000]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await.unwrap(), b"300000 bytes");
    harness.stop().await;
}

#[tokio::test]
async fn a_virtual_address_opens_and_closes() {
    let server = echo("hi ").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let port = nobody().await.port();
    let address = ([127, 77, 1, 2], port).into();
    let tcp = Transports { tcp: true, udp: false };
    harness.virtuals.open(address, "web".into(), tcp).await.unwrap();
    let again = harness.virtuals.open(address, "web".into(), tcp).await.unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AddrInUse);
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 3];
    client.read_exact(&mut greeting).await.unwrap();
    harness.virtuals.close(address).await;
    TcpStream::connect(address).await.unwrap_err();
    // What was accepted lives on.
    client.write_all(b"still").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await.unwrap(), b"still");
    harness.virtuals.open(address, "web".into(), tcp).await.unwrap();
    harness.stop().await;
}

#[tokio::test]
async fn a_dead_instance_is_passed_over() {
    let server = echo("alive").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    harness.register("web", Instance::at(nobody().await));
    for _ in 0..20 {
        let mut client = TcpStream::connect(harness.named).await.unwrap();
        client.write_all(b"web\n").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await.unwrap(), b"alive");
    }
    assert!(harness.count("relay_connect_failures_total") >= 1);
    harness.stop().await;
}

#[tokio::test]
async fn bulk_is_moved_by_the_kernel() {
    let server = echo("").await;
    let harness = Harness::start().await;
    harness.register("bulk", Instance::at(server.address));
    let client = TcpStream::connect(harness.named).await.unwrap();
    let (mut read, mut write) = client.into_split();
    let total = 64 * 1024 * 1024;
    let pattern: Vec<u8> = (0..1 << 18).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = pattern.clone();
    let sending = tokio::spawn(async move {
        write.write_all(b"bulk\n").await.unwrap();
        for _ in 0..total / sent.len() {
            write.write_all(&sent).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut buffer = vec![0; pattern.len()];
    for part in 0..total / pattern.len() {
        read.read_exact(&mut buffer).await.unwrap();
        assert!(buffer == pattern, "part {part} came back changed");
    }
    assert_eq!(read.read(&mut buffer).await.unwrap(), 0);
    sending.await.unwrap();
    let spliced = harness.count("relay_spliced_bytes_total");
    assert!(spliced > total as u64, "of {} bytes the kernel moved {spliced}", 2 * total);
    harness.stop().await;
}

#[tokio::test]
async fn a_broken_connection_is_reset_and_not_ended() {
    let server = serve(|mut stream| async move {
        let mut byte = [0];
        let _ = stream.read_exact(&mut byte).await;
        let _ = stream.write_all(b"half an ans").await;
        let _ = sys::listen::reset_on_close(&stream);
    })
    .await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut client = TcpStream::connect(harness.named).await.unwrap();
    client.write_all(b"web\nx").await.unwrap();
    assert!(read_all(&mut client).await.is_err(), "a reset, not an end");
    harness.stop().await;
}

#[tokio::test]
async fn a_service_that_is_its_own_listener_does_not_circle() {
    let harness = Harness::start().await;
    let port = nobody().await.port();
    let address = ([127, 77, 1, 3], port).into();
    harness.register("ring", Instance::at(address));
    harness.virtuals.open(address, "ring".into(), Transports { tcp: true, udp: false }).await.unwrap();
    // It is reset, perhaps before the client has seen that it was connected.
    if let Ok(mut client) = TcpStream::connect(address).await {
        assert!(read_all(&mut client).await.unwrap_or_default().is_empty());
    }
    assert_eq!(harness.count("proxy_connections_total{entry=\"Virtual\"}"), 1);
    harness.stop().await;
}
