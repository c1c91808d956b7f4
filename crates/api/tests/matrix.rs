//! Every endpoint of the table × every kind of token × every consistency mode. What is expected is computed from
//! what the row says that it needs, so that a new endpoint is covered by itself, and one whose rights only its
//! handler knows must say here how it is asked well.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use acl::{Resource, Right};
use catalog::acl::DefaultPolicy;
use catalog::{
    Action, CheckDef, CheckRegistration, Command, Event, InitialStatus, InstanceDef, InstanceRegistration,
    Intention, IntentionCommand, KvCommand, Lease, Mode, NodeDef, NodeRegistration, Place, Probe,
    QueryCommand, QueryDef, Register, SessionCommand, SessionDef, Source, Status, TopicCommand,
};
use common::{Reply, Server};
use portolan_api::{Config, Endpoint, Needs, endpoints};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Everything that exists is called so, and the path's parameter too.
const NAME: &str = "x";
/// Ids of the prepared queries of both names: these are found by UUIDs alone.
const QUERIES: [&str; 2] = ["3f2b6d5e-0000-4000-8000-000000000001", "3f2b6d5e-0000-4000-8000-000000000002"];
/// In the name and in the contents of everything that only management may see.
const CANARY: &str = "canary";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Unknown,
    Expired,
    /// May look at everything.
    Reader,
    /// May do everything to what is called `x`, and nothing else.
    OwnerOfX,
    Management,
    /// Shows no token, on the Unix socket, as the daemon's user.
    Local,
}

const EVERYBODY: [Who; 7] =
    [Who::Nobody, Who::Unknown, Who::Expired, Who::Reader, Who::OwnerOfX, Who::Management, Who::Local];

impl Who {
    fn secret(self) -> Option<&'static str> {
        Some(match self {
            Who::Nobody | Who::Local => return None,
            Who::Unknown => "unknown",
            Who::Expired => "expired",
            Who::Reader => "reader",
            Who::OwnerOfX => "owner",
            Who::Management => "management",
        })
    }

    fn may(self, resource: Resource, right: Right, name: &str) -> bool {
        match self {
            Who::Nobody | Who::Unknown | Who::Expired => false,
            Who::Reader => right == Right::Read,
            Who::OwnerOfX => resource.is_named() && name == NAME,
            Who::Management | Who::Local => true,
        }
    }
}

/// Rules with one level for every name that begins with `name`, or is it.
fn rules(suffix: &str, name: &str, level: &str) -> String {
    let named = Resource::ALL.into_iter().filter(|r| r.is_named() && *r != Resource::Intention);
    let rule = |resource| {
        // Rules about intentions are written into those about services.
        let more =
            if resource == Resource::Service { format!("\nintentions = \"{level}\"") } else { String::new() };
        format!("{resource}{suffix} \"{name}\" {{\npolicy = \"{level}\"{more}\n}}\n")
    };
    named.map(rule).collect()
}

struct World {
    server: Server,
    socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let config = Config { socket: Some(socket.clone()), ..Config::default() };
    let server = Server::start_guarded(config, Mode::Enforce, DefaultPolicy::Deny).await;
    let whole = ["acl", "keyring", "mesh", "operator", "peering"].map(|word| format!("{word} = \"read\"\n"));
    server.token("reader", &format!("{}{}", rules("_prefix", "", "read"), whole.concat()), None).await;
    server.token("owner", &rules("", NAME, "write"), None).await;
    server.token(CANARY, &format!("key \"{CANARY}\" {{ policy = \"read\" }}"), None).await;
    server.management_token("management").await;
    // Last: what expired goes with the next change of these lists.
    server.token("expired", &rules("_prefix", "", "write"), Some(1)).await;
    World { server, socket, _folder: folder }
}

