//! Clients that prove a pre-shared key.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portolan_broker::gateway::Config;
use portolan_broker::psk::{self, Key, Keys};
use relay::Stream;
use relay::tls::Keyed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::clients::papers;
use super::guarded;
use crate::harness::PATIENCE;

fn config(folder: &Path, keys: PathBuf) -> Config {
    Config { certificates: vec![papers(folder).gateway], keys: Some(keys), ..Config::default() }
}

/// A handshake that asks for `name`, and what is bound to it.
async fn handshake(at: SocketAddr, name: &str) -> (Stream, [u8; 32]) {
    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
    Keyed::new(psk::PROTOCOL).unwrap().secure(Stream::Tcp(stream), name).await.unwrap()
}

async fn prove(at: SocketAddr, name: &str, identity: &str, key: &Key) -> io::Result<Stream> {
    let (mut stream, binding) = handshake(at, name).await;
    timeout(PATIENCE, psk::prove(&mut stream, &binding, identity, key)).await.unwrap()?;
    Ok(stream)
}

async fn repeats(mut stream: Stream) {
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"hello");
}

/// Ends without a word.
async fn says_nothing(mut stream: Stream) {
    let mut heard = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_a_key_is_known_by_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let [shop, other] = [(); 2].map(|()| Key::generate().unwrap());
    Keys::add(&path, "shop", &shop).unwrap();
    Keys::add(&path, "other", &other).unwrap();
    let (harness, [_, tls]) = guarded(config(folder.path(), path));

    repeats(prove(tls, "echo.svc.internal", "shop", &shop).await.unwrap()).await;
    // Or by any protocol of the gateway's, with no other credentials.
    let mut stream = prove(tls, "localhost", "shop", &shop).await.unwrap();
    stream.write_all(b"CONNECT echo:80 HTTP/1.1\r\nHost: echo:80\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
    repeats(stream).await;

    // Proven, and no rule allows it.
    says_nothing(prove(tls, "echo.svc.internal", "other", &other).await.unwrap()).await;
    for (identity, key) in [("shop", &other), ("nobody", &shop), ("other", &shop)] {
        let error = prove(tls, "echo.svc.internal", identity, key).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{identity}: {error}");
    }
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_holds_for_its_own_handshake_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let key = Key::generate().unwrap();
    Keys::add(&path, "shop", &key).unwrap();
    let (harness, [_, tls]) = guarded(config(folder.path(), path));
    let (_first, binding) = handshake(tls, "echo.svc.internal").await;
    // What it would have said there.
    let (mut ours, mut theirs) = tokio::io::duplex(1024);
    let proving = tokio::spawn(async move { psk::prove(&mut ours, &binding, "shop", &key).await });
    let mut proof = [0; 1 + 4 + 32];
    theirs.read_exact(&mut proof).await.unwrap();
    drop(theirs);
    assert!(proving.await.unwrap().is_err());
    let (mut second, other) = handshake(tls, "echo.svc.internal").await;
    assert_ne!(binding, other);
    second.write_all(&proof).await.unwrap();
    says_nothing(second).await;
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_key_that_is_too_short_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let key = Key::generate().unwrap();
    Keys::add(&path, "shop", &key).unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("other:00112233445566778899aabbccdd\n");
    std::fs::write(&path, text).unwrap();
    let (harness, [_, tls]) = guarded(config(folder.path(), path));
    assert!(prove(tls, "echo.svc.internal", "shop", &key).await.is_err());
    harness.stop().await;
}
