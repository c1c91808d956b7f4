//! Who may do what, by example. `matrix.rs` walks every endpoint.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use catalog::acl::DefaultPolicy;
use catalog::{AclCommand, Command, Mode};
use common::Server;
use portolan_api::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const ROOT: &str = "8a2f6a1e-0000-4000-8000-00000000root";

async fn server(default: DefaultPolicy) -> Server {
    let server = Server::start_guarded(Config::default(), Mode::Enforce, default).await;
    server.management_token(ROOT).await;
    server
}

/// A request with a token; status and body.
async fn ask(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let text = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let reply = server.send(method, path, &[("X-Consul-Token", token)], text.as_bytes()).await;
    let shown = serde_json::from_str(&reply.body).unwrap_or_else(|_| Value::String(reply.body.clone()));
    (reply.status, shown)
}

#[tokio::test]
async fn from_bootstrap_to_a_token_that_may_write_one_prefix() {
    let server = Server::start_guarded(Config::default(), Mode::Enforce, DefaultPolicy::Deny).await;
    let (status, root) = ask(&server, "", "PUT", "/v1/acl/bootstrap", &Value::Null).await;
    assert_eq!(status, 200, "{root}");
    let root = root["SecretID"].as_str().expect("told once").to_owned();
    let (status, why) = ask(&server, "", "PUT", "/v1/acl/bootstrap", &Value::Null).await;
    let why = why.as_str().expect("text").to_owned();
    assert_eq!(status, 403);
    assert!(why.starts_with("Permission denied: ACL bootstrap no longer allowed (reset index: "), "{why}");

    let rules = r#"key_prefix "app/" { policy = "write" } key "app/locked" { policy = "deny" }
                   service "web" { policy = "write" } node_prefix "" { policy = "read" }"#;
    let policy = json!({ "Name": "app", "Rules": rules });
    let (status, policy) = ask(&server, &root, "PUT", "/v1/acl/policy", &policy).await;
    assert_eq!(status, 200, "{policy}");
    let wish = json!({ "Description": "the app's", "Policies": [{ "Name": "app" }] });
    let (status, token) = ask(&server, &root, "PUT", "/v1/acl/token", &wish).await;
    assert_eq!((status, &token["Policies"][0]["ID"]), (200, &policy["ID"]), "{token}");
    let app = token["SecretID"].as_str().expect("told once").to_owned();

    for (path, expected) in [("app/a", 200), ("app/locked", 403), ("other", 403)] {
        let path = format!("/v1/kv/{path}");
        assert_eq!(ask(&server, &app, "PUT", &path, &json!("v")).await.0, expected, "{path}");
    }
    assert_eq!(ask(&server, &root, "PUT", "/v1/kv/other", &json!("v")).await.0, 200);
    let (_, keys) = ask(&server, &app, "GET", "/v1/kv/?keys", &Value::Null).await;
    assert_eq!(keys, json!(["app/a"]), "what may not be read is left out");
    assert_eq!(ask(&server, &app, "GET", "/v1/kv/other", &Value::Null).await.0, 403);
    assert_eq!(
        ask(&server, &app, "DELETE", "/v1/kv/app/?recurse", &Value::Null).await.0,
        403,
        "one is denied"
    );

    for (name, expected) in [("web", 200), ("db", 403)] {
        let wish = json!({ "Name": name, "Port": 1 });
        assert_eq!(
            ask(&server, &app, "PUT", "/v1/agent/service/register", &wish).await.0,
            expected,
            "{name}"
        );
    }
    assert_eq!(
        ask(&server, &root, "PUT", "/v1/agent/service/register", &json!({ "Name": "db" })).await.0,
        200
    );
    let (_, services) = ask(&server, &app, "GET", "/v1/catalog/services", &Value::Null).await;
    assert_eq!(services, json!({ "web": [] }));
    let taken = json!({ "ID": "db", "Name": "web" });
    let (status, why) = ask(&server, &app, "PUT", "/v1/agent/service/register", &taken).await;
    assert_eq!(status, 403, "an id of another service is not taken over: {why}");

    let path = format!("/v1/acl/token/{}", token["AccessorID"].as_str().expect("an accessor"));
    let (_, read) = ask(&server, &root, "GET", &path, &Value::Null).await;
    assert_eq!(read["SecretID"], "<hidden>");
    let (_, own) = ask(&server, &app, "GET", "/v1/acl/token/self", &Value::Null).await;
    assert_eq!(own["SecretID"], app.as_str());
    assert_eq!(ask(&server, &root, "DELETE", &path, &Value::Null).await.0, 200);
    let (status, why) = ask(&server, &app, "GET", "/v1/kv/app/a", &Value::Null).await;
    assert_eq!((status, why), (403, json!("ACL not found")));
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_taken_from_either_field_and_from_the_query() {
    let server = server(DefaultPolicy::Deny).await;
    let bearer = format!("Bearer {ROOT}");
    let put = |fields: Vec<(&'static str, String)>, query: &str| {
        let (server, path) = (&server, format!("/v1/kv/a{query}"));
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
            server.send("PUT", &path, &fields, b"1").await.status
        }
    };
    let shown = |name, value: &str| vec![(name, value.to_owned())];
    assert_eq!(put(shown("X-Consul-Token", ROOT), "").await, 200);
    assert_eq!(put(shown("Authorization", &bearer), "").await, 200);
    assert_eq!(put(vec![], &format!("?token={ROOT}")).await, 200);
    assert_eq!(put(shown("Authorization", &format!("Basic {ROOT}")), "").await, 403);
    assert_eq!(put(shown("X-Consul-Token", ""), "").await, 403);
    let both = vec![("X-Consul-Token", "another".to_owned()), ("Authorization", bearer.clone())];
    assert_eq!(put(both, "").await, 403, "the first that is shown counts, and only that one");
    server.stop().await;
}

