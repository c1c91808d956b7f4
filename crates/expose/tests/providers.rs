//! Public names at providers with an API over HTTP: the ready templates against a server that does as their
//! documents say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_expose::names::{Http, HttpConfig, NameError, Owner, Provider, Rdata};
use portolan_expose::wish::NameKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Name and type to values.
type Zone = BTreeMap<(String, String), BTreeSet<String>>;

/// A provider of `example.org` that speaks the APIs of three, told apart by their paths.
#[derive(Clone, Default)]
struct Fake {
    zone: Arc<Mutex<Zone>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// Status that every question is answered with.
    busy: Arc<Mutex<Option<u16>>>,
}

impl Fake {
    async fn start() -> (Fake, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let fake = Fake::default();
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = serving.clone();
                tokio::spawn(async move { fake.serve(stream).await });
            }
        });
        (fake, address)
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut request = String::new();
        let mut buffer = [0; 4096];
        let (head, body) = loop {
            let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
            request.push_str(&String::from_utf8_lossy(&buffer[..length]));
            let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let (status, answer) = self.answer(&head, &body);
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        drop(stream.write_all((head + &answer).as_bytes()).await);
    }

    fn answer(&self, head: &str, body: &str) -> (u16, String) {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let secret = ["Bearer s3cret", "Token s3cret", "Basic dXNlcjpwYXNz"];
        if !secret.iter().any(|secret| head.contains(&format!("authorization: {secret}\r\n"))) {
            return (401, "who are you?".into());
        }
        if let Some(status) = *self.busy.lock().unwrap() {
            return (status, "later".into());
        }
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        match path {
            _ if path.starts_with("/nic/update") => (200, self.dyndns(path)),
            _ if path.starts_with("/client/v4/zones/z1/dns_records") => self.records(method, path, &body),
            _ => self.sets(method, path, &body),
        }
    }

    fn dyndns(&self, path: &str) -> String {
        let (_, query) = path.split_once("?hostname=").unwrap();
        let (name, address) = query.split_once("&myip=").unwrap();
        if name != "www.example.org" {
            return "nohost".into();
        }
        let key = (name.to_owned(), "A".to_owned());
        self.zone.lock().unwrap().insert(key, [address.to_owned()].into());
        format!("good {address}")
    }

    /// Gandi and deSEC: whole sets, by label and type.
    fn sets(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut zone = self.zone.lock().unwrap();
        let named = |label: &str| match label {
            "@" | "" => "example.org".to_owned(),
            label => format!("{}.example.org", label.replace("%2A", "*")),
        };
        let texts = |values: &Value| {
            values.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        if method == "PUT" && path.ends_with("/rrsets/") {
            let set = &body[0];
            assert!(set["ttl"].as_u64().unwrap() >= 3600, "deSEC takes no less");
            let key = (named(set["subname"].as_str().unwrap()), set["type"].as_str().unwrap().to_owned());
            zone.insert(key, texts(&set["records"]));
            return (200, "[]".into());
        }
        let parts: Vec<&str> = path.trim_end_matches('/').rsplit('/').collect();
        let key = (named(parts[1]), parts[0].to_owned());
        match method {
            "GET" => match zone.get(&key) {
                Some(values) => (200, json!({"rrset_values": values, "records": values}).to_string()),
                None => (404, "{}".into()),
            },
            "PUT" => {
                zone.insert(key, texts(&body["rrset_values"]));
                (201, "{}".into())
            }
            "DELETE" => (if zone.remove(&key).is_some() { 204 } else { 404 }, String::new()),
            _ => (405, String::new()),
        }
    }

    /// Cloudflare: single records, each with an id, which here is its number.
    fn records(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut zone = self.zone.lock().unwrap();
        let id = |key: &(String, String), value: &String| {
            let text = format!("{}{}{value}", key.0, key.1);
            text.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())).to_string()
        };
        match method {
            "GET" => {
                let (_, query) = path.split_once("?type=").unwrap();
                let (kind, name) = query.split_once("&name=").unwrap();
                let key = (name.replace("%2A", "*"), kind.to_owned());
                let all = zone.get(&key).cloned().unwrap_or_default();
                let all: Vec<Value> =
                    all.iter().map(|value| json!({"id": id(&key, value), "content": value})).collect();
                (200, json!({"result": all}).to_string())
            }
            "POST" => {
                let text = |field: &str| body[field].as_str().unwrap().to_owned();
                zone.entry((text("name"), text("type"))).or_default().insert(text("content"));
                (200, "{}".into())
            }
            _ => {
                let wanted = path.rsplit('/').next().unwrap();
                for (key, values) in zone.iter_mut() {
                    values.retain(|value| id(key, value) != wanted);
                }
                zone.retain(|_, values| !values.is_empty());
                (200, "{}".into())
            }
        }
    }

    fn holds(&self, name: &str, kind: &str) -> Vec<String> {
        let zone = self.zone.lock().unwrap();
        zone.get(&(name.to_owned(), kind.to_owned())).into_iter().flatten().cloned().collect()
    }
}

