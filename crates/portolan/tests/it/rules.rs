//! Rules and redirections, through the command line and the proxies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, eventually, http};

/// Answers every connection with its name, once it has heard a line.
fn naming_service(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut heard = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut heard) {
                    if heard[..count].windows(8).any(|part| part == b"/endless") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun");
                        continue;
                    }
                    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
                    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{name}", name.len());
                }
            });
        }
    });
    port
}

/// What a connection through the TCP proxy brings back; empty when it was closed.
fn named(proxy: SocketAddr, service: &str) -> String {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may be closed before this is written.
    let _ = stream.write_all(format!("{service}\nGET / HTTP/1.1\r\n\r\n").as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut heard = String::new();
    let _ = stream.read_to_string(&mut heard);
    heard
}

/// A daemon that its own user may change without a token, also once rules are enforced.
struct Host {
    daemon: Daemon,
    socket: String,
}

impl Host {
    fn start(folder: &Path, arguments: &[&str]) -> Host {
        let daemon = Daemon::serve(folder, arguments);
        let socket = folder.join("api.sock").to_str().unwrap().to_owned();
        let host = Host { daemon, socket };
        for name in ["one", "two"] {
            let port = naming_service(name).to_string();
            host.say(&["register", name, "--port", &port]);
            eventually("the service to be routed", || host.http(name).filter(|(status, _)| *status != 404));
        }
        host
    }

    fn say(&self, arguments: &[&str]) -> String {
        self.daemon.say(&[arguments, &["--api", &self.socket]].concat())
    }

    fn rules(&self) -> Value {
        serde_json::from_str(&self.say(&["rules", "--output", "json"])).unwrap()
    }

    fn http(&self, name: &str) -> Option<(u16, String)> {
        http(self.daemon.addresses["HTTP proxy"], name, "/").ok()
    }

    fn named(&self, name: &str) -> String {
        named(self.daemon.addresses["TCP proxy"], name)
    }
}

#[test]
fn rules_hold_for_every_way_in_from_the_moment_that_the_command_returns() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &["--node", "here"]);
    host.say(&["deny", "any", "one"]);
    assert!(host.named("one").ends_with("one"), "an open node asks no rules");
    host.say(&["rules", "mode", "observe"]);
    assert!(host.named("one").ends_with("one"), "it is only observed");
    host.daemon.logged("would be denied if the rules were enforced");

    host.say(&["rules", "mode", "enforce"]);
    assert_eq!(host.named("one"), "", "denied by a rule");
    assert_eq!(host.named("two"), "", "denied for want of one");
    let (status, body) = host.http("one").unwrap();
    assert_eq!((status, body.trim()), (403, "403: you may not reach service \"one\""));
    host.say(&["allow", "node:here", "one", "--first", "--scheme", "http"]);
    assert_eq!(host.http("one").unwrap(), (200, "one".into()));
    assert_eq!(host.named("one"), "", "that rule is about HTTP alone");
    host.say(&["allow", "127.0.0.0/8", "two"]);
    assert!(host.named("two").ends_with("two"));

    let rules = host.rules();
    let shown: Vec<_> = rules["Rules"].as_array().unwrap().iter().collect();
    assert_eq!(shown[0]["ID"], "node:here,one/http");
    assert_eq!((&shown[0]["Hits"], &shown[2]["Hits"]), (&1.into(), &1.into()), "{rules}");
    host.say(&["rules", "remove", "node:here,one/http", "127.0.0.0/8,two"]);
    assert_eq!((host.http("one").unwrap().0, host.http("two").unwrap().0), (403, 403));
    let missing = host.daemon.cli(&["rules", "remove", "nobody", "--api", &host.socket]);
    assert_eq!(missing.status.code(), Some(3));
}

/// Reads until the other side ends it; how long that took since `begun`.
fn cut_after(mut stream: TcpStream, begun: Instant) -> Duration {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let ended = stream.read_to_end(&mut rest).map_err(|cause| cause.kind());
    assert!(!matches!(ended, Err(std::io::ErrorKind::WouldBlock)), "still open after 30 s");
    begun.elapsed()
}

#[test]
fn the_kernel_says_whose_a_connection_is() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &[]);
    let own = format!("uid:{}", rustix::process::geteuid().as_raw());
    host.say(&["allow", &own, "one"]);
    host.say(&["allow", "uid:4294967294", "two"]);
    host.say(&["rules", "mode", "enforce"]);
    assert_eq!(host.http("one").unwrap(), (200, "one".into()));
    assert!(host.named("one").ends_with("one"));
    assert_eq!((host.http("two").unwrap().0, &*host.named("two")), (403, ""));
}

#[test]
fn a_live_connection_ends_with_the_rule_that_allowed_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &[]);
    host.say(&["allow", "any", "one"]);
    host.say(&["allow", "any", "two"]);
    host.say(&["rules", "mode", "enforce"]);
    let open = |proxy: &str, first: &str| {
        let mut stream = TcpStream::connect(host.daemon.addresses[proxy]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        let mut heard = [0; 512];
        assert!(stream.read(&mut heard).unwrap() > 0, "it is answered, and goes on");
        stream
    };
    let raw = open("TCP proxy", "one\nhello");
    let kept = open("TCP proxy", "two\nhello");
    // Their answers do not end. The proxy goes another way for what has fields of a body.
    let plain = open("HTTP proxy", "GET /endless HTTP/1.1\r\nHost: one\r\n\r\n");
    let request = "POST /endless HTTP/1.1\r\nHost: one\r\nContent-Length: 0\r\n\r\n";
    let streaming = open("HTTP proxy", request);
    let begun = Instant::now();
    host.say(&["deny", "any", "one"]);
    let (said, raw) = (begun.elapsed(), cut_after(raw, begun));
    let (plain, streaming) = (cut_after(plain, begun), cut_after(streaming, begun));
    println!("the command took {said:?}; ends were read {raw:?}, {plain:?} and {streaming:?} after it began");
    let mut kept = kept;
    kept.write_all(b"hello").unwrap();
    assert!(kept.read(&mut [0; 512]).unwrap() > 0, "the other one goes on");
}

