//! The state saved and restored over HTTP.
#![allow(clippy::expect_used, reason = "test code")]

mod common;

use common::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The bytes of an answer's body.
async fn bytes(server: &Server, target: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let head = format!("GET {target} HTTP/1.1\r\nConnection: close\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(head.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answers");
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    answer.split_off(body)
}

#[tokio::test]
async fn what_was_saved_comes_back_and_what_came_after_is_gone() {
    let server = Server::start().await;
    server.put("/v1/kv/kept?flags=3", "then").await;
    server.put("/v1/agent/service/register", r#"{"Name":"web","Port":80}"#).await;
    let archive = bytes(&server, "/v1/snapshot").await;
    server.put("/v1/kv/kept", "now").await;
    server.put("/v1/kv/after", "x").await;
    server.put("/v1/agent/service/deregister/web", "").await;
    let index = server.get("/v1/kv/after").await.index();

    let waiting = format!("/v1/kv/after?index={index}&wait=60s");
    let (woken, restored) = tokio::join!(server.get(&waiting), async {
        while server.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        server.send("PUT", "/v1/snapshot", &[], &archive).await
    });
    assert_eq!((restored.status, restored.body.as_str()), (200, ""));
    assert_eq!(woken.status, 404, "whoever watches sees it gone");
    assert!(woken.index() > index);
    assert_eq!(server.get("/v1/kv/kept?raw").await.body, "then");
    let found = server.get("/v1/health/service/web").await;
    assert_eq!(found.json()[0]["Service"]["Port"], 80);
    // In a second one with a shorter history, too.
    let other = Server::start().await;
    assert_eq!(other.send("PUT", "/v1/snapshot", &[], &archive).await.status, 200);
    assert_eq!(other.get("/v1/kv/kept?raw").await.body, "then");
    // Those that look at whether anything is judged, now that the rules are others.
    for list in ["/v1/portolan/services", "/v1/event/list"] {
        assert_eq!(other.get(list).await.status, 200, "{list}");
    }
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_archive_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    server.put("/v1/kv/a", "b").await;
    let archive = bytes(&server, "/v1/snapshot").await;
    let foreign = archive::pack(&[("meta.json", b"{}"), ("state.bin", b"raft")], 0);
    let empty = archive::pack(&[("meta.json", b"{}")], 0);
    for bad in [&b""[..], b"nonsense", &archive[..archive.len() - 1], &foreign, &empty] {
        let answer = server.send("PUT", "/v1/snapshot", &[], bad).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let answer = server.send("PUT", "/v1/snapshot", &[], &foreign).await;
    assert!(answer.body.contains("import consul"), "it says what to do: {}", answer.body);
    assert_eq!(server.get("/v1/kv/a?raw").await.body, "b");
    server.stop().await;
}