#[tokio::test]
async fn a_cluster_begins_with_reading_for_all_and_writing_for_operators() {
    let server = server(DefaultPolicy::Read).await;
    assert_eq!(ask(&server, "", "GET", "/v1/catalog/nodes", &Value::Null).await.0, 200);
    assert_eq!(ask(&server, "", "GET", "/v1/operator/raft/configuration", &Value::Null).await.0, 200);
    let (status, why) = ask(&server, "", "PUT", "/v1/kv/a", &json!("1")).await;
    assert_eq!(status, 403);
    let why = why.as_str().expect("text").to_owned();
    assert!(
        why.starts_with("Permission denied: anonymous token lacks permission 'key:write' on \"a\""),
        "{why}"
    );
    assert_eq!(ask(&server, "", "GET", "/v1/acl/tokens", &Value::Null).await.0, 403, "but never the lists");
    server.stop().await;
}

#[tokio::test]
async fn observing_and_open_servers_refuse_nothing() {
    for mode in [Mode::Open, Mode::Observe] {
        let server = Server::start_guarded(Config::default(), mode, DefaultPolicy::Deny).await;
        for token in ["", "unknown"] {
            assert_eq!(
                ask(&server, token, "PUT", "/v1/kv/a", &json!("1")).await,
                (200, json!(true)),
                "{mode:?}"
            );
            assert_eq!(ask(&server, token, "GET", "/v1/kv/?keys", &Value::Null).await.1, json!(["a"]));
        }
        let (status, why) = ask(&server, "", "PUT", "/v1/acl/bootstrap", &Value::Null).await;
        match mode {
            Mode::Open => assert_eq!((status, why), (401, json!("ACL support disabled"))),
            _ => assert_eq!(status, 200, "{why}"),
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn the_users_own_programs_need_no_token_on_the_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let config = Config { socket: Some(socket.clone()), ..Config::default() };
    let server = Server::start_guarded(config, Mode::Enforce, DefaultPolicy::Deny).await;
    let ask = async |field: &str| {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        let request = format!(
            "PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n{field}Connection: close\r\nContent-Length: 1\r\n\r\n1"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = ask("X-Consul-Token: unknown\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "a token that is shown is what counts: {answer}");
    server.stop().await;
}

/// Polls until `holds`.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

#[tokio::test]
async fn whoever_waits_is_judged_again_when_it_is_answered() {
    let server = Arc::new(server(DefaultPolicy::Deny).await);
    server.token("reader", r#"key_prefix "" { policy = "read" }"#, None).await;
    server.token("other", r#"key_prefix "a" { policy = "read" }"#, None).await;
    ask(&server, ROOT, "PUT", "/v1/kv/a", &json!("1")).await;
    let index = server.send("GET", "/v1/kv/a", &[("X-Consul-Token", ROOT)], b"").await.index();
    let wait = |token: &'static str, path: &str| {
        let (server, path) = (server.clone(), format!("/v1/kv/{path}index={index}&wait=60s"));
        tokio::spawn(async move { ask(&server, token, "GET", &path, &Value::Null).await })
    };
    let (gone, filtered) = (wait("reader", "a?"), wait("other", "?keys&"));
    until("both wait", || server.waiting() == 2).await;
    let accessor = "accessor-of-reader".into();
    server.submit(Command::Acl(AclCommand::DeleteToken { accessor })).await;
    ask(&server, ROOT, "PUT", "/v1/kv/b", &json!("secret")).await;
    ask(&server, ROOT, "PUT", "/v1/kv/a", &json!("2")).await;
    assert_eq!(gone.await.unwrap(), (403, json!("ACL not found")));
    assert_eq!(filtered.await.unwrap(), (200, json!(["a"])), "what came meanwhile may not be seen either");
    Arc::into_inner(server).expect("nobody else holds it").stop().await;
}

#[tokio::test]
async fn shared_answers_are_shared_among_equals_only() {
    let server = server(DefaultPolicy::Deny).await;
    server.token("one", r#"key_prefix "a" { policy = "read" }"#, None).await;
    server.token("other", r#"key_prefix "b" { policy = "read" }"#, None).await;
    for key in ["a", "b"] {
        ask(&server, ROOT, "PUT", &format!("/v1/kv/{key}"), &json!("v")).await;
    }
    for _ in 0..2 {
        for (token, keys) in
            [("one", json!(["a"])), ("other", json!(["b"])), (ROOT, json!(["a", "b"])), ("", json!([]))]
        {
            assert_eq!(
                ask(&server, token, "GET", "/v1/kv/?keys", &Value::Null).await,
                (200, keys),
                "{token}"
            );
        }
    }
    let reply = server.send("GET", "/v1/kv/?keys", &[("X-Consul-Token", "one")], b"").await;
    assert_eq!(reply.field("x-consul-results-filtered-by-acls"), Some("true"));
    assert_eq!(reply.field("x-consul-default-acl-policy"), Some("deny"));
    // A policy that changes counts at once.
    let now = server.store.now();
    let mut policy = (**now.acl().policy_named("one").expect("there")).clone();
    policy.rules = r#"key_prefix "" { policy = "read" }"#.into();
    server.submit(Command::Acl(AclCommand::PutPolicy { policy: Box::new(policy), is_new: false })).await;
    assert_eq!(ask(&server, "one", "GET", "/v1/kv/?keys", &Value::Null).await.1, json!(["a", "b"]));
    server.stop().await;
}

#[tokio::test]
async fn every_operation_of_a_transaction_is_judged() {
    let server = server(DefaultPolicy::Deny).await;
    server
        .token("mine", r#"key_prefix "a/" { policy = "write" } service "web" { policy = "write" }"#, None)
        .await;
    ask(&server, ROOT, "PUT", "/v1/kv/b", &json!("secret")).await;
    let txn = async |operations: Value| ask(&server, "mine", "PUT", "/v1/txn", &operations).await;
    let set = |key: &str| json!({ "KV": { "Verb": "set", "Key": key, "Value": "eA==" } });
    assert_eq!(txn(json!([set("a/1")])).await.0, 200);
    let (status, answer) = txn(json!([set("a/2"), set("b")])).await;
    assert_eq!((status, &answer["Errors"][0]["OpIndex"]), (409, &json!(1)), "{answer}");
    assert_eq!(ask(&server, ROOT, "GET", "/v1/kv/a/2", &Value::Null).await.0, 404, "none of it was done");
    let node = json!({ "Node": "n1", "Address": "10.0.0.9" });
    for operation in [
        json!({ "KV": { "Verb": "get", "Key": "b" } }),
        json!({ "KV": { "Verb": "check-index", "Key": "b", "Index": 1 } }),
        json!({ "KV": { "Verb": "check-not-exists", "Key": "b" } }),
        json!({ "KV": { "Verb": "delete", "Key": "b" } }),
        json!({ "KV": { "Verb": "delete-cas", "Key": "b", "Index": 1 } }),
        json!({ "KV": { "Verb": "cas", "Key": "b", "Index": 1, "Value": "eA==" } }),
        json!({ "KV": { "Verb": "delete-tree", "Key": "" } }),
        json!({ "KV": { "Verb": "lock", "Key": "b", "Session": "s", "Value": "eA==" } }),
        json!({ "KV": { "Verb": "unlock", "Key": "b", "Session": "s", "Value": "eA==" } }),
        json!({ "KV": { "Verb": "check-session", "Key": "b", "Session": "s" } }),
        json!({ "Node": { "Verb": "set", "Node": node } }),
        json!({ "Node": { "Verb": "delete", "Node": node } }),
        json!({ "Service": { "Verb": "set", "Node": "n1", "Service": { "ID": "db", "Service": "db" } } }),
        json!({ "Service": { "Verb": "delete", "Node": "n1", "Service": { "ID": "db", "Service": "web" } } }),
        json!({ "Check": { "Verb": "set", "Check": { "Node": "n1", "CheckID": "c", "Name": "c" } } }),
        json!({ "Check": { "Verb": "delete", "Check": { "Node": "n1", "CheckID": "serfHealth" } } }),
    ] {
        let (status, answer) = txn(json!([operation])).await;
        let what = answer["Errors"][0]["What"].as_str().unwrap_or_default();
        assert!(status == 409 && what.starts_with("Permission denied"), "{operation}: {status} {answer}");
    }
    let (status, answer) = txn(json!([{ "KV": { "Verb": "get-tree", "Key": "" } }])).await;
    let keys: Vec<_> = answer["Results"].as_array().expect("some").iter().map(|r| &r["KV"]["Key"]).collect();
    assert_eq!((status, keys), (200, vec![&json!("a/1")]), "what is read and may not be seen is left out");
    let (_, answer) = txn(json!([{ "Node": { "Verb": "get", "Node": { "Node": "n1" } } }])).await;
    assert_eq!(answer["Results"], json!([]));
    server.stop().await;
}
