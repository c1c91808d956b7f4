//! Two clients that compete for a lock over HTTP, and one that watches.

#![allow(clippy::expect_used, reason = "test code")]

mod common;

use common::Server;
use serde_json::{Value, json};

async fn put(server: &Server, path: &str, body: &str) -> String {
    let reply = server.send("PUT", path, &[], body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body.trim().to_owned()
}

async fn session(server: &Server, body: &str) -> String {
    let created: Value = serde_json::from_str(&put(server, "/v1/session/create", body).await).expect("JSON");
    created["ID"].as_str().expect("an id").to_owned()
}

async fn key(server: &Server) -> Value {
    let reply = server.send("GET", "/v1/kv/lock", &[], b"").await;
    serde_json::from_str::<Value>(&reply.body).expect("JSON")[0].clone()
}

#[tokio::test]
async fn a_lock_goes_from_one_to_the_other_and_a_watcher_sees_it() {
    let server = Server::start().await;
    let ours = session(&server, r#"{"Name":"a","TTL":"10s","LockDelay":"0s"}"#).await;
    let theirs = session(&server, r#"{"Name":"b","LockDelay":"15s"}"#).await;
    assert_eq!(put(&server, &format!("/v1/kv/lock?acquire={ours}"), "one").await, "true");
    assert_eq!(put(&server, &format!("/v1/kv/lock?acquire={theirs}"), "two").await, "false");
    let held = key(&server).await;
    assert_eq!((&held["Session"], &held["LockIndex"]), (&json!(ours), &json!(1)));
    let renewed = put(&server, &format!("/v1/session/renew/{ours}"), "").await;
    assert!(renewed.contains("\"TTL\":\"10s\""), "{renewed}");

    let index = held["ModifyIndex"].as_u64().expect("an index");
    let target = format!("/v1/kv/lock?index={index}&wait=30s");
    let watching = server.send("GET", &target, &[], b"");
    let destroy = format!("/v1/session/destroy/{ours}");
    let (seen, _) = tokio::join!(watching, put(&server, &destroy, ""));
    let seen: Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(seen[0].get("Session"), None, "{seen}");

    assert_eq!(put(&server, &format!("/v1/kv/lock?acquire={theirs}"), "two").await, "true");
    put(&server, &format!("/v1/session/destroy/{theirs}"), "").await;
    let third = session(&server, "").await;
    assert_eq!(put(&server, &format!("/v1/kv/lock?acquire={third}"), "x").await, "false", "lock delay");
    let operation = json!([{ "KV": { "Verb": "lock", "Key": "lock", "Session": third } }]).to_string();
    let reply = server.send("PUT", "/v1/txn", &[], operation.as_bytes()).await;
    assert_eq!(reply.status, 409);
    assert!(reply.body.contains("due to lock delay"), "{reply:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_check_that_turns_critical_takes_the_lock_away() {
    let server = Server::start().await;
    let check = r#"{"Name":"alive","CheckID":"alive","TTL":"60s","Status":"passing"}"#;
    put(&server, "/v1/agent/check/register", check).await;
    let ours = session(&server, r#"{"NodeChecks":["serfHealth","alive"],"Behavior":"delete"}"#).await;
    put(&server, &format!("/v1/kv/lock?acquire={ours}"), "one").await;
    put(&server, "/v1/agent/check/fail/alive", "").await;
    assert_eq!(list(&server).await, json!([]));
    assert_eq!(server.send("GET", "/v1/kv/lock", &[], b"").await.status, 404);
    let body = br#"{"NodeChecks":["alive"]}"#;
    let refused = server.send("PUT", "/v1/session/create", &[], body).await;
    assert_eq!((refused.status, refused.body.trim()), (500, "Check 'alive' is in critical state"));
    server.stop().await;
}

async fn list(server: &Server) -> Value {
    let reply = server.send("GET", "/v1/session/list", &[], b"").await;
    serde_json::from_str(&reply.body).expect("JSON")
}
