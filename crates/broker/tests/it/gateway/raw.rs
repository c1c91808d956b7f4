//! Every protocol byte by byte: what is let in, what is refused and how, what is cut.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use catalog::Mode;
use portolan_broker::gateway::Config;

use super::guarded;
use crate::harness::{Harness, PATIENCE, echo};

/// `shop:sesame` and `other:barley`.
pub(crate) const SHOP: &str = "Basic c2hvcDpzZXNhbWU=";
const OTHER: &str = "Basic b3RoZXI6YmFybGV5";
const WRONG: &str = "Basic c2hvcDp3cm9uZw==";

fn client(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head of an answer.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn connect(at: SocketAddr, to: &str, credentials: Option<&str>) -> (u16, TcpStream) {
    let mut stream = client(at);
    let line = credentials.map(|shown| format!("Proxy-Authorization: {shown}\r\n")).unwrap_or_default();
    write!(stream, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{line}\r\n").unwrap();
    let status = status(&head(&mut stream));
    (status, stream)
}

pub(crate) fn socks(at: SocketAddr, to: &str, credentials: Option<(&str, &str)>) -> (u8, TcpStream) {
    let mut stream = client(at);
    let method = if credentials.is_some() { 2 } else { 0 };
    stream.write_all(&[5, 1, method]).unwrap();
    let mut two = [0; 2];
    stream.read_exact(&mut two).unwrap();
    if two != [5, method] {
        return (two[1], stream);
    }
    if let Some((user, secret)) = credentials {
        let (user, secret) = (user.as_bytes(), secret.as_bytes());
        let counted = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
        stream.write_all(&[&[1][..], &counted(user), &counted(secret)].concat()).unwrap();
        stream.read_exact(&mut two).unwrap();
        if two != [1, 0] {
            return (0xfe, stream);
        }
    }
    let name = [&[5, 1, 0, 3, to.len() as u8][..], to.as_bytes(), &[0, 80]].concat();
    stream.write_all(&name).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    (answer[1], stream)
}

/// By an address in its own bytes (RFC 1928, section 5), as `shop`; the answer's code.
fn socks_to_address(at: SocketAddr, kind: u8, address: &[u8], port: u16) -> u8 {
    let mut stream = client(at);
    stream.write_all(b"\x05\x01\x02").unwrap();
    let mut two = [0; 2];
    stream.read_exact(&mut two).unwrap();
    stream.write_all(b"\x01\x04shop\x06sesame").unwrap();
    stream.read_exact(&mut two).unwrap();
    assert_eq!(two, [1, 0]);
    stream.write_all(&[&[5, 1, 0, kind][..], address, &port.to_be_bytes()].concat()).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    answer[1]
}

pub(crate) fn websocket(at: SocketAddr, path: &str, lines: &str) -> (u16, TcpStream) {
    let mut stream = client(at);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
    .unwrap();
    let status = status(&head(&mut stream));
    (status, stream)
}

fn says_and_hears(stream: &mut TcpStream, says: &[u8], hears: &[u8]) {
    stream.write_all(says).unwrap();
    let mut heard = vec![0; hears.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, hears);
}

/// Over, by an end or by a reset.
fn is_cut(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "it was not cut"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_gets_in_by_every_protocol_and_others_hear_why_not() {
    let (harness, [plain, _]) = guarded(Config::default());
    for to in ["echo:80", "echo.svc.internal:7", "ECHO:1"] {
        let (status, mut stream) = connect(plain, to, Some(SHOP));
        assert_eq!(status, 200, "{to}");
        says_and_hears(&mut stream, b"hello", b"hello");
    }
    assert_eq!(connect(plain, "echo:80", Some("Bearer sesame")).0, 200);
    // As ncat does, and without the field that is all but needed.
    let mut stream = client(plain);
    write!(stream, "CONNECT echo:80 HTTP/1.0\r\nProxy-Authorization: {SHOP}\r\n\r\n").unwrap();
    assert_eq!(status(&head(&mut stream)), 200);
    says_and_hears(&mut stream, b"hello", b"hello");
    assert_eq!(connect(plain, "echo:80", Some(OTHER)).0, 403);
    assert_eq!(connect(plain, "echo:80", Some(WRONG)).0, 407);
    assert_eq!(connect(plain, "echo:80", None).0, 403, "a program of this host that no rule allows");
    assert_eq!(connect(plain, "nobody:80", Some(SHOP)).0, 403, "who may not is not told what there is");
    assert_eq!(connect(plain, "user@echo:80", Some(SHOP)).0, 400);

    let (code, mut stream) = socks(plain, "echo", Some(("shop", "sesame")));
    assert_eq!(code, 0);
    says_and_hears(&mut stream, b"hello", b"hello");
    assert_eq!(socks(plain, "echo", Some(("other", "barley"))).0, 2);
    assert_eq!(socks(plain, "echo", Some(("shop", "wrong"))).0, 0xfe);
    assert_eq!(socks(plain, "echo", None).0, 2);

    let shop = format!("Authorization: {SHOP}\r\n");
    let (status, mut stream) = websocket(plain, "/echo", &shop);
    assert_eq!(status, 101);
    // A binary message, masked with zeros; the echo's is not masked.
    says_and_hears(&mut stream, b"\x82\x85\0\0\0\0hello", b"\x82\x05hello");
    assert_eq!(websocket(plain, "/echo", &format!("Authorization: {OTHER}\r\n")).0, 403);
    assert_eq!(websocket(plain, "/echo", &format!("Authorization: {WRONG}\r\n")).0, 401);
    assert_eq!(websocket(plain, "/../etc", &shop).0, 400);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_frames_of_libipcs() {
    let (harness, [plain, _]) = guarded(Config::default());
    let (_, mut stream) = websocket(plain, "/echo", "X-Consul-Token: sesame\r\n");
    let json = br#"{"mtype":1,"utype":7,"payload":"hi"}"#;
    let sent = [&[0x81, 0x80 | json.len() as u8, 0, 0, 0, 0][..], json].concat();
    let heard = [&[0x81, json.len() as u8][..], json].concat();
    says_and_hears(&mut stream, &sent, &heard);
    // No such thing: closed with 1007.
    stream.write_all(b"\x81\x83\0\0\0\0{x}").unwrap();
    let mut close = [0; 4];
    stream.read_exact(&mut close).unwrap();
    assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, 1007));
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_reached_only_where_a_rule_names_it() {
    let (harness, [plain, _]) = guarded(Config::default());
    let (hidden, v6) = (echo(), std::net::Ipv6Addr::LOCALHOST);
    for mode in [Mode::Open, Mode::Observe] {
        harness.rules(mode, &["allow any any"]);
        assert_eq!(connect(plain, &hidden.to_string(), Some(SHOP)).0, 403, "{mode:?}");
        assert_eq!(connect(plain, &format!("localhost.localdomain:{}", hidden.port()), Some(SHOP)).0, 403);
        assert_eq!(connect(plain, "169.254.169.254:80", Some(SHOP)).0, 403);
        assert_eq!(connect(plain, "[::1]:80", Some(SHOP)).0, 403);
        assert_eq!(socks(plain, "127.0.0.1", Some(("shop", "sesame"))).0, 2);
        // The same in the forms that some readers of addresses take, and names that may lead there.
        for sly in
            ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"]
        {
            let to = format!("{sly}:{}", hidden.port());
            let status = connect(plain, &to, Some(SHOP)).0;
            assert!((400..500).contains(&status), "{mode:?} {to}: {status}");
            if sly.starts_with('[') {
                continue;
            }
            assert_ne!(socks(plain, sly, Some(("shop", "sesame"))).0, 0, "{mode:?} {sly}");
        }
        for (kind, address) in
            [(1, vec![127, 0, 0, 1]), (1, vec![169, 254, 169, 254]), (4, v6.octets().to_vec())]
        {
            assert_eq!(socks_to_address(plain, kind, &address, hidden.port()), 2, "{mode:?} {address:?}");
        }
    }
    harness.rules(Mode::Enforce, &[&format!("allow host:{hidden} any")]);
    crate::harness::eventually("the rule holds", || connect(plain, &hidden.to_string(), Some(SHOP)).0 == 200);
    let (_, mut stream) = connect(plain, &hidden.to_string(), Some(SHOP));
    says_and_hears(&mut stream, b"hello", b"hello");
    harness.rules(Mode::Enforce, &["allow shop any"]);
    is_cut(&mut stream);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_cuts_what_it_forbids_by_every_protocol() {
    let (harness, [plain, _]) = guarded(Config::default());
    let shop = format!("Authorization: {SHOP}\r\n");
    let mut streams = [
        connect(plain, "echo:80", Some(SHOP)).1,
        socks(plain, "echo", Some(("shop", "sesame"))).1,
        websocket(plain, "/echo", &shop).1,
    ];
    let begun = std::time::Instant::now();
    harness.rules(Mode::Enforce, &["deny shop echo"]);
    for stream in &mut streams {
        is_cut(stream);
    }
    println!("three connections were cut {:?} after the rule", begun.elapsed());
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_open_nothing() {
    let config = Config { origins: vec!["https://app.example".into()], ..Config::default() };
    let (harness, [plain, _]) = guarded(config);
    let from = |origin: &str| format!("Authorization: {SHOP}\r\nOrigin: {origin}\r\n");
    assert_eq!(websocket(plain, "/echo", &from("https://app.example")).0, 101);
    assert_eq!(websocket(plain, "/echo", &from("https://evil.example")).0, 403);
    assert_eq!(websocket(plain, "/echo", &from("null")).0, 403);
    // A page cannot ask for CONNECT; for what a form or a script can send, a proxy's form is none of the page's doing.
    let mut stream = client(plain);
    let from_page = format!("Proxy-Authorization: {SHOP}\r\nOrigin: https://evil.example");
    write!(stream, "POST http://echo/ HTTP/1.1\r\nHost: echo\r\nContent-Length: 0\r\n{from_page}\r\n\r\n")
        .unwrap();
    assert_eq!(status(&head(&mut stream)), 403);
    // Under any name that leads here (DNS rebinding), this is no web server.
    for line in
        ["GET / HTTP/1.1\r\nHost: evil.example", "POST /echo HTTP/1.1\r\nHost: echo\r\nContent-Length: 0"]
    {
        let mut stream = client(plain);
        write!(stream, "{line}\r\n{}\r\n", from("https://evil.example")).unwrap();
        assert!((400..500).contains(&status(&head(&mut stream))), "{line}");
    }
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_nonsense_is_let_go() {
    let config = Config { handshake_timeout: Duration::from_millis(200), ..Config::default() };
    let (harness, [plain, tls]) = guarded(config);
    for (at, words) in [
        (plain, &b""[..]),
        (plain, b"\x05"),
        (plain, b"\x05\x01\x02"),
        (plain, b"\x05\x01\x02\x01\xff"),
        (plain, b"CONNECT echo"),
        (plain, b"\x16\x03\x01\x02\x00"),
        (plain, b"\x00\x00\x00\x00"),
        (plain, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n"),
        (tls, b""),
        (tls, b"CONNECT echo:80 HTTP/1.1\r\n\r\n"),
    ] {
        let mut stream = client(at);
        stream.write_all(words).unwrap();
        is_cut(&mut stream);
    }
    assert_eq!(connect(plain, "echo:80", Some(SHOP)).0, 200, "nobody else is hurt");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_places() {
    let config = Config { max_connections_per_address: 2, ..Config::default() };
    let harness = Harness::start();
    harness.register("echo", echo());
    let [plain, _] = harness.gateway(config);
    let _held: Vec<_> = (0..2).map(|_| connect(plain, "echo:80", None).1).collect();
    let mut third = client(plain);
    let _ = third.write_all(b"CONNECT echo:80 HTTP/1.1\r\nHost: x\r\n\r\n");
    is_cut(&mut third);
    harness.stop().await;
}
