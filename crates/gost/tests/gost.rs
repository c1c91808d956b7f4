//! The plugin as GOST and as its page's reader use it, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::net::SocketAddr;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catalog::{Command, NodeDef, NodeRegistration, Register};
use lease::Leases;
use portolan_gost::{Config, Discovery, Handler, run};
use prometheus_client::registry::Registry;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ID: &str = "c23d4f42-c892-42b3-8b74-88ab6455d33a";
const NAME: &str = "c9ef8f8c-d687-4dca-be7a-1467b6565404";
const NODE: &str = "db670b91-61a5-4f7c-8014-3bbe994446ea";

/// A node with the plugin's own port, and a stand-in for the health face that sweeps.
struct Host {
    address: SocketAddr,
    store: Store,
    trigger: state::DrainTrigger,
}

impl Host {
    async fn start(config: Config) -> Host {
        let (log, events) = log::memory::open(log::memory::Config::default());
        let store = store::open(store::Config::new("n"), log, events).await.unwrap();
        let def = NodeDef::new("n".into(), "127.0.0.1".into());
        let node = Some(NodeRegistration { def, only_if_absent: true });
        let register = Register { node, on: "n".into(), ..Default::default() };
        store.submit(Command::Register(Box::new(register))).await.unwrap();
        let leases = Arc::new(Leases::new("n", lease::Config::default(), Instant::now()));
        let (trigger, drain) = state::drain();
        tokio::spawn(sweep(store.clone(), leases.clone(), drain.clone()));
        let discovery = Discovery::new(store.clone(), leases, Arc::new(lease::NobodyElse), config.clone());
        let handler = Handler::new(&config, discovery, &mut Registry::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(run(listener, handler, drain));
        Host { address, store, trigger }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}{rest}", self.address)
    }

    async fn get(&self) -> String {
        let (status, body) = self.http("GET", &format!("/sd?name={NAME}"), "").await;
        assert_eq!(status, 200);
        body
    }

    /// One request as GOST sends it, byte for byte, on a connection of its own.
    async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.http_with(method, path, body, "").await
    }

    async fn http_with(&self, method: &str, path: &str, body: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = match body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n{length}{headers}\
             Content-Type: application/json\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n{body}",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn stop(self) {
        assert!(self.trigger.finish(Duration::from_secs(10)).await, "it did not drain");
    }
}