#[test]
fn names_lead_elsewhere_on_every_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &[]);
    host.say(&["redirect", "old", "one"]);
    assert!(host.named("old").ends_with("one"));
    assert_eq!(host.http("old").unwrap(), (200, "one".into()), "also a name that nobody registered");
    host.say(&["redirect", "one", "one=1", "two=1"]);
    let dealt: Vec<String> = (0..4).map(|_| host.http("old").unwrap().1).collect();
    assert_eq!(dealt.iter().filter(|name| *name == "two").count(), 2, "{dealt:?}");
    let circle = host.daemon.cli(&["redirect", "two", "old", "--api", &host.socket]);
    let said = String::from_utf8_lossy(&circle.stderr).into_owned();
    assert!(!circle.status.success() && said.contains("two → old → one → two"), "{said}");
    host.say(&["redirect", "old", "--remove"]);
    eventually("the name to lead nowhere", || host.http("old").filter(|(status, _)| *status == 404));
}

#[test]
fn a_connection_that_never_was_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::start(folder.path(), &[]);
    host.say(&["allow", "shop", "one"]);
    host.say(&["redirect", "old", "one"]);
    host.say(&["rules", "mode", "enforce"]);
    let told = |who: &str, name: &str| -> Value {
        serde_json::from_str(&host.say(&["explain", &format!("{who} -> {name}"), "--output", "json"]))
            .unwrap()
    };
    let may = told("shop", "old.svc.internal");
    assert_eq!((&may["Allowed"], &may["Service"]), (&Value::Bool(true), &"one".into()), "{may}");
    assert!(may["Redirections"][0].as_str().unwrap().starts_with("old leads to one"), "{may}");
    assert!(may["Rule"].as_str().unwrap().contains("allow shop to one"), "{may}");
    assert_eq!(
        (&may["Endpoints"][0]["Path"], &may["Endpoints"][0]["Status"]),
        (&"local".into(), &"passing".into())
    );
    let may_not = told("uid:7", "one");
    assert_eq!((&may_not["Allowed"], &may_not["RulesAllow"]), (&Value::Bool(false), &Value::Bool(false)));
    assert!(may_not["Why"].as_str().unwrap().contains("no rule allows it"), "{may_not}");
    assert!(told("shop", "nobody")["Why"].as_str().unwrap().contains("no service named"));
    let text = host.say(&["explain", "shop", "one"]);
    assert!(
        text.contains("would be connected") && text.contains("endpoint") && text.contains("DNS"),
        "{text}"
    );
    // Looking changed nothing.
    assert_eq!(host.rules()["Rules"][0]["Hits"], 0, "{}", host.rules());
}

#[test]
fn urls_and_names_of_dns_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    let routes =
        "[[proxy.http.routes]]\nhost = \"shop.test\"\npath = \"/cart\"\nservice = \"one\"\nstrip = true\n";
    std::fs::write(&file, routes).unwrap();
    let host = Host::start(&folder.path().join("data"), &["--config", file.to_str().unwrap()]);
    let told = |name: &str| -> Value {
        serde_json::from_str(&host.say(&["explain", name, "--output", "json"])).unwrap()
    };
    let cart = told("http://shop.test/cart/1?x=y");
    assert_eq!(
        (&cart["Service"], &cart["Scheme"], &cart["Allowed"]),
        (&"one".into(), &"http".into(), &true.into())
    );
    assert!(cart["Way"].as_str().unwrap().contains("shop.test, path /cart"), "{cart}");
    let nowhere = told("http://shop.test/");
    assert_eq!(nowhere["Allowed"], false);
    assert!(nowhere["Why"].as_str().unwrap().contains("no rule"), "{nowhere}");
    let named = told("_two._tcp.svc.internal");
    assert_eq!((&named["Service"], &named["Name"]), (&"two".into(), &"_two._tcp.svc.internal".into()));
    host.say(&["redirect", "out", "tcp://192.0.2.7:5432"]);
    assert!(told("out.svc.internal")["Dns"].as_str().unwrap().contains("192.0.2.7"));
    let text = host.say(&["explain", "http://shop.test/cart"]);
    assert!(text.contains("decided by   the rule for host shop.test"), "{text}");
}

#[test]
fn a_nodes_own_rules_come_first_and_are_shown_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    let text = "[[rules]]\naction = \"deny\"\nsource = \"any\"\nservice = \"two\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let host = Host::start(&folder.path().join("data"), &["--config", file]);
    host.say(&["allow", "any", "any"]);
    host.say(&["rules", "mode", "enforce"]);
    assert_eq!((host.http("one").unwrap().0, host.http("two").unwrap().0), (200, 403));
    let why: Value = serde_json::from_str(&host.say(&["explain", "two", "--output", "json"])).unwrap();
    assert!(why["Rule"].as_str().unwrap().contains(&format!("{file}:1")), "{why}");
    assert_eq!(host.rules()["Rules"][0]["Local"], true, "{}", host.rules());
}
