//! Intentions of Consul's clients are rules, and are asked in Consul's order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod common;

use common::Server;
use serde_json::{Value, json};

/// Status and JSON of an answer; what is no JSON is text.
async fn ask(server: &Server, method: &str, target: &str, body: Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let reply = server.send(method, target, &[], text.as_bytes()).await;
    let value = serde_json::from_str(&reply.body).unwrap_or(Value::String(reply.body));
    (reply.status, value)
}

fn intention(source: &str, destination: &str, action: &str) -> Value {
    json!({ "SourceName": source, "DestinationName": destination, "Action": action })
}

async fn allowed(server: &Server, source: &str, destination: &str) -> bool {
    let target = format!("/v1/connect/intentions/check?source={source}&destination={destination}");
    let (status, answer) = ask(server, "GET", &target, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["Allowed"].as_bool().unwrap()
}

#[tokio::test]
async fn an_intention_lives_and_dies_under_its_id() {
    let server = Server::start().await;
    let (status, made) =
        ask(&server, "POST", "/v1/connect/intentions", intention("web", "db", "allow")).await;
    assert_eq!(status, 200, "{made}");
    let target = format!("/v1/connect/intentions/{}", made["ID"].as_str().unwrap());
    let (_, shown) = ask(&server, "GET", &target, Value::Null).await;
    assert_eq!((&shown["SourceName"], &shown["Precedence"]), (&json!("web"), &json!(9)), "{shown}");

    let (status, why) = ask(&server, "POST", "/v1/connect/intentions", intention("web", "db", "deny")).await;
    assert_eq!(status, 409, "a second about the same two: {why}");
    let (status, why) = ask(&server, "PUT", &target, intention("web", "other", "deny")).await;
    assert_eq!(status, 400, "another destination: {why}");
    let (status, _) = ask(&server, "PUT", &target, intention("api", "db", "deny")).await;
    assert_eq!(status, 200);
    let (_, shown) = ask(&server, "GET", &target, Value::Null).await;
    assert_eq!((&shown["SourceName"], &shown["Action"]), (&json!("api"), &json!("deny")));
    let (_, all) = ask(&server, "GET", "/v1/connect/intentions", Value::Null).await;
    assert_eq!(all.as_array().unwrap().len(), 1, "the one from web is gone: {all}");

    assert_eq!(ask(&server, "DELETE", &target, Value::Null).await, (200, json!(true)));
    assert_eq!(ask(&server, "GET", &target, Value::Null).await.0, 404);
    assert_eq!(ask(&server, "GET", "/v1/connect/intentions/hello", Value::Null).await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn the_more_exact_intention_decides_whichever_came_first() {
    let server = Server::start().await;
    for (source, destination, action) in
        [("*", "*", "deny"), ("*", "db", "allow"), ("web", "*", "allow"), ("evil", "db", "deny")]
    {
        let target = format!("/v1/connect/intentions/exact?source={source}&destination={destination}");
        let done = ask(&server, "PUT", &target, json!({ "Action": action })).await;
        assert_eq!(done, (200, json!(true)));
    }
    assert!(allowed(&server, "anybody", "db").await);
    assert!(!allowed(&server, "evil", "db").await);
    assert!(allowed(&server, "web", "cache").await);
    assert!(!allowed(&server, "anybody", "cache").await);

    let (_, matched) =
        ask(&server, "GET", "/v1/connect/intentions/match?by=destination&name=db", Value::Null).await;
    let numbers: Vec<_> =
        matched["db"].as_array().unwrap().iter().map(|one| one["Precedence"].clone()).collect();
    assert_eq!(numbers, [9, 8, 6, 5]);
    let (_, rules) = ask(&server, "GET", "/v1/portolan/rules", Value::Null).await;
    assert_eq!(rules["Rules"].as_array().unwrap().len(), 4, "they are rules: {rules}");
    let filter = "/v1/connect/intentions?filter=SourceName+%3D%3D+%22evil%22";
    let (_, one) = ask(&server, "GET", filter, Value::Null).await;
    assert_eq!(one.as_array().unwrap().len(), 1, "{one}");
    let exact = "/v1/connect/intentions/exact?source=evil&destination=db";
    assert_eq!(ask(&server, "DELETE", exact, Value::Null).await, (200, json!(true)));
    assert!(allowed(&server, "evil", "db").await);
    server.stop().await;
}

#[tokio::test]
async fn all_intentions_of_a_destination_are_one_entry() {
    let server = Server::start().await;
    let entry = |sources: Value| json!({ "Kind": "service-intentions", "Name": "db", "Sources": sources });
    let other = "/v1/connect/intentions/exact?source=web&destination=cache";
    ask(&server, "PUT", other, json!({ "Action": "allow" })).await;
    let two =
        json!([{ "Name": "*", "Action": "deny" }, { "Name": "web", "Action": "allow", "Type": "consul" }]);
    assert_eq!(ask(&server, "PUT", "/v1/config", entry(two)).await, (200, json!(true)));
    assert!(allowed(&server, "web", "db").await && !allowed(&server, "api", "db").await);
    let (_, shown) = ask(&server, "GET", "/v1/config/service-intentions/db", Value::Null).await;
    let names: Vec<_> = shown["Sources"].as_array().unwrap().iter().map(|one| one["Name"].clone()).collect();
    assert_eq!(names, ["web", "*"], "in the order in which they are asked");

    let one = json!([{ "Name": "api", "Action": "allow" }]);
    let stale = format!("/v1/config?cas={}", shown["ModifyIndex"].as_u64().unwrap() - 1);
    assert_eq!(ask(&server, "PUT", &stale, entry(one.clone())).await, (200, json!(false)));
    assert_eq!(ask(&server, "PUT", "/v1/config", entry(one)).await, (200, json!(true)));
    let (_, all) = ask(&server, "GET", "/v1/connect/intentions", Value::Null).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "another destination's stays: {all}");
    let gone = ask(&server, "DELETE", "/v1/config/service-intentions/db", Value::Null).await;
    assert_eq!(gone, (200, json!({})));
    assert_eq!(ask(&server, "GET", "/v1/config/service-intentions/db", Value::Null).await.0, 404);

    let (status, why) = ask(&server, "PUT", "/v1/config", json!({ "Kind": "mesh" })).await;
    assert_eq!(status, 501, "{why}");
    let with_http = json!([{ "Name": "web", "Permissions": [{ "Action": "allow" }] }]);
    assert_eq!(ask(&server, "PUT", "/v1/config", entry(with_http)).await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_is_told_why_and_a_node_alone_says_that_it_certifies_nobody() {
    let server = Server::start().await;
    let asked = json!({ "Target": "db", "ClientCertURI": "spiffe://n1/ns/default/dc/dc1/svc/web" });
    let (_, open) = ask(&server, "POST", "/v1/agent/connect/authorize", asked.clone()).await;
    assert_eq!(open["Authorized"], json!(true), "{open}");
    let exact = "/v1/connect/intentions/exact?source=*&destination=db";
    ask(&server, "PUT", exact, json!({ "Action": "deny" })).await;
    let (_, denied) = ask(&server, "POST", "/v1/agent/connect/authorize", asked).await;
    assert_eq!(denied["Authorized"], json!(false), "{denied}");
    assert!(denied["Reason"].as_str().unwrap().contains("deny any to db"), "{denied}");
    for target in ["/v1/connect/ca/roots", "/v1/agent/connect/ca/roots", "/v1/agent/connect/ca/leaf/web"] {
        let (status, why) = ask(&server, "GET", target, Value::Null).await;
        let why = why.as_str().unwrap();
        assert!(
            status == 500 && why.contains("Connect must be enabled") && why.contains("portolan init"),
            "{why}"
        );
    }
    server.stop().await;
}
