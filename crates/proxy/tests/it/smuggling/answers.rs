//! Answers of all kinds, from an endpoint that says exactly what it is told to: a client gets the same of them by
//! hand and by hyper.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::serve;
use crate::harness::{Harness, Instance, config};

/// What an endpoint says before it closes, by the path's number.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nhello until the end",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\n\r\nold",
    "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 404 Not Here\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nno",
    "HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh",
    "HTTP/1.1 200 OK\r\nConnection: x-a, close\r\nX-A: 1\r\nKeep-Alive: x\r\nUpgrade: h2\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more than that",
    // What is no answer.
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
    "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
    "SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Le",
    "",
    // What breaks off.
    "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
];

/// What a client makes of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    status: String,
    /// Without those that say how the body is framed, and when.
    fields: BTreeSet<String>,
    /// `None` when it broke off.
    body: Option<String>,
}

fn read(answer: &[u8], ended_well: bool) -> Got {
    let text = String::from_utf8_lossy(answer);
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Got { status: String::new(), fields: BTreeSet::new(), body: None };
    };
    let mut lines = head.lines().map(|line| line.to_ascii_lowercase());
    let status = lines.next().unwrap_or_default()[9..12].to_owned();
    let mut fields: BTreeSet<String> = lines.collect();
    let length = fields.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let body = match (fields.contains("transfer-encoding: chunked"), length) {
        _ if status == "304" => Some(String::new()),
        (true, _) => unchunked(rest),
        (false, Some(length)) => rest.get(..length).map(str::to_owned),
        // The refusal may be in it, with a time of its own.
        (false, None) => {
            let timeless =
                || rest.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
            ended_well.then(timeless)
        }
    };
    // Our own words about a failure differ in detail.
    let body = if status == "502" { Some(String::new()) } else { body };
    fields.retain(|line| {
        !["content-length:", "transfer-encoding:", "date:", "connection:"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    Got { status, fields, body }
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
        if size == 0 {
            return (after.starts_with("\r\n") || after.contains("\r\n\r\n")).then_some(body);
        }
        body += after.get(..size)?;
        rest = after.get(size + 2..)?;
    }
}

async fn all(fast: bool) -> Vec<Got> {
    let server = serve(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8(head).unwrap();
        let number = text.split(' ').nth(1).unwrap().trim_start_matches('/').parse::<usize>().unwrap();
        let _ = stream.write_all(ANSWERS[number].as_bytes()).await;
    })
    .await;
    let mut config = config();
    config.http.fast = fast;
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut got = Vec::new();
    for number in 0..ANSWERS.len() {
        let mut client = TcpStream::connect(harness.http).await.unwrap();
        let next = "GET /2 HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n";
        client.write_all(format!("GET /{number} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_buf(&mut answer).await;
        // Ends the connection, where the answer has not, by a request that is refused.
        let _ = client.write_all(next.as_bytes()).await;
        let ended = tokio::time::timeout(Duration::from_secs(60), client.read_to_end(&mut answer)).await;
        got.push(read(&answer, ended.expect("the connection ends").is_ok()));
    }
    harness.stop().await;
    got
}

#[tokio::test]
async fn an_answer_is_the_same_by_hand_and_by_hyper() {
    let (by_hand, by_hyper) = (all(true).await, all(false).await);
    for ((hand, hyper), answer) in by_hand.iter().zip(&by_hyper).zip(ANSWERS) {
        assert_eq!(hand, hyper, "{answer:?}");
    }
}
