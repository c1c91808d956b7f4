//! What happens to traffic while things change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use catalog::Status;
use portolan_proxy::HttpRoute;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::echo::{echo, read_all};
use crate::harness::{Harness, Instance, config, eventually};
use crate::http::{get, named_mirror};

#[tokio::test]
async fn traffic_moves_when_an_instance_dies_under_load() {
    let (first, second) = (named_mirror("first").await, named_mirror("second").await);
    let harness = Harness::start().await;
    harness.register("web", Instance::at(first.address));
    harness.register("web", Instance::at(second.address));
    let (over, answers, firsts) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (over, answers, firsts, http) = (over.clone(), answers.clone(), firsts.clone(), harness.http);
        clients.spawn(async move {
            let mut stream = TcpStream::connect(http).await.unwrap();
            while !over.load(Relaxed) {
                let (status, body) = get(&mut stream, "web", "/").await;
                assert_eq!(status, 200, "{body}");
                answers.fetch_add(1, Relaxed);
                firsts.fetch_add(usize::from(body.starts_with("first")), Relaxed);
            }
        });
    }
    eventually("both have answered", async || {
        let firsts = firsts.load(Relaxed);
        firsts > 50 && answers.load(Relaxed) - firsts > 50
    })
    .await;
    drop(first);
    let before = answers.load(Relaxed);
    eventually("the other one has answered", async || answers.load(Relaxed) > before + 500).await;
    over.store(true, Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    harness.stop().await;
}

#[tokio::test]
async fn shares_follow_the_weights() {
    let (light, heavy) = (named_mirror("light").await, named_mirror("heavy").await);
    // By requests in flight, of which there is one: latencies on a busy machine are no matter here.
    let balance = relay::Policy::LeastRequests;
    let harness = Harness::on(relay::Config { balance, ..relay::Config::default() }, config()).await;
    harness.register("web", Instance::at(light.address));
    harness.register("web", Instance::at(heavy.address).weighing(4));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let mut heavies = 0;
    for _ in 0..500 {
        heavies += usize::from(get(&mut stream, "web", "/").await.1.starts_with("heavy"));
    }
    assert!((340..=460).contains(&heavies), "{heavies} of 500 where 400 are due");
    harness.stop().await;
}

#[tokio::test]
async fn a_route_that_changes_cuts_nothing() {
    let (old, new) = (echo("old ").await, echo("new ").await);
    let harness = Harness::start().await;
    let (old_one, new_one) = (Instance::at(old.address), Instance::at(new.address));
    harness.register("web", old_one.clone());
    let mut kept = TcpStream::connect(harness.named).await.unwrap();
    kept.write_all(b"web\n").await.unwrap();
    let mut greeting = [0; 4];
    kept.read_exact(&mut greeting).await.unwrap();
    harness.set_status(&old_one, Status::Critical);
    harness.register("web", new_one);
    let mut fresh = TcpStream::connect(harness.named).await.unwrap();
    fresh.write_all(b"web\n").await.unwrap();
    fresh.shutdown().await.unwrap();
    assert_eq!(read_all(&mut fresh).await.unwrap(), b"new ");
    harness.deregister(&old_one);
    kept.write_all(b"goes on").await.unwrap();
    kept.shutdown().await.unwrap();
    assert_eq!(read_all(&mut kept).await.unwrap(), b"goes on");
    harness.stop().await;
}

#[tokio::test]
async fn no_healthy_instance_is_said_so() {
    let server = named_mirror("x").await;
    let harness = Harness::start().await;
    let instance = Instance::at(server.address);
    harness.register("web", instance.clone());
    harness.set_status(&instance, Status::Critical);
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    let (status, body) = get(&mut stream, "web", "/").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"web\" has no healthy instance"), "{body}");
    harness.set_status(&instance, Status::Passing);
    assert_eq!(get(&mut stream, "web", "/").await.0, 200);
    drop(server);
    let (status, body) = get(&mut stream, "web", "/").await;
    assert_eq!(status, 502);
    assert!(body.contains(&instance.address.to_string()), "{body}");
    harness.stop().await;
}

#[tokio::test]
async fn leaving_lets_connections_finish() {
    let server = echo("").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut kept = TcpStream::connect(harness.named).await.unwrap();
    kept.write_all(b"web\nhello").await.unwrap();
    let mut heard = [0; 5];
    kept.read_exact(&mut heard).await.unwrap();
    harness.leave();
    let address = harness.named;
    eventually("nobody is let in", async || TcpStream::connect(address).await.is_err()).await;
    kept.write_all(b"again").await.unwrap();
    kept.read_exact(&mut heard).await.unwrap();
    kept.shutdown().await.unwrap();
    assert!(read_all(&mut kept).await.unwrap().is_empty());
    tokio::time::timeout(Duration::from_secs(4), harness.stop())
        .await
        .expect("it ends with its last connection");
}

#[tokio::test]
async fn rules_are_reloaded() {
    let server = named_mirror("ruled ").await;
    let harness = Harness::start().await;
    harness.register("web", Instance::at(server.address));
    let mut stream = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(get(&mut stream, "api.example.org", "/v1/x").await.0, 404);
    let mut config = (*harness.config.now()).clone();
    let rule = HttpRoute { strip: true, ..HttpRoute::new(Some("*.example.org"), Some("/v1"), "web") };
    config.http.routes = vec![rule];
    harness.config.publish(config);
    eventually("the rule holds", async || get(&mut stream, "api.example.org", "/v1/x").await.0 == 200).await;
    let (_, body) = get(&mut stream, "API.Example.org:80", "/v1//%61/../b?c").await;
    assert!(body.starts_with("ruled GET /b?c HTTP/1.1"), "{body}");
    assert!(body.contains("x-forwarded-prefix: /v1\r\n"), "{body}");
    assert_eq!(get(&mut stream, "api.example.org", "/v12").await.0, 404);
    harness.stop().await;
}
