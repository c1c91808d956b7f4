//! Blocking queries: woken by what they ask about and by nothing else.

#![allow(clippy::expect_used, reason = "test code")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Reply, Server};
use portolan_api::{Config, Limits};
use tokio::task::JoinHandle;

const WEB: &str = r#"{"Name":"web","ID":"w1","Port":80}"#;

fn ask(server: &Arc<Server>, target: String) -> JoinHandle<Reply> {
    let server = server.clone();
    tokio::spawn(async move { server.get(&target).await })
}

/// Waits until so many queries block.
async fn until_waiting(server: &Server, count: i64) {
    for _ in 0..2000 {
        if server.waiting() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.waiting(), count, "queries that wait");
}

#[tokio::test]
async fn a_change_of_the_service_answers_and_one_of_another_does_not() {
    let server = Arc::new(Server::start().await);
    server.put("/v1/agent/service/register", WEB).await;
    let before = server.get("/v1/health/service/web").await.index();
    let waiting = ask(&server, format!("/v1/health/service/web?index={before}&wait=60s"));
    until_waiting(&server, 1).await;
    server.put("/v1/agent/service/register", r#"{"Name":"other","Port":81}"#).await;
    server.put("/v1/kv/a", "b").await;
    // The same again changes nothing and moves no index.
    server.put("/v1/agent/service/register", WEB).await;
    assert_eq!(server.get("/v1/health/service/web").await.index(), before);
    assert!(!waiting.is_finished());
    server.put("/v1/agent/service/register", r#"{"Name":"web","ID":"w2","Port":82}"#).await;
    let reply = waiting.await.expect("answers");
    assert!(reply.index() > before);
    assert_eq!(reply.json().as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn time_over_is_answered_with_the_same_index() {
    let server = Server::start().await;
    let reply = server.get("/v1/health/service/none?index=1&wait=10ms").await;
    assert_eq!((reply.status, reply.index(), reply.body.trim()), (200, 1, "[]"));
    let index = server.get("/v1/catalog/nodes").await.index();
    let reply = server.get(&format!("/v1/catalog/nodes?index={index}&wait=10ms")).await;
    assert_eq!(reply.index(), index);
}

#[tokio::test]
async fn what_appears_and_what_vanishes_is_news() {
    let server = Arc::new(Server::start().await);
    let appearing = ask(&server, "/v1/catalog/service/web?index=1&wait=60s".into());
    let key = ask(&server, "/v1/kv/a?index=1&wait=60s".into());
    let tree = ask(&server, "/v1/kv/?recurse&index=1&wait=60s".into());
    until_waiting(&server, 3).await;
    server.put("/v1/agent/service/register", WEB).await;
    let appeared = appearing.await.expect("answers").index();
    server.put("/v1/kv/a", "b").await;
    assert_eq!(key.await.expect("answers").status, 200);
    assert_eq!(tree.await.expect("answers").status, 200);

    let vanishing = ask(&server, format!("/v1/catalog/service/web?index={appeared}&wait=60s"));
    let names = server.get("/v1/catalog/services").await.index();
    let listing = ask(&server, format!("/v1/catalog/services?index={names}&wait=60s"));
    until_waiting(&server, 2).await;
    server.put("/v1/agent/service/deregister/w1", "").await;
    let gone = vanishing.await.expect("answers");
    assert!(gone.index() > appeared);
    assert_eq!(gone.body.trim(), "[]");
    assert_eq!(listing.await.expect("answers").body.trim(), "{}");
}

#[tokio::test]
async fn a_status_wakes_health_and_leaves_the_names_alone() {
    let server = Arc::new(Server::start().await);
    server.put("/v1/agent/service/register", r#"{"Name":"web","Check":{"TTL":"60s"}}"#).await;
    let names = server.get("/v1/catalog/services").await.index();
    let health = server.get("/v1/health/service/web").await.index();
    let waiting = ask(&server, format!("/v1/health/service/web?passing&index={health}&wait=60s"));
    until_waiting(&server, 1).await;
    server.put("/v1/agent/check/pass/service:web", "").await;
    assert_eq!(waiting.await.expect("answers").json().as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/v1/catalog/services").await.index(), names);
}

#[tokio::test]
async fn a_hash_blocks_until_the_definition_differs() {
    let server = Arc::new(Server::start().await);
    server.put("/v1/agent/service/register", WEB).await;
    let first = server.get("/v1/agent/service/w1").await;
    let hash = first.field("x-consul-contenthash").expect("a hash").to_owned();
    let same = server.get(&format!("/v1/agent/service/w1?hash={hash}&wait=10ms")).await;
    assert_eq!(same.field("x-consul-contenthash"), Some(&*hash));
    let waiting = ask(&server, format!("/v1/agent/service/w1?hash={hash}&wait=60s"));
    until_waiting(&server, 1).await;
    server.put("/v1/agent/service/register", r#"{"Name":"web","ID":"w1","Port":81}"#).await;
    let changed = waiting.await.expect("answers");
    assert_ne!(changed.field("x-consul-contenthash"), Some(&*hash));
    assert_eq!(changed.json()["Port"], 81);
}

#[tokio::test]
async fn too_many_are_told_so_and_others_go_on() {
    let limits = Limits { max_blocking: 2, ..Limits::default() };
    let server = Arc::new(Server::start_with(Config { limits, ..Config::default() }).await);
    let waiting: Vec<_> = (0..2).map(|_| ask(&server, "/v1/kv/a?index=1&wait=60s".into())).collect();
    until_waiting(&server, 2).await;
    let refused = server.get("/v1/kv/a?index=1&wait=60s").await;
    assert_eq!(refused.status, 429);
    assert!(refused.body.starts_with("2 blocking queries wait already"), "{}", refused.body);
    assert_eq!(server.get("/v1/catalog/nodes").await.status, 200);
    server.put("/v1/kv/a", "b").await;
    for reply in waiting {
        assert_eq!(reply.await.expect("answers").status, 200);
    }
    until_waiting(&server, 0).await;
}

#[tokio::test]
async fn leaving_answers_those_who_wait() {
    let server = Arc::new(Server::start().await);
    let waiting = ask(&server, "/v1/kv/a?index=1&wait=10m".into());
    until_waiting(&server, 1).await;
    server.leave().await;
    assert_eq!(waiting.await.expect("answers").status, 404);
}

/// What Consul's client library makes of an event's id.
fn index_of(id: &str) -> u64 {
    let number = u128::from_str_radix(&id.replace('-', ""), 16).expect("a UUID");
    ((number >> 64) as u64) ^ (number as u64)
}

#[tokio::test]
async fn the_last_event_is_the_index_and_another_one_answers() {
    let server = Arc::new(Server::start().await);
    assert_eq!(server.get("/v1/event/list").await.index(), 1);
    let first = server.put("/v1/event/fire/deploy", "one").await.json()["ID"].clone();
    let list = server.get("/v1/event/list?name=deploy").await;
    assert_eq!(list.index(), index_of(first.as_str().expect("an id")));
    let waiting = ask(&server, format!("/v1/event/list?name=deploy&index={}&wait=60s", list.index()));
    until_waiting(&server, 1).await;
    server.put("/v1/event/fire/other", "two").await;
    server.put("/v1/event/fire/deploy?node=elsewhere", "three").await;
    assert!(!waiting.is_finished(), "neither is one of those asked about");
    let last = server.put("/v1/event/fire/deploy", "four").await.json()["ID"].clone();
    let answered = waiting.await.expect("answers");
    assert_eq!(answered.index(), index_of(last.as_str().expect("an id")));
    assert_eq!(answered.json().as_array().map(Vec::len), Some(2));
    let same = server.get(&format!("/v1/event/list?name=deploy&index={}&wait=10ms", answered.index())).await;
    assert_eq!(same.index(), answered.index());
}

/// Who has just joined a cluster is a moment later in its catalog.
#[tokio::test]
async fn a_registration_waits_for_its_node() {
    let server = Server::start().await;
    let gone = server.put("/v1/catalog/deregister", r#"{"Node":"n1"}"#).await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    let (registered, back) =
        tokio::join!(server.put("/v1/agent/service/register", r#"{"Name":"web","Port":80}"#), async {
            // By then the registration has been heard.
            for _ in 0..20 {
                server.get("/v1/agent/self").await;
            }
            server.put("/v1/catalog/register", r#"{"Node":"n1","Address":"127.0.0.1"}"#).await
        });
    assert_eq!((registered.status, back.status), (200, 200), "{}", registered.body);
    assert_eq!(server.get("/v1/health/service/web").await.json()[0]["Service"]["Port"], 80);
    server.stop().await;
}