fn check(id: &str, service_id: &str, probe: Probe) -> CheckRegistration {
    let def = CheckDef {
        id: id.into(),
        name: id.into(),
        notes: "".into(),
        service_id: service_id.into(),
        probe,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    let status = InitialStatus::Set(Status::Passing);
    CheckRegistration { def, status, output: id.into() }
}

fn registration(node: &str, address: Option<&str>, name: &str) -> Command {
    let def = InstanceDef {
        tags: vec![name.into()],
        meta: [("of", name)].into(),
        lease: Some(Lease { ttl_ms: 600_000 }),
        ..InstanceDef::new(name.into(), name.into(), 80)
    };
    let itself = |address: &str| NodeRegistration {
        def: NodeDef::new(node.into(), address.into()),
        only_if_absent: true,
    };
    let checks = vec![check(name, name, Probe::Ttl { ttl_ms: 600_000 })];
    let instance = Some(InstanceRegistration { def, replace_checks: false });
    Command::Register(Box::new(Register { node: address.map(itself), on: node.into(), instance, checks }))
}

/// An intention between two services of that name, known by `id`.
fn intended(name: &str, id: &str) -> Intention {
    let mut rule = Intention::new(Action::Allow, Source::Identity(name.into()), name);
    rule.meta = [("consul-intention-id", id)].into();
    rule
}

/// A prepared query for the service of its name.
fn prepared(name: &str) -> QueryDef {
    QueryDef {
        id: "".into(),
        name: name.into(),
        template: None,
        session: "".into(),
        token: CANARY.into(),
        service: name.into(),
        nearest: 0,
        datacenters: vec![],
        only_passing: false,
        ignored_checks: vec![],
        near: "".into(),
        tags: vec![],
        node_meta: Default::default(),
        service_meta: Default::default(),
        connect: false,
        ttl: "".into(),
    }
}

impl World {
    /// Everything that endpoints name is there: called `x`, and called `canary`.
    async fn furnish(&self) {
        self.furnish_for("").await;
    }

    /// The same, but for what `pattern` makes.
    async fn furnish_for(&self, pattern: &str) {
        let server = &self.server;
        let known = server.store.now();
        let delete = |id: &Arc<str>| Command::Query(QueryCommand::Delete { id: id.clone() });
        let mut wishes: Vec<_> = known.queries().map(|query| delete(&query.def.id)).collect();
        for (name, id) in [(NAME, QUERIES[0]), (CANARY, QUERIES[1])] {
            if pattern != "/v1/query" {
                let def = Box::new(QueryDef { id: id.into(), ..prepared(name) });
                wishes.push(Command::Query(QueryCommand::Set { def, replace: false }));
            }
            let intention = Box::new(intended(name, id));
            wishes.push(Command::Intention(match pattern {
                "/v1/connect/intentions" => IntentionCommand::Remove { id: intention.id, cas: None },
                _ => IntentionCommand::Put { intention, place: Place::Keep, cas: None },
            }));
            wishes.push(registration(name, Some("10.0.0.9"), name));
            wishes.push(registration("n1", None, name));
            let (key, value) = (name.into(), format!("value of {name}").into_bytes().into());
            wishes.push(Command::Kv(KvCommand::Set { key, value, flags: 0, cas: None }));
            let def = SessionDef {
                id: name.into(),
                name: name.into(),
                node: name.into(),
                node_checks: vec![],
                service_checks: vec![],
                behavior: catalog::Behavior::Release,
                ttl_ms: Some(600_000),
                lock_delay_ms: 0,
            };
            wishes.push(Command::Session(SessionCommand::Create(Box::new(def))));
            let messages = vec![format!("message of {name}").into_bytes().into()];
            let producer = Some(catalog::Producer { id: "p".into(), sequence: 1 });
            let topic = name.into();
            wishes.push(Command::Topic(TopicCommand::Publish { topic, messages, producer }));
            let event = Event {
                id: name.into(),
                name: name.into(),
                payload: Default::default(),
                node_filter: "".into(),
                service_filter: "".into(),
                tag_filter: "".into(),
                number: 0,
                index: 0,
            };
            wishes.push(Command::Topic(TopicCommand::Fire(Box::new(event))));
        }
        server.submit(Command::Batch(wishes)).await;
    }

    async fn ask(&self, who: Who, method: &str, target: &str, body: &Value) -> Reply {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        if who == Who::Local {
            return self.locally(method, target, &text).await;
        }
        let fields: Vec<_> = who.secret().into_iter().map(|secret| ("X-Consul-Token", secret)).collect();
        self.server.send(method, target, &fields, text.as_bytes()).await
    }

    async fn locally(&self, method: &str, target: &str, body: &str) -> Reply {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Reply::parse(&answer)
    }
}

/// How those endpoints are asked well whose rights only the body or the state tells: the target's end, and the
/// body.
fn well_asked() -> BTreeMap<&'static str, (&'static str, Value)> {
    let service = json!({ "Name": NAME, "ID": NAME, "Port": 80 });
    let catalog = json!({ "Node": NAME, "Address": "10.0.0.9", "Service": { "Service": NAME, "Port": 80 } });
    let query = json!({ "Name": NAME, "Service": { "Service": NAME } });
    let report = json!({ "Status": "passing" });
    let intention = json!({ "SourceName": NAME, "DestinationName": NAME, "Action": "allow" });
    let source = json!({ "Name": NAME, "Action": "deny" });
    let entry = json!({ "Kind": "service-intentions", "Name": NAME, "Sources": [source] });
    BTreeMap::from([
        ("/v1/agent/service/*id", ("", Value::Null)),
        ("/v1/agent/health/service/id/*id", ("", Value::Null)),
        ("/v1/agent/service/register", ("", service)),
        ("/v1/agent/service/deregister/*id", ("", Value::Null)),
        ("/v1/agent/service/renew/*id", ("", Value::Null)),
        ("/v1/agent/service/maintenance/*id", ("?enable=true", Value::Null)),
        ("/v1/agent/check/register", ("", json!({ "Name": NAME, "ServiceID": NAME, "TTL": "600s" }))),
        ("/v1/agent/check/deregister/*id", ("", Value::Null)),
        ("/v1/agent/check/pass/*id", ("", Value::Null)),
        ("/v1/agent/check/warn/*id", ("", Value::Null)),
        ("/v1/agent/check/fail/*id", ("", Value::Null)),
        ("/v1/agent/check/update/*id", ("", report)),
        ("/v1/catalog/register", ("", catalog)),
        ("/v1/catalog/deregister", ("", json!({ "Node": NAME, "ServiceID": NAME }))),
        ("/v1/session/create", ("", json!({ "Node": NAME, "NodeChecks": [] }))),
        ("/v1/session/destroy/*id", ("", Value::Null)),
        ("/v1/session/renew/*id", ("", Value::Null)),
        ("/v1/query", ("", query.clone())),
        ("/v1/query/*id", ("", query)),
        ("/v1/connect/intentions", ("", intention.clone())),
        ("/v1/connect/intentions/*id", ("", intention.clone())),
        ("/v1/connect/intentions/exact", ("?source=x&destination=x", intention)),
        ("/v1/connect/intentions/match", ("?by=destination&name=x", Value::Null)),
        ("/v1/connect/intentions/check", ("?source=x&destination=x", Value::Null)),
        ("/v1/config", ("", entry)),
        (
            "/v1/agent/connect/authorize",
            ("", json!({ "Target": NAME, "ClientCertURI": "spiffe://n1/service/x" })),
        ),
        ("/v1/txn", ("", json!([{ "KV": { "Verb": "set", "Key": NAME, "Value": "eA==" } }]))),
    ])
}

