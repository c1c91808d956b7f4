//! A service that registers with NetSel, sends heartbeats and echoes: bytes as they come, and HTTP requests
//! as HTTP answers. `cargo run --example service_b`, once `netsel_server` runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netsel::client::ServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NAME: &str = "test-service-3";
const REGISTRY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
/// Where the seed's test client looks for the echo server.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 11000);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Registering service '{NAME}' with Service A at {REGISTRY}");
    let client = ServiceClient::new(REGISTRY, NAME.to_string());
    let (ip, port) = client.register().await?;
    println!("Successfully registered! Assigned address: {}", SocketAddr::new(ip, port));

    // DNS and the proxies lead to the port that was assigned, at the address that we called from.
    let assigned = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("Serving on {}", assigned.local_addr()?);
    tokio::spawn(echo(assigned));
    let local = TcpListener::bind(LOCAL).await?;
    println!("Starting echo server on {LOCAL} (local testing)");
    tokio::spawn(echo(local));

    loop {
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => return Ok(stopped?),
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
        }
        if let Err(error) = client.send_heartbeat().await {
            eprintln!("Heartbeat failed: {error}");
            // The registry may have been restarted. It gives us the port that we have, if that is free.
            match client.register().await {
                Ok((_, again)) if again == port => eprintln!("Registered again"),
                Ok((_, other)) => return Err(format!("port {port} is lost, and {other} is not ours").into()),
                Err(error) => eprintln!("Registering again failed: {error}"),
            }
        }
    }
}

async fn echo(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Err(error) = answer(stream).await {
                eprintln!("A connection ended: {error}");
            }
        });
    }
}

/// Echoes one connection.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut seen = vec![0; 4096];
    let count = stream.read(&mut seen).await?;
    seen.truncate(count);
    if is_http(&seen) {
        return answer_http(&mut stream, seen).await;
    }
    stream.write_all(&seen).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

fn is_http(beginning: &[u8]) -> bool {
    [&b"GET "[..], b"PUT ", b"POST ", b"HEAD ", b"DELETE "].iter().any(|method| beginning.starts_with(method))
}

/// Answers one HTTP request with its own body.
async fn answer_http(stream: &mut TcpStream, mut request: Vec<u8>) -> std::io::Result<()> {
    let head_end = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if request.len() > 64 * 1024 || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&request[..head_end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let length: usize = length.unwrap_or(0).min(1 << 20);
    while request.len() < head_end + length && stream.read_buf(&mut request).await? > 0 {}
    let body = &request[head_end..request.len().min(head_end + length)];
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
