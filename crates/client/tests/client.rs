//! The client against a daemon that comes and goes.

#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use portolan_client::{Address, Check, Client, Error, Service, State, Status};
use support::{Daemon, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Renewed every 100 ms.
fn web() -> Service {
    Service::new("web").port(8080).lease(Duration::from_millis(600))
}

#[tokio::test]
async fn what_was_built_is_what_is_registered() {
    let daemon = Daemon::start().await;
    let check = Check::http("http://127.0.0.1:8080/health")
        .interval(Duration::from_secs(2))
        .thresholds(2, 3)
        .initially(Status::Passing);
    let service = web().tag("v1").tag("blue").meta("owner", "shop").weights(5, 1).check(check);
    let registration = service.register(&daemon.client()).await.unwrap();
    assert_eq!(registration.id(), "web-8080");
    daemon.look(|state| {
        let seen = &state.registered["web-8080"];
        assert_eq!((&*seen.name, seen.port, seen.lease.as_ms()), ("web", 8080, 600));
        assert_eq!(seen.tags, ["v1".into(), "blue".into()]);
        assert_eq!(&*seen.meta["owner"], "shop");
        let check = &seen.checks[0];
        assert_eq!((check.interval.as_ms(), check.timeout.as_ms()), (2000, 5000));
        assert_eq!((check.success_before_passing, check.failures_before_critical), (2, 3));
        assert_eq!(&*check.status, "passing");
    });
    registration.deregister().await.unwrap();
}

#[tokio::test]
async fn the_guard_renews_and_registers_again_what_was_lost() {
    let daemon = Daemon::start().await;
    let registration = web().register(&daemon.client()).await.unwrap();
    eventually("it renews", || daemon.look(|state| (state.renewals >= 3).then_some(()))).await;
    assert_eq!(daemon.look(|state| state.registrations), 1);
    daemon.change(|state| state.registered.clear());
    eventually("it is back", || daemon.look(|state| state.registered.get("web-8080").map(drop))).await;
    registration.deregister().await.unwrap();
    let renewals = daemon.look(|state| {
        assert!(state.registered.is_empty());
        state.renewals
    });
    tokio::task::yield_now().await;
    assert_eq!(daemon.look(|state| state.renewals), renewals, "a guard that left renews no more");
}

#[tokio::test]
async fn the_guard_outlives_the_daemon() {
    let mut daemon = Daemon::start().await;
    let registration = web().register(&daemon.client()).await.unwrap();
    let mut state = registration.state();
    daemon.pause().await;
    let lost = state.wait_for(|state| *state != State::Registered).await.unwrap().clone();
    let State::Retrying { cause } = lost else { panic!("{lost:?}") };
    assert!(cause.contains(daemon.address()) || cause.contains("PUT"), "{cause}");
    // It comes back with nothing in memory.
    daemon.change(|state| state.registered.clear());
    daemon.resume().await;
    state.wait_for(|state| *state == State::Registered).await.unwrap();
    eventually("it is back", || daemon.look(|state| state.registered.get("web-8080").map(drop))).await;
    registration.deregister().await.unwrap();
}

#[tokio::test]
async fn dropping_the_guard_deregisters() {
    let daemon = Daemon::start().await;
    let registration = web().register(&daemon.client()).await.unwrap();
    drop(registration);
    eventually("it is gone", || daemon.look(|state| state.registered.is_empty().then_some(()))).await;
}

#[tokio::test]
async fn a_deregistration_that_cannot_be_delivered_is_an_error() {
    let mut daemon = Daemon::start().await;
    let registration = web().register(&daemon.client()).await.unwrap();
    daemon.pause().await;
    let error = registration.deregister().await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[tokio::test]
async fn errors_say_what_was_asked_and_what_was_answered() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let error = client.renew("nobody").await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "PUT /v1/agent/service/renew/nobody: 404 there is no such thing");
    daemon.pause().await;
    let error = Client::new(client.address().clone()).renew("nobody").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(error.to_string().contains(daemon.address()));
}