fn provider(template: &str, server: &str, owner: &str, secret: &str) -> Http {
    let variables = [("server", server), ("zone_id", "z1")];
    Http::new(HttpConfig {
        zones: vec!["example.org".into()],
        template: template.into(),
        variables: variables.map(|(name, value)| (name.into(), value.into())).into(),
        secret: secret.into(),
        owner: Owner::new(owner).unwrap(),
        ttl: Duration::from_secs(60),
    })
    .unwrap()
}

fn address(last: u8) -> BTreeSet<Rdata> {
    [Rdata::A([45, 83, 0, last].into())].into()
}

#[tokio::test]
async fn names_are_shown_changed_and_removed_and_those_of_others_are_not_touched() {
    for template in ["gandi", "desec", "cloudflare"] {
        let (fake, server) = Fake::start().await;
        fake.zone
            .lock()
            .unwrap()
            .insert(("taken.example.org".into(), "A".into()), ["192.0.2.1".into()].into());
        let ours = provider(template, &server, "house", "s3cret");
        let key = ("www.example.org".into(), NameKind::A);
        ours.set(&key, &address(1)).await.unwrap();
        assert_eq!(fake.holds("www.example.org", "A"), ["45.83.0.1"], "{template}");
        assert_eq!(fake.holds("_portolan-a.www.example.org", "TXT"), ["\"portolan-owner=house\""]);
        ours.set(&key, &address(2)).await.unwrap();
        assert_eq!(fake.holds("www.example.org", "A"), ["45.83.0.2"], "{template}");

        let other = provider(template, &server, "other", "s3cret");
        let refused = other.set(&key, &address(9)).await;
        assert!(matches!(&refused, Err(NameError::Foreign(owner)) if owner == "house"), "{refused:?}");
        other.remove(&key).await.unwrap();
        assert_eq!(fake.holds("www.example.org", "A"), ["45.83.0.2"], "{template}");
        let refused = ours.set(&("taken.example.org".into(), NameKind::A), &address(1)).await;
        assert!(matches!(refused, Err(NameError::Foreign(_))), "{refused:?}");

        ours.remove(&key).await.unwrap();
        assert_eq!(fake.holds("www.example.org", "A"), [""; 0], "{template}");
        assert_eq!(fake.holds("_portolan-a.www.example.org", "TXT"), [""; 0], "{template}");
        assert_eq!(fake.holds("taken.example.org", "A"), ["192.0.2.1"], "{template}");
        let outside = ours.set(&("www.example.com".into(), NameKind::A), &address(1)).await;
        assert_eq!(outside, Err(NameError::Outside));
    }
}