/// What a row and a caller come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Let through: whatever the answer is, it is no refusal.
    Passes,
    /// 403, whose text begins so.
    Refused(&'static str),
    /// It is not done, and that is all: the body is judged with the rest of it.
    NotDone,
    /// It is done.
    Done,
}

fn expected(needs: Needs, who: Who) -> Verdict {
    const DENIED: Verdict = Verdict::Refused("Permission denied: ");
    const NOT_FOUND: Verdict = Verdict::Refused("ACL not found");
    let judged = |may: bool| if may { Verdict::Passes } else { DENIED };
    if needs != Needs::Nothing && matches!(who, Who::Unknown | Who::Expired) {
        return NOT_FOUND;
    }
    match needs {
        Needs::Nothing | Needs::Filtered => Verdict::Passes,
        Needs::Token if matches!(who, Who::Nobody | Who::Local) => NOT_FOUND,
        Needs::Token => Verdict::Passes,
        Needs::Whole(resource, right) => judged(who.may(resource, right, "")),
        Needs::Named(resource, right) => judged(who.may(resource, right, NAME)),
        Needs::Here(resource, right) => judged(who.may(resource, right, "n1")),
        Needs::Every(resource, right) => judged(who.may(resource, right, "")),
        Needs::ReadKeys => judged(who.may(Resource::Key, Right::Read, NAME)),
        Needs::WriteKeys => judged(who.may(Resource::Key, Right::Write, NAME)),
        Needs::Each(resource, right) if who.may(resource, right, NAME) => Verdict::Done,
        Needs::Each(..) => Verdict::NotDone,
    }
}