#[tokio::test]
async fn kept_connections_may_be_closed_by_the_daemon() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client().with_token("secret");
    daemon.put("web-1", "web", "127.0.0.1", 80);
    for _ in 0..3 {
        assert_eq!(client.instances("web").await.unwrap().len(), 1);
        daemon.pause().await;
        daemon.resume().await;
    }
    assert_eq!(daemon.look(|state| state.tokens.clone()), ["secret"; 3]);
}

#[tokio::test]
async fn connect_tries_another_instance() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let error = client.connect("echo").await.unwrap_err();
    assert!(matches!(error, Error::NoInstance { .. }), "{error}");
    daemon.put("dead", "echo", "127.0.0.1", 1);
    let error = client.connect("echo").await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1: "), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    daemon.put("alive", "echo", "", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    });
    for _ in 0..10 {
        let mut stream = client.connect("echo").await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
    }
}

#[tokio::test]
async fn resolving_follows_the_weights() {
    let daemon = Daemon::start().await;
    for (id, weight) in [("heavy", 9), ("light", 1), ("none", 0)] {
        daemon.put(id, "web", "192.0.2.1", 80);
        daemon.change(|state| {
            let weights = consul::Weights { passing: weight, warning: 1 };
            state.registered.get_mut(id).unwrap().weights = Some(weights);
        });
    }
    let client = daemon.client();
    let mut first = 0;
    for _ in 0..200 {
        let found = client.resolve("web").await.unwrap();
        assert_eq!(found.len(), 2, "weight 0 gets no traffic");
        first += usize::from(&*found[0].id == "heavy");
    }
    // 180 expected, with a standard deviation of 4.3.
    assert!((150..=199).contains(&first), "the heavy one came first {first} times of 200");
}

#[tokio::test]
async fn a_watch_hands_out_whole_lists_and_holds_the_last_one() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let mut lists = Box::pin(client.watch("web").into_stream());
    assert_eq!(lists.next().await.unwrap().len(), 0);
    daemon.put("other", "db", "192.0.2.1", 80);
    daemon.put("web-1", "web", "192.0.2.1", 80);
    let list = lists.next().await.unwrap();
    assert_eq!((list.len(), list[0].authority()), (1, "192.0.2.1:80".into()));
    // An outage is no news, and what changed meanwhile is.
    daemon.pause().await;
    daemon.change(|state| state.registered.remove("web-1"));
    daemon.put("web-2", "web", "2001:db8::1", 80);
    daemon.resume().await;
    let list = lists.next().await.unwrap();
    assert_eq!((list.len(), list[0].authority()), (1, "[2001:db8::1]:80".into()));
}

#[tokio::test]
async fn keys_are_read_written_compared_and_deleted() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let kv = client.kv();
    assert_eq!(kv.get("a/b").await.unwrap(), None);
    kv.put("a/b", "one").await.unwrap();
    let key = kv.get("a/b").await.unwrap().unwrap();
    assert_eq!((&*key.key, &key.value[..], key.index), ("a/b", &b"one"[..], 1));
    assert!(kv.put_if("a/b", key.index, "two").await.unwrap());
    assert!(!kv.put_if("a/b", key.index, "three").await.unwrap());
    assert!(!kv.delete_if("a/b", key.index).await.unwrap());
    kv.put("a/c", Vec::new()).await.unwrap();
    kv.put("b", "x").await.unwrap();
    let keys: Vec<_> = kv.list("a/").await.unwrap().iter().map(|key| key.key.to_string()).collect();
    assert_eq!(keys, ["a/b", "a/c"]);
    kv.delete("a/b").await.unwrap();
    kv.delete_all("a/").await.unwrap();
    assert_eq!(kv.list("a/").await.unwrap(), []);
    assert!(kv.get("b").await.unwrap().is_some());
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            let body = r#"{"db": [], "web": ["v1"]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let client = Client::new(Address::Unix(path));
    let services = client.services().await.unwrap();
    assert_eq!(services["web"], ["v1"]);
}
