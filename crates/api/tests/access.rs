//! Who may change something: every endpoint, with no token, a wrong one, and an operator's.

mod common;

use std::sync::Arc;

use common::{Reply, Server};
use portolan_api::{Access, Config, Endpoint, Mode, endpoints};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Rules(Mode);

impl Access for Rules {
    fn mode(&self) -> Mode {
        self.0
    }

    fn is_operator(&self, token: &str) -> bool {
        token == "the-right-one"
    }
}

async fn server(mode: Mode, config: Config) -> Server {
    Server::start_guarded(config, Arc::new(Rules(mode))).await
}

/// One request to an endpoint, its parameter filled in.
async fn ask(server: &Server, endpoint: &Endpoint, fields: &[(&str, &str)]) -> Reply {
    let (path, _) = endpoint.pattern.split_once('*').unwrap_or((endpoint.pattern, ""));
    let parameter = if path == endpoint.pattern { "" } else { "x" };
    server.send(endpoint.method, &format!("{path}{parameter}"), fields, b"{}").await
}

#[tokio::test]
async fn changes_need_an_operator_on_every_route_and_reads_need_nothing() {
    let server = server(Mode::Enforce, Config::default()).await;
    let tokens: [&[(&str, &str)]; 6] = [
        &[],
        &[("X-Consul-Token", "")],
        &[("X-Consul-Token", "a-wrong-one")],
        &[("Authorization", "Bearer a-wrong-one")],
        &[("Authorization", "Basic the-right-one")],
        &[("X-Consul-Token", "a-wrong-one"), ("Authorization", "Bearer the-right-one")],
    ];
    let mut walked = 0;
    for endpoint in endpoints() {
        for fields in tokens {
            let reply = ask(&server, &endpoint, fields).await;
            let is_denied = reply.status == 403;
            assert_eq!(
                is_denied, endpoint.writes,
                "{endpoint:?} {fields:?}: {} {}",
                reply.status, reply.body
            );
            if is_denied {
                assert!(reply.body.starts_with("Permission denied: "), "{}", reply.body);
            }
        }
        for field in [("X-Consul-Token", "the-right-one"), ("Authorization", "bearer the-right-one")] {
            let reply = ask(&server, &endpoint, &[field]).await;
            assert_ne!(reply.status, 403, "{endpoint:?} {field:?}: {}", reply.body);
        }
        walked += 1;
    }
    assert_eq!(walked, endpoints().len());
    server.stop().await;
}

#[tokio::test]
async fn what_changes_something_is_marked_so() {
    for endpoint in endpoints() {
        assert!(endpoint.writes || endpoint.method == "GET", "{endpoint:?} is let through as a read");
    }
}

#[tokio::test]
async fn observing_and_open_servers_refuse_nothing() {
    for mode in [Mode::Open, Mode::Observe] {
        let server = server(mode, Config::default()).await;
        let reply = server.put("/v1/kv/a", "1").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "true"));
        server.stop().await;
    }
}

#[tokio::test]
async fn the_users_own_programs_need_no_token_on_the_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let config = Config { socket: Some(socket.clone()), ..Config::default() };
    let server = server(Mode::Enforce, config).await;
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let request = b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop().await;
}