fn target(endpoint: &Endpoint, end: &str) -> String {
    let named = match endpoint.pattern {
        "/v1/query/*id" | "/v1/connect/intentions/*id" => QUERIES[0],
        _ => NAME,
    };
    let (path, parameter) =
        endpoint.pattern.split_once('*').map_or((endpoint.pattern, ""), |(p, _)| (p, named));
    format!("{path}{parameter}{end}")
}

#[tokio::test]
async fn every_endpoint_gives_every_caller_what_the_table_says() {
    let world = world().await;
    let bodies = well_asked();
    let mut walked = 0;
    for endpoint in endpoints() {
        let is_each = matches!(endpoint.needs, Needs::Each(..));
        let (end, body) = match bodies.get(endpoint.pattern) {
            Some((end, body)) => (*end, body.clone()),
            None if is_each => panic!("say in this file how {endpoint:?} is asked well"),
            None => ("", json!({})),
        };
        let modes: &[&str] = if endpoint.method == "GET" { &["", "consistent", "stale"] } else { &[""] };
        for (who, mode) in EVERYBODY.into_iter().flat_map(|who| modes.iter().map(move |mode| (who, mode))) {
            world.furnish_for(endpoint.pattern).await;
            let joined = if end.contains('?') { format!("{end}&{mode}") } else { format!("{end}?{mode}") };
            let reply = world.ask(who, endpoint.method, &target(&endpoint, &joined), &body).await;
            let what = || format!("{endpoint:?} {who:?} {mode:?}: {} {}", reply.status, reply.body);
            assert!(!reply.body.contains("without being judged"), "{}", what());
            match expected(endpoint.needs, who) {
                Verdict::Passes => assert_ne!(
                    (reply.status, reply.body.starts_with("Permission denied: anonymous")),
                    (403, true),
                    "{}",
                    what()
                ),
                Verdict::Refused(why) => {
                    assert!(reply.status == 403 && reply.body.starts_with(why), "{}", what());
                }
                Verdict::NotDone => assert!(matches!(reply.status, 403 | 409), "{}", what()),
                Verdict::Done => assert!(reply.status < 300, "{}", what()),
            }
            walked += 1;
        }
    }
    println!("{walked} requests to {} endpoints", endpoints().len());
    world.server.stop().await;
}

