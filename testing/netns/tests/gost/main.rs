//! The life of a GOST tunnel as clients of its plugin protocol live it, with the daemon killed in between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod client;
mod page;
mod real;
mod three;

use std::path::Path;

use portolan_netns::{Daemon, Lab, Missing, Start, need};
use serde_json::{Value, json};

use client::{Client, Grpc, Http};

const ID: &str = "c23d4f42-c892-42b3-8b74-88ab6455d33a";
const NAME: &str = "c9ef8f8c-d687-4dca-be7a-1467b6565404";
const NODE: &str = "db670b91-61a5-4f7c-8014-3bbe994446ea";

/// What GOST sends: all of it once, and later without network and address.
fn tunnel(network: &str, address: &str) -> Value {
    json!({ "id": ID, "name": NAME, "node": NODE, "network": network, "address": address })
}

fn known() -> Value {
    tunnel("tcp", "10.42.0.100:80")
}

fn start<'a>(lab: &'a Lab, folder: &Path) -> Result<Start<'a>, Missing> {
    Ok(Start::new(&lab.hosts[0], folder.join("data"))?.set("gost.listen=127.0.0.1:8000").set("gost.ttl=2s"))
}

/// Until `Get` answers this.
fn shows(daemon: &Daemon, client: &mut dyn Client, expected: &[Value]) {
    let what = format!("Get to answer {expected:?}");
    daemon.eventually(&what, |_| (client.get(NAME) == Ok(expected.to_vec())).then_some(())).unwrap();
}

/// On one node, killed and started again after the registration.
fn whole_life<'a>(start: &Start<'a>, mut daemon: Daemon<'a>, client: &mut dyn Client) {
    assert_eq!(client.get(NAME), Ok(vec![]));
    assert_eq!(client.call("Register", &known()), Ok(true));
    assert_eq!(client.get(NAME), Ok(vec![known()]));

    // GOST never registers again: what it registered must be there.
    daemon.kill();
    daemon = start.run().unwrap();
    shows(&daemon, client, &[known()]);
    assert_eq!(client.call("Renew", &tunnel("", "")), Ok(true));
    assert_eq!(client.get(NAME), Ok(vec![known()]));

    // Its server went and never said so: the entry is hidden by its term, and the next renewal brings it back.
    shows(&daemon, client, &[]);
    assert_eq!(client.call("Renew", &tunnel("", "")), Ok(true));
    shows(&daemon, client, &[known()]);

    assert_eq!(client.call("Deregister", &tunnel("", "")), Ok(true));
    assert_eq!(client.get(NAME), Ok(vec![]));
    assert_eq!(client.call("Renew", &tunnel("", "")), Ok(false));
    let nameless = client.call("Register", &json!({ "id": ID }));
    assert!(nameless.as_ref().is_err_and(|refused| refused.contains("name")), "{nameless:?}");
}

#[test]
fn over_http() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let start = need!(start(&lab, folder.path()));
    let daemon = start.run().unwrap();
    whole_life(&start, daemon, &mut Http::new(&lab.hosts[0], ([127, 0, 0, 1], 8000).into()));
}

#[test]
fn over_grpc_by_a_generated_client() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let start = need!(start(&lab, folder.path()));
    let mut client = need!(Grpc::start(&lab.hosts[0], ([127, 0, 0, 1], 8000).into()));
    let daemon = start.run().unwrap();
    assert_eq!(
        client.ask(json!({ "call": "SetRule", "host": "a.example", "endpoint": NAME })),
        Ok(json!(true))
    );
    assert_eq!(client.ask(json!({ "call": "GetRule", "host": "a.example" })), Ok(json!(NAME)));
    whole_life(&start, daemon, &mut client);
}