async fn sweep(store: Store, leases: Arc<Leases>, drain: state::Drain) {
    while !drain.is_started() {
        for expired in leases.sweep(&store.now(), Instant::now()) {
            let _ = store.submit(expired.command()).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come about within 10 s");
}

fn entry(network: &str, address: &str) -> String {
    format!(r#"{{"id":"{ID}","name":"{NAME}","node":"{NODE}","network":"{network}","address":"{address}"}}"#)
}

#[tokio::test]
async fn the_life_of_a_tunnel() {
    let host = Host::start(Config::default()).await;
    assert_eq!(host.get().await, r#"{"services":[]}"#);
    assert_eq!(host.http("POST", "/sd", &entry("tcp", "10.42.0.100:80")).await.0, 200);
    let registered = format!(r#"{{"services":[{}]}}"#, entry("tcp", "10.42.0.100:80"));
    let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(same(&host.get().await), same(&registered));
    // GOST renews and deregisters with empty network and address: nothing is overwritten.
    let (status, body) = host.http("PUT", "/sd", &entry("", "")).await;
    assert_eq!((status, &*body), (200, r#"{"ok":true}"#));
    assert_eq!(same(&host.get().await), same(&registered));
    assert_eq!(host.http("DELETE", "/sd", &entry("", "")).await.0, 200);
    assert_eq!(host.get().await, r#"{"services":[]}"#);
    let (status, body) = host.http("PUT", "/sd", &entry("", "")).await;
    assert_eq!((status, &*body), (200, r#"{"ok":false}"#), "an unknown entry is renewed in vain");
    host.stop().await;
}

#[tokio::test]
async fn an_entry_that_ran_out_is_hidden_and_a_renewal_brings_it_back() {
    let ttl = Duration::from_millis(300);
    let host = Host::start(Config { ttl, ..Config::default() }).await;
    assert_eq!(host.http("POST", "/sd", &entry("tcp", ":80")).await.0, 200);
    until(async || host.get().await == r#"{"services":[]}"#).await;
    assert_eq!(host.http("PUT", "/sd", &entry("", "")).await.0, 200);
    until(async || host.get().await.contains("127.0.0.1:80")).await;
    host.stop().await;
}

#[tokio::test]
async fn wrong_requests_get_a_status_and_a_sentence_and_store_nothing() {
    let host = Host::start(Config::default()).await;
    let without = |field: &str| {
        let mut json: serde_json::Value = serde_json::from_str(&entry("tcp", "h:80")).unwrap();
        json[field] = "".into();
        json.to_string()
    };
    let large = entry("tcp", &"x".repeat(70 * 1024));
    let cases = [
        ("POST", without("id"), 400, "id is missing"),
        ("POST", without("name"), 400, "name is missing"),
        ("PUT", without("node"), 400, "node is missing"),
        ("POST", entry("tcp", "nowhere"), 400, "has no port"),
        ("POST", entry("icmp", "h:80"), 400, "neither tcp nor udp"),
        ("POST", "{\"id\": \\}".into(), 400, "line 1 column"),
        ("POST", large, 413, "over 65536 bytes"),
        ("PATCH", entry("tcp", "h:80"), 405, "GET, POST, PUT, DELETE"),
    ];
    for (method, body, status, sentence) in cases {
        let answer = host.http(method, "/sd", &body).await;
        assert_eq!(answer.0, status, "{method} {body:.80}: {}", answer.1);
        assert!(answer.1.contains(sentence), "{}", answer.1);
        assert_eq!(answer.1.lines().count(), 1);
    }
    assert_eq!(host.http("GET", "/other", "").await.0, 404);
    assert_eq!(host.store.now().service_count(), 0);
    host.stop().await;
}

#[tokio::test]
async fn a_token_is_asked_for_in_every_form_that_gost_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let host = Host::start(Config { token_file: Some(file), ..Config::default() }).await;
    let body = entry("tcp", "h:80");
    assert_eq!(host.http("POST", "/sd", &body).await.0, 401);
    assert_eq!(host.http("POST", "/sd/wrong", &body).await.0, 401);
    assert_eq!(host.http_with("POST", "/sd", &body, "Authorization: Bearer wrong\r\n").await.0, 401);
    assert_eq!(host.store.now().service_count(), 0);
    assert_eq!(host.http_with("POST", "/sd", &body, "Authorization: Bearer s3cret\r\n").await.0, 200);
    assert_eq!(host.http("POST", "/sd/s3cret", &body).await.0, 200);
    host.stop().await;
}

#[test]
fn a_door_beyond_loopback_without_a_token_is_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let listen = Some("0.0.0.0:8000".parse().unwrap());
    let config = Config { listen, ..Config::default() };
    let refused = runtime.block_on(async {
        let (log, events) = log::memory::open(log::memory::Config::default());
        let store = store::open(store::Config::new("n"), log, events).await.unwrap();
        let leases = Arc::new(Leases::new("n", lease::Config::default(), Instant::now()));
        let discovery = Discovery::new(store, leases, Arc::new(lease::NobodyElse), config.clone());
        Handler::new(&config, discovery, &mut Registry::default()).err().unwrap().to_string()
    });
    assert!(refused.contains("gost.token_file"), "{refused}");
}

#[tokio::test]
async fn ingress_rules_are_found_with_and_without_the_port() {
    let host = Host::start(Config::default()).await;
    let rule = format!(r#"{{"host":"Example.local:443","endpoint":"{NAME}"}}"#);
    assert_eq!(host.http("PUT", "/ingress", &rule).await, (200, r#"{"ok":true}"#.into()));
    for query in ["example.local", "example.local%3A8430", "EXAMPLE.local:80"] {
        let (status, body) = host.http("GET", &format!("/ingress?host={query}"), "").await;
        assert_eq!((status, body), (200, format!(r#"{{"endpoint":"{NAME}"}}"#)));
    }
    let (_, body) = host.http("GET", "/ingress?host=other.local", "").await;
    assert_eq!(body, r#"{"endpoint":""}"#);
    host.stop().await;
}

/// The seed's page, with the one correction that its Register example needs.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_curl_commands() {
    if Process::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let host = Host::start(Config::default()).await;
    let curl = |arguments: &[&str]| {
        let output =
            Process::new("curl").args(["-sS", "-w", "\n%{http_code}"]).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    };
    let (sd, by_name) = (host.url("/sd"), host.url(&format!("/sd?name={NAME}")));
    let literal = format!(
        "{{\"id\":\"{ID}\", \n\"name\":\"{NAME}\", \n\"node\":\"{NODE}\", \n\"network\":\"tcp\", \\\n\
         \"address\":\"10.42.0.100:80\"}}"
    );
    let (status, body) = curl(&["-XPOST", &sd, "-d", &literal]);
    assert_eq!(status, "400", "the page's stray backslash is invalid JSON");
    assert!(body.contains("line 4 column"), "{body}");
    let corrected = literal.replace('\\', "");
    assert_eq!(curl(&["-XPOST", &sd, "-d", &corrected]).0, "200");
    let short = format!("{{\"id\":\"{ID}\", \n\"name\":\"{NAME}\", \n\"node\":\"{NODE}\"}}");
    assert_eq!(curl(&["-XPUT", &sd, "-d", &short]).0, "200");
    let (status, body) = curl(&["-XGET", &by_name]);
    assert_eq!(status, "200");
    assert!(body.contains("10.42.0.100:80") && body.contains(NODE), "{body}");
    assert_eq!(curl(&["-XDELETE", &sd, "-d", &short]).0, "200");
    assert_eq!(curl(&["-XGET", &by_name]).1, r#"{"services":[]}"#);
    host.stop().await;
}

/// One unary call as any gRPC client makes it; the status and the message.
async fn call(client: &mut h2::client::SendRequest<Bytes>, method: &str, message: &[u8]) -> (String, Bytes) {
    let request = http::Request::post(format!("http://portolan/proto.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut stream) = client.send_request(request, false).unwrap();
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    stream.send_data(framed.into(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let status = |headers: &http::HeaderMap| headers["grpc-status"].to_str().unwrap().to_owned();
    if head.headers.contains_key("grpc-status") {
        return (status(&head.headers), Bytes::new());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        bytes.extend(chunk);
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    (status(&trailers), Bytes::from(bytes).slice(5..))
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, value.len() as u8][..], value].concat()
}

fn service(network: &str, address: &str) -> Vec<u8> {
    let fields = [ID, NAME, NODE, network, address];
    let service: Vec<u8> =
        (1..).zip(fields).flat_map(|(number, text)| field(number, text.as_bytes())).collect();
    [&[0x0a, service.len() as u8, 1][..2], &service].concat()
}

#[tokio::test]
async fn the_same_life_over_grpc_on_the_same_port() {
    let host = Host::start(Config::default()).await;
    let stream = TcpStream::connect(host.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let name = field(1, NAME.as_bytes());
    assert_eq!(call(&mut client, "SD/Get", &name).await, ("0".into(), Bytes::new()));
    let short_service = |network, address| {
        let mut message = service(network, address);
        // The nested length needs two bytes once the ids are in.
        let length = message.len() - 2;
        message.splice(1..2, [length as u8 | 0x80, (length >> 7) as u8]);
        message
    };
    let registered = short_service("tcp", "10.42.0.100:80");
    assert_eq!(call(&mut client, "SD/Register", &registered).await.0, "0");
    let (status, message) = call(&mut client, "SD/Renew", &short_service("", "")).await;
    assert_eq!((&*status, &message[..]), ("0", &[8, 1][..]));
    let (status, message) = call(&mut client, "SD/Get", &name).await;
    assert_eq!((&*status, &message[..]), ("0", &registered[..]));
    assert!(host.get().await.contains("10.42.0.100:80"), "both spellings show one registry");
    assert_eq!(call(&mut client, "SD/Deregister", &short_service("", "")).await.0, "0");
    assert_eq!(call(&mut client, "SD/Get", &name).await, ("0".into(), Bytes::new()));
    assert_eq!(call(&mut client, "SD/Nonsense", &name).await.0, "12");
    assert_eq!(call(&mut client, "SD/Register", &name).await.0, "3");
    host.stop().await;
}

#[tokio::test]
async fn the_callers_own_host_comes_last() {
    let host = Host::start(Config::default()).await;
    for number in 0..5 {
        let other = entry("tcp", &format!("10.0.0.{number}:80")).replace(ID, &format!("id-{number}"));
        assert_eq!(host.http("POST", "/sd", &other).await.0, 200);
    }
    let own = entry("tcp", "127.0.0.1:80").replace(ID, "own");
    assert_eq!(host.http("POST", "/sd", &own).await.0, 200);
    for _ in 0..10 {
        let list: serde_json::Value = serde_json::from_str(&host.get().await).unwrap();
        let services = list["services"].as_array().unwrap();
        assert_eq!(services.len(), 6);
        assert_eq!(services[5]["address"], "127.0.0.1:80", "the caller's own host comes last");
    }
    host.stop().await;
}
