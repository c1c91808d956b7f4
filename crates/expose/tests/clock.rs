//! A name server whose clock is not ours. Real ones cannot be given another time, so this one only knows signatures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use domain::base::{Message, MessageBuilder};
use domain::rdata::tsig::Time48;
use domain::tsig::ServerTransaction;
use portolan_expose::names::{Config, NameError, Owner, Provider, Rdata, Rfc2136, parse_key};
use portolan_expose::wish::NameKind;

const KEY: &str =
    "key k { algorithm hmac-sha256; secret \"cG9ydG9sYW4tcG9ydG9sYW4tcG9ydG9sYW4tMTIzNA==\"; };";
const APART_S: u64 = 7200;

/// Answers one update as a server does whose clock is two hours ahead: RFC 8945 section 5.2.3.
fn serve(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).unwrap();
    let mut message = Message::from_octets(bytes).unwrap();
    let now = Time48::from_u64(u64::from(Time48::now()) + APART_S);
    let refusal = ServerTransaction::request(&parse_key(KEY).unwrap(), &mut message, now).unwrap_err();
    let answer = refusal.build_message(&message, MessageBuilder::new_vec()).unwrap().finish();
    stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}

#[tokio::test]
async fn clocks_that_differ_are_told_as_that() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server: SocketAddr = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || serve(&listener));
    let config = Config {
        server,
        zones: vec!["example.test".into()],
        owner: Owner::new("host-1").unwrap(),
        adopt: Vec::new(),
        group: None,
        ttl: Duration::from_secs(30),
    };
    let names = Rfc2136::new(&config, parse_key(KEY).unwrap()).unwrap();
    let key = ("www.example.test".into(), NameKind::A);
    let error = names.set(&key, &[Rdata::A([45, 83, 0, 1].into())].into()).await.unwrap_err();
    served.join().unwrap();
    let NameError::Clock { apart_s, is_ours_late } = error else { panic!("{error}") };
    // Ours may have ticked in between.
    assert!((APART_S - 30..=APART_S + 30).contains(&apart_s) && is_ours_late, "{apart_s}");
}
