//! Tests a running NetSel from outside: `cargo run --example test_client`, once `netsel_server` and
//! `service_b` run. Every tick has been earned: the first thing that does not hold ends it with an error.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netsel::client::ServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const NAME: &str = "test-service-3";
const TEXT: &str = "Hello, NetSel Service B!";

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match test().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("❌ {error}");
            ExitCode::FAILURE
        }
    }
}

async fn test() -> Result<()> {
    println!("Testing NetSel system...");

    println!("Test 1: Testing Service B's echo server directly...");
    println!("Sending test data: {TEXT}");
    let echoed = echo(local(11000), "").await?;
    println!("Received response: {echoed}");
    check(echoed == TEXT, "the echo is what was sent")?;
    println!("✅ Echo server test passed!");

    println!("Test 2: Checking Service A logs...");
    wait_for_a_heartbeat().await?;
    println!("✅ Service A is receiving heartbeats from {NAME}");
    println!("✅ Heartbeat mechanism test passed!");

    println!("Test 3: Checking service registration...");
    let address = registered().await?;
    check(echo(address, "").await? == TEXT, "the service echoes at the address that it registered")?;
    println!("✅ Service '{NAME}' is registered successfully");
    let resolved = resolve(&format!("{NAME}.service.consul")).await?;
    check(resolved == address.ip(), "DNS gives the address that the service registered")?;
    let known_as = SocketAddr::new(resolve(NAME).await?, address.port());
    check(echo(known_as, "").await? == TEXT, "the service echoes at its virtual address")?;
    check(echo(local(8080), &format!("{NAME}\n")).await? == TEXT, "the TCP proxy leads to the service")?;
    check(post(local(8081)).await? == TEXT, "the HTTP proxy leads to the service")?;
    println!("✅ Service registration test passed!");

    println!("🎉 All tests passed! NetSel system is working correctly.");
    Ok(())
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("it does not hold that {what}").into()) }
}

/// Where the registry has the service.
async fn registered() -> Result<SocketAddr> {
    let found = ServiceClient::new(local(9000), NAME.to_string()).look_up().await?;
    Ok(found.ok_or("the registry does not know the service")?.0)
}

/// Waits until the registry hears of the service: then the time since it last did gets shorter.
async fn wait_for_a_heartbeat() -> Result<()> {
    let client = ServiceClient::new(local(9000), NAME.to_string());
    let deadline = Instant::now() + Duration::from_secs(25);
    let mut before = Duration::ZERO;
    while Instant::now() < deadline {
        let (_, silent) = client.look_up().await?.ok_or("the registry does not know the service")?;
        if silent < before {
            return Ok(());
        }
        before = silent;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("no heartbeat within 25 s".into())
}

/// Sends a first line, if any, then the text; returns what comes back.
async fn echo(to: SocketAddr, first_line: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(format!("{first_line}{TEXT}").as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}

/// Posts the text through the HTTP proxy; returns the body of the answer.
async fn post(proxy: SocketAddr) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(proxy).await?;
        let length = TEXT.len();
        let head =
            format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\nconnection: close\r\n");
        stream.write_all(format!("{head}\r\n{TEXT}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        check(answer.starts_with("HTTP/1.1 200 "), "the HTTP proxy answers 200")?;
        Ok(answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?.1.to_owned())
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await?
}

/// Asks the DNS server for the address of a name (RFC 1035 section 4).
async fn resolve(name: &str) -> Result<IpAddr> {
    let mut query = vec![0x4e, 0x53, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind(local(0)).await?;
    socket.connect(local(5353)).await?;
    socket.send(&query).await?;
    let mut answer = [0; 1232];
    let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut answer)).await??;
    let answer = &answer[..length];
    check(answer.len() > query.len() && answer[..2] == query[..2], "DNS answers what was asked")?;
    check(answer[3] & 0x0f == 0 && answer[7] > 0, &format!("DNS knows {name}"))?;
    // The first record follows the question: a name, type A, class IN, its TTL and four bytes of address.
    let mut at = query.len();
    while answer[at] != 0 && answer[at] & 0xc0 == 0 {
        at += 1 + usize::from(answer[at]);
    }
    at += if answer[at] == 0 { 1 } else { 2 };
    let record = answer.get(at..at + 14).ok_or("the answer is cut short")?;
    check(record[..4] == [0, 1, 0, 1] && record[8..10] == [0, 4], "the record is an IPv4 address")?;
    Ok(IpAddr::from([record[10], record[11], record[12], record[13]]))
}