#[tokio::test]
async fn nothing_is_shown_to_whoever_may_not_see_it() {
    let world = world().await;
    world.furnish().await;
    let mut shown_to_management = 0;
    for endpoint in endpoints().filter(|endpoint| endpoint.method == "GET") {
        let parameters: &[&str] = match endpoint.pattern.contains('*') {
            true => &["", NAME, CANARY, "any", "passing", "n1", QUERIES[0], QUERIES[1]],
            false => &[""],
        };
        let ends: &[&str] = match endpoint.needs {
            Needs::ReadKeys => &["", "?recurse", "?keys", "?recurse&stale", "?keys&consistent", "?raw"],
            _ => &["", "?stale&index=1&wait=1ms"],
        };
        let path = endpoint.pattern.split('*').next().unwrap();
        for (parameter, end) in parameters.iter().flat_map(|p| ends.iter().map(move |end| (p, end))) {
            let target = format!("{path}{parameter}{end}");
            for who in [Who::Nobody, Who::Unknown, Who::Expired, Who::OwnerOfX] {
                let reply = world.ask(who, "GET", &target, &Value::Null).await;
                // What was asked for may be repeated in a refusal.
                let shown = reply.body.replace(&format!("{CANARY:?}"), "");
                let is_told = shown.contains(CANARY) && reply.status == 200;
                assert!(!is_told, "{target} {who:?}: {} {}", reply.status, reply.body);
            }
        }
        let reply = world.ask(Who::Management, "GET", path, &Value::Null).await;
        shown_to_management += usize::from(reply.body.contains(CANARY));
    }
    assert!(
        shown_to_management >= 8,
        "only {shown_to_management} endpoints would have had something to tell"
    );
    world.server.stop().await;
}

#[tokio::test]
async fn what_changes_something_is_never_let_through_as_a_read() {
    for endpoint in endpoints() {
        let reads = match endpoint.needs {
            // A key for a service is read, and lets whoever reads it pass for the service.
            _ if endpoint.pattern == "/v1/agent/connect/ca/leaf/*service" => true,
            Needs::Whole(_, right) if endpoint.pattern != "/v1/snapshot" => right != Right::Write,
            Needs::Whole(..) => endpoint.method == "GET",
            Needs::Named(_, right)
            | Needs::Here(_, right)
            | Needs::Every(_, right)
            | Needs::Each(_, right) => right != Right::Write,
            Needs::Nothing => endpoint.pattern != "/v1/acl/bootstrap",
            Needs::Filtered | Needs::Token | Needs::ReadKeys => true,
            Needs::WriteKeys => false,
        };
        assert_eq!(reads, endpoint.method == "GET", "{endpoint:?}");
    }
}

#[tokio::test]
async fn guests_are_judged_at_the_same_door() {
    let world = world().await;
    let ask = async |who, method| world.ask(who, method, "/sd/guest", &Value::Null).await.status;
    for (who, reads, writes) in [
        (Who::Nobody, 403, 403),
        (Who::Unknown, 403, 403),
        (Who::Expired, 403, 403),
        (Who::Reader, 200, 403),
        (Who::OwnerOfX, 403, 403),
        (Who::Management, 200, 200),
        (Who::Local, 200, 200),
    ] {
        assert_eq!((ask(who, "GET").await, ask(who, "PUT").await), (reads, writes), "{who:?}");
    }
    world.server.stop().await;
}

#[tokio::test]
async fn one_path_is_judged_and_answered_however_it_is_written() {
    let world = world().await;
    world.furnish().await;
    for path in [
        "/v1/kv/%63anary",
        "/v1/kv/x/../canary",
        "/v1/kv//canary",
        "/v1/kv/canary?recurse&keys",
        "//v1/kv/canary",
    ] {
        let reply = world.ask(Who::OwnerOfX, "GET", path, &Value::Null).await;
        assert!(
            reply.status != 200 || !reply.body.contains("value of"),
            "{path}: {} {}",
            reply.status,
            reply.body
        );
    }
    let reply = world.ask(Who::OwnerOfX, "GET", "/v1/kv/%78?raw", &Value::Null).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "value of x"), "the same key, spelled otherwise");
    world.server.stop().await;
}