#[tokio::test]
async fn the_top_of_a_zone_a_wildcard_and_an_alias_are_names_too() {
    for template in ["gandi", "desec", "cloudflare"] {
        let (fake, server) = Fake::start().await;
        let ours = provider(template, &server, "house", "s3cret");
        ours.set(&("example.org".into(), NameKind::A), &address(1)).await.unwrap();
        ours.set(&("*.example.org".into(), NameKind::A), &address(1)).await.unwrap();
        let alias = [Rdata::Cname("host.example.net".into())].into();
        let key = ("www.example.org".into(), NameKind::Cname);
        ours.set(&key, &alias).await.unwrap();
        ours.set(&key, &alias).await.unwrap();
        assert_eq!(fake.holds("example.org", "A"), ["45.83.0.1"], "{template}");
        assert_eq!(fake.holds("*.example.org", "A"), ["45.83.0.1"], "{template}");
        assert_eq!(fake.holds("www.example.org", "CNAME"), ["host.example.net."], "{template}");
    }
}

#[tokio::test]
async fn dyndns2_updates_and_says_what_it_cannot() {
    let (fake, server) = Fake::start().await;
    let ours = provider("dyndns2", &server, "house", "user:pass");
    let key = ("www.example.org".into(), NameKind::A);
    ours.set(&key, &address(1)).await.unwrap();
    assert_eq!(fake.holds("www.example.org", "A"), ["45.83.0.1"]);
    let refused = ours.set(&("no.example.org".into(), NameKind::A), &address(1)).await;
    assert_eq!(refused, Err(NameError::Refused("nohost".into())));
    assert!(matches!(ours.remove(&key).await, Err(NameError::Refused(_))));
}

#[tokio::test]
async fn a_wrong_secret_and_a_silent_server_are_told_and_the_secret_is_not() {
    let (_fake, server) = Fake::start().await;
    let key = ("www.example.org".into(), NameKind::A);
    let wrong = provider("gandi", &server, "house", "guessed-secret");
    let said = wrong.set(&key, &address(1)).await.unwrap_err().to_string();
    assert!(said.contains("401") && !said.contains("guessed-secret"), "{said}");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = provider("gandi", &format!("http://{nobody}"), "house", "s3cret");
    assert!(matches!(silent.set(&key, &address(1)).await, Err(NameError::Silent(_))));
}

#[tokio::test]
async fn a_name_whose_owner_cannot_be_asked_for_is_not_taken_for_gone() {
    for template in ["gandi", "desec", "cloudflare"] {
        let (fake, server) = Fake::start().await;
        let ours = provider(template, &server, "house", "s3cret");
        let key = ("www.example.org".into(), NameKind::A);
        ours.set(&key, &address(1)).await.unwrap();
        for status in [429, 503] {
            *fake.busy.lock().unwrap() = Some(status);
            let refused = ours.remove(&key).await;
            assert!(matches!(refused, Err(NameError::Refused(_))), "{template}: {refused:?}");
        }
        *fake.busy.lock().unwrap() = None;
        // Somebody removed the record by hand meanwhile.
        fake.zone.lock().unwrap().remove(&("www.example.org".into(), "A".into()));
        ours.remove(&key).await.unwrap();
        assert_eq!(fake.holds("_portolan-a.www.example.org", "TXT"), [""; 0], "{template}");
    }
}

#[tokio::test]
async fn a_secret_in_an_address_is_not_told_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    // Takes questions and hangs up.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 1024]).await);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("own.toml").display().to_string();
    let text = "unowned = true\n[write]\nmethod = \"GET\"\npath = \"/set?token={secret}&also={basic}&ip={address}\"\n";
    std::fs::write(&template, text).unwrap();
    let ours = provider(&template, &server, "house", "s3cret");
    let said = ours.set(&("www.example.org".into(), NameKind::A), &address(1)).await.unwrap_err().to_string();
    assert!(said.contains("/set?token=…&also=…&ip=45.83.0.1"), "{said}");
}
