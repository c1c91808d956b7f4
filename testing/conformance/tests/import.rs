//! `portolan import consul` beside a real Consul: what it knows is taken over, and followed until the day of the switch.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::process::Command;

use peers::{Running, until};
use portolan_conformance::{Consul, Daemon, LIMIT, need};
use serde_json::{Value, json};

/// May do everything in that Consul.
const ROOT: &str = "6f1d2c1e-59a1-4f0d-8f57-0f6f2f1f3a10";
/// Its own service is up as soon as a leader has its lists.
const READY: (&str, &str) = ("/v1/health/service/consul", "serfHealth");
const RULES: &str = r#"service_prefix "web" { policy = "write" }"#;

#[test]
fn what_a_consul_knows_is_taken_over_and_followed() {
    let ours = need!(Daemon::start_with(&[
        ("PORTOLAN_ACL__ENABLED", "true"),
        ("PORTOLAN_ACL__DEFAULT_POLICY", "allow"),
    ]));
    let lists = format!(
        r#", "primary_datacenter": "dc1",
            "acl": {{"enabled": true, "default_policy": "allow", "tokens": {{"master": "{ROOT}"}}}}"#
    );
    let consul = need!(Consul::start(&lists, READY));
    let send = |method: &str, path: &str, body: &Value| consul.send(method, path, ROOT, body);
    // A leader has its lists a moment after it is one.
    let wish = json!({ "Name": "web", "Rules": RULES });
    until(LIMIT, "a policy", || send("PUT", "/v1/acl/policy", &wish).ok()).unwrap();
    let definition = json!({ "TCP": "10.8.0.1:5432", "Interval": "5s", "Timeout": "2s" });
    let external = json!({
        "Node": "ext", "Address": "10.8.0.1", "NodeMeta": { "rack": "r1" },
        "Service": { "ID": "db1", "Service": "db", "Port": 5432, "Tags": ["primary"], "Meta": { "v": "15" } },
        "Check": { "Name": "db up", "CheckID": "dbc", "Status": "passing", "ServiceID": "db1", "Definition": definition },
    });
    send("PUT", "/v1/catalog/register", &external).unwrap();
    send("PUT", "/v1/kv/app/colour?flags=7", &json!("blue")).unwrap();

    let token = operator(&ours);
    let import = |more: &[&str]| {
        let mut command = Command::new(peers::portolan().unwrap());
        command.args(["--api", &ours.address(), "import", "consul", &consul.url("")]).args(more);
        command.env("IMPORT_CONSUL_TOKEN", ROOT).env("PORTOLAN_TOKEN", &token);
        command
    };
    let output = import(&[]).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", ours.said());

    let entry = &ours.get("/v1/health/service/db?passing").unwrap()[0];
    assert_eq!(entry["Service"]["Tags"], json!(["primary"]), "{entry}");
    assert_eq!(entry["Service"]["Meta"], json!({ "v": "15" }));
    assert_eq!(
        (&entry["Node"]["Address"], &entry["Node"]["Meta"]["rack"]),
        (&json!("10.8.0.1"), &json!("r1"))
    );
    let check = &ours.get("/v1/health/checks/db").unwrap()[0];
    assert_eq!((&check["Definition"], &check["Type"]), (&definition, &json!("tcp")));
    let pair = &ours.get("/v1/kv/app/colour").unwrap()[0];
    assert_eq!(
        (&pair["Flags"], ours.text("/v1/kv/app/colour?raw").unwrap().as_str()),
        (&json!(7), "\"blue\"")
    );
    assert_eq!(policy(&ours, &token, "web"), Some(RULES.to_owned()), "{said}");

    follows(&mut import(&["--mirror", "--every", "200ms"]), &ours, &token, send);
}

/// What changes there changes here, what goes there goes here, and what is ours alone stays.
fn follows<E: std::fmt::Debug>(
    mirror: &mut Command,
    ours: &Daemon,
    token: &str,
    send: impl Fn(&str, &str, &Value) -> Result<String, E>,
) {
    ours.put("/v1/kv/own", "ours").unwrap();
    ours.register(&json!({ "Name": "own", "Port": 1 })).unwrap();
    let mut mirror = Running::start(mirror).unwrap();
    let mut is = |what, condition: &dyn Fn() -> bool| mirror.wait_until(LIMIT, what, condition).unwrap();
    send("PUT", "/v1/kv/app/colour", &json!("green")).unwrap();
    is("another colour", &|| ours.text("/v1/kv/app/colour?raw").is_ok_and(|text| text == "\"green\""));
    let failing = json!({ "Node": "ext", "SkipNodeUpdate": true,
        "Check": { "Name": "db up", "CheckID": "dbc", "Status": "critical", "ServiceID": "db1" } });
    send("PUT", "/v1/catalog/register", &failing).unwrap();
    is("the check's new verdict", &|| {
        ours.get("/v1/health/service/db?passing").is_ok_and(|all| all == json!([]))
    });
    send("PUT", "/v1/catalog/deregister", &json!({ "Node": "ext", "ServiceID": "db1" })).unwrap();
    send("DELETE", "/v1/kv/app/colour", &json!("")).unwrap();
    is("the instance to be gone", &|| ours.get("/v1/catalog/service/db").is_ok_and(|all| all == json!([])));
    is("the key to be gone", &|| ours.get("/v1/kv/app/colour").is_err());
    let stubs: Value = serde_json::from_str(&send("GET", "/v1/acl/policies", &json!("")).unwrap()).unwrap();
    let stub = stubs.as_array().unwrap().iter().find(|stub| stub["Name"] == "web").unwrap();
    send("DELETE", &format!("/v1/acl/policy/{}", stub["ID"].as_str().unwrap()), &json!("")).unwrap();
    is("the policy to be gone", &|| policy(ours, token, "web").is_none());
    assert_eq!(ours.text("/v1/kv/own?raw").unwrap(), "ours");
    assert_eq!(ours.get("/v1/catalog/service/own").unwrap().as_array().unwrap().len(), 1);
}

/// The secret of a token that may do everything here.
fn operator(ours: &Daemon) -> String {
    let made: Value = serde_json::from_str(&ours.put("/v1/acl/bootstrap", "").unwrap()).unwrap();
    made["SecretID"].as_str().unwrap().to_owned()
}

/// The rules of a policy, if there is one of that name.
fn policy(ours: &Daemon, token: &str, name: &str) -> Option<String> {
    let found = ours.get(&format!("/v1/acl/policy/name/{name}?token={token}")).ok()?;
    Some(found["Rules"].as_str()?.to_owned())
}
