//! The subjects of the Autobahn suite, as data: `cases.txt`. Frames are written and read by code of its own here.

mod script;

use portolan_broker::websocket::{Channel, Kind, Role, Socket, open};
use script::{Case, heard};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::harness::PATIENCE;

const LIMIT: u64 = 1 << 20;

/// Repeats every message until the other side has said its end.
async fn echo(stream: DuplexStream) {
    let mut channel = Channel::new(stream, Role::Server, bytes::Bytes::new(), LIMIT);
    while let Ok(Some(message)) = std::future::poll_fn(|cx| channel.poll_message(cx)).await {
        channel.write(message.kind, &message.bytes);
        if std::future::poll_fn(|cx| channel.poll_drained(cx)).await.is_err() {
            return;
        }
    }
    let _ = std::future::poll_fn(|cx| channel.poll_drained(cx)).await;
}

async fn play(case: &Case, pieces: &[&[u8]]) -> Vec<String> {
    let (ours, theirs) = tokio::io::duplex(16 << 20);
    let echoing = tokio::spawn(echo(theirs));
    let (mut reading, mut writing) = tokio::io::split(ours);
    for piece in pieces {
        // The other end may have closed already, which is what is looked at below.
        if writing.write_all(piece).await.is_err() {
            break;
        }
    }
    if case.ends {
        let _ = writing.shutdown().await;
    }
    let mut bytes = Vec::new();
    let reads_until_the_end = async {
        let mut room = vec![0; 1 << 16];
        loop {
            let read = reading.read(&mut room).await.unwrap();
            bytes.extend_from_slice(&room[..read]);
            let told = heard(&bytes);
            if read == 0 || told.len() >= case.hears.len() {
                return told;
            }
        }
    };
    let mut told = tokio::time::timeout(PATIENCE, reads_until_the_end).await.unwrap();
    if case.ends {
        told.push("end".to_owned());
    }
    drop((reading, writing));
    echoing.await.unwrap();
    told
}

#[tokio::test]
async fn an_end_answers_as_the_protocol_wants() {
    let cases = script::cases(include_str!("cases.txt"));
    assert!(cases.len() > 100, "{} cases", cases.len());
    for case in &cases {
        let whole = case.frames.concat();
        let by_frame: Vec<&[u8]> = case.frames.iter().map(Vec::as_slice).collect();
        assert_eq!(play(case, &[&whole]).await, case.hears, "{}, at once", case.name);
        assert_eq!(play(case, &by_frame).await, case.hears, "{}, by frame", case.name);
        if whole.len() < 1000 {
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(play(case, &bytes).await, case.hears, "{}, by byte", case.name);
        }
    }
}

#[tokio::test]
async fn a_byte_stream_goes_through_whole_and_ends_on_both_sides() {
    let (ours, theirs) = tokio::io::duplex(5000);
    let sent: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let serving = tokio::spawn(async move {
        let mut socket = Socket::new(theirs, Role::Server, bytes::Bytes::new());
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        all
    });
    let mut client = Socket::new(ours, Role::Client, bytes::Bytes::new());
    client.write_all(&sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!((serving.await.unwrap() == expected, rest.len()), (true, 0));
}

#[tokio::test]
async fn a_client_opens_what_a_server_answers_and_nothing_else() {
    for (answer, opens) in [
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n\u{2}\u{2}hi",
            true,
        ),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: xKEY\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(5000);
        let serving = tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(theirs.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = portolan_broker::websocket::accept_key(key);
            let mut bytes = answer.replace("KEY", &accept).into_bytes();
            if let Some(frame) = bytes.iter().position(|byte| *byte == 2) {
                bytes[frame] = 0x82;
            }
            theirs.write_all(&bytes).await.unwrap();
            theirs
        });
        let opened = open(ours, "example.com", "/authd", "").await;
        let _kept = serving.await.unwrap();
        assert_eq!(opened.is_ok(), opens, "{answer}");
        if let Ok(mut socket) = opened {
            let mut hi = [0; 2];
            socket.read_exact(&mut hi).await.unwrap();
            assert_eq!(&hi, b"hi");
        }
    }
}

#[tokio::test]
async fn what_nobody_reads_is_not_held_for_ever() {
    let (ours, theirs) = tokio::io::duplex(1000);
    let mut channel = Channel::new(theirs, Role::Server, bytes::Bytes::new(), LIMIT);
    let mut taken = 0;
    for _ in 0..100 {
        let ready = std::future::poll_fn(|cx| std::task::Poll::Ready(channel.poll_writable(cx))).await;
        if ready.is_pending() {
            break;
        }
        channel.write(Kind::Binary, &[0; 10_000]);
        taken += 1;
    }
    assert!(taken < 10, "{taken} messages were taken that nobody reads");
    drop(ours);
}
