//! Public names at real servers: BIND and Knot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use peers::Running;
use portolan_expose::names::{Config, NameError, Owner, Provider, Rdata, Rfc2136, parse_key};
use portolan_expose::wish::NameKind;

const LIMIT: Duration = Duration::from_secs(30);
const SECRET: &str = "cG9ydG9sYW4tcG9ydG9sYW4tcG9ydG9sYW4tMTIzNA==";
const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\ntaken A 192.0.2.1\n";

struct Server {
    port: u16,
    _folder: tempfile::TempDir,
    _program: Running,
}

impl Server {
    fn start(
        program: &str,
        arguments: &[&str],
        config: impl Fn(&str, u16) -> String,
    ) -> Result<Server, String> {
        let path = peers::tool(program).map_err(|missing| missing.to_string())?;
        peers::tool("dig").map_err(|missing| missing.to_string())?;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let port = peers::reserve_port().unwrap();
        std::fs::write(folder.path().join("example.test.zone"), ZONE).unwrap();
        std::fs::write(folder.path().join("server.conf"), config(&place, port)).unwrap();
        let mut command = Command::new(path);
        command.args(["-c", &format!("{place}/server.conf")]).args(arguments);
        let mut program = Running::start(&mut command).unwrap();
        program
            .wait_until(LIMIT, "the server to answer", || dig(port, "ns.example.test", "A") == ["127.0.0.1"])
            .unwrap();
        Ok(Server { port, _folder: folder, _program: program })
    }

    fn bind() -> Result<Server, String> {
        Server::start("named", &["-g"], |place, port| {
            format!(
                "key \"ddns-key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\ncontrols {{ }};\n\
                 options {{ directory \"{place}\"; pid-file \"{place}/named.pid\"; session-keyfile \"{place}/session.key\";\n\
                 listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no; }};\n\
                 zone \"example.test\" {{ type primary; file \"example.test.zone\"; update-policy {{ grant ddns-key zonesub ANY; }}; }};\n"
            )
        })
    }

    fn knot() -> Result<Server, String> {
        Server::start("knotd", &[], |place, port| {
            format!(
                "server:\n    rundir: \"{place}\"\n    listen: 127.0.0.1@{port}\ndatabase:\n    storage: \"{place}\"\n\
                 key:\n  - id: ddns-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                 acl:\n  - id: ddns\n    key: ddns-key\n    action: [update, transfer]\n\
                 zone:\n  - domain: example.test\n    storage: \"{place}\"\n    file: example.test.zone\n    acl: ddns\n"
            )
        })
    }

    fn provider(&self, owner: &str, secret: &str) -> Rfc2136 {
        let key = parse_key(&format!("key \"ddns-key\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};"))
            .unwrap();
        let config = Config {
            server: ([127, 0, 0, 1], self.port).into(),
            zones: vec!["example.test".into()],
            owner: Owner::new(owner).unwrap(),
            ttl: Duration::from_secs(30),
        };
        Rfc2136::new(&config, key).unwrap()
    }
}

fn dig(port: u16, name: &str, kind: &str) -> Vec<String> {
    let port = port.to_string();
    let args = ["@127.0.0.1", "-p", &port, "+short", "+tries=1", "+time=2", name, kind];
    let output = Command::new(peers::tool("dig").unwrap()).args(args).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn key(name: &str, kind: NameKind) -> (Arc<str>, NameKind) {
    (name.into(), kind)
}

fn addresses(last: &[u8]) -> BTreeSet<Rdata> {
    last.iter().map(|last| Rdata::A([45, 83, 0, *last].into())).collect()
}

async fn a_name_lives(server: &Server) {
    let ours = server.provider("host-1", SECRET);
    let www = key("www.example.test", NameKind::A);
    ours.set(&www, &addresses(&[1])).await.unwrap();
    assert_eq!(dig(server.port, "www.example.test", "A"), ["45.83.0.1"]);
    // The address changes, and the run after a crash says the same again.
    ours.set(&www, &addresses(&[2, 3])).await.unwrap();
    ours.set(&www, &addresses(&[2, 3])).await.unwrap();
    assert_eq!(dig(server.port, "www.example.test", "A"), ["45.83.0.2", "45.83.0.3"]);
    ours.remove(&www).await.unwrap();
    ours.remove(&www).await.unwrap();
    assert!(dig(server.port, "www.example.test", "A").is_empty());
    assert!(dig(server.port, "_portolan-a.www.example.test", "TXT").is_empty());
    let alias = key("*.apps.example.test", NameKind::Cname);
    ours.set(&alias, &[Rdata::Cname("ns.example.test".into())].into()).await.unwrap();
    assert_eq!(dig(server.port, "any.apps.example.test", "CNAME"), ["ns.example.test."]);
    let v6 = key("six.example.test", NameKind::Aaaa);
    ours.set(&v6, &[Rdata::Aaaa("2001:db8::9".parse().unwrap())].into()).await.unwrap();
    assert_eq!(dig(server.port, "six.example.test", "AAAA"), ["2001:db8::9"]);
}

async fn what_is_not_ours_is_not_touched(server: &Server) {
    let (ours, theirs) = (server.provider("host-1", SECRET), server.provider("host-2", SECRET));
    let taken = key("taken.example.test", NameKind::A);
    assert!(matches!(ours.set(&taken, &addresses(&[1])).await, Err(NameError::Foreign(_))));
    ours.remove(&taken).await.unwrap();
    assert_eq!(dig(server.port, "taken.example.test", "A"), ["192.0.2.1"]);
    let shared = key("shared.example.test", NameKind::A);
    theirs.set(&shared, &addresses(&[9])).await.unwrap();
    assert!(matches!(ours.set(&shared, &addresses(&[1])).await, Err(NameError::Foreign(_))));
    ours.remove(&shared).await.unwrap();
    assert_eq!(dig(server.port, "shared.example.test", "A"), ["45.83.0.9"]);
    let elsewhere = key("www.example.org", NameKind::A);
    assert_eq!(ours.set(&elsewhere, &addresses(&[1])).await, Err(NameError::Outside));
}

async fn a_wrong_key_is_told_as_one(server: &Server) {
    let wrong = server.provider("host-1", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctMTI=");
    let error = wrong.set(&key("www.example.test", NameKind::A), &addresses(&[1])).await.unwrap_err();
    assert!(matches!(error, NameError::Signature(_)), "{error}");
}

async fn all(server: Result<Server, String>) {
    let server = match server {
        Ok(server) => server,
        Err(missing) => return println!("{missing}"),
    };
    a_name_lives(&server).await;
    what_is_not_ours_is_not_touched(&server).await;
    a_wrong_key_is_told_as_one(&server).await;
}

#[tokio::test]
async fn bind_shows_our_names_and_keeps_others() {
    all(Server::bind()).await;
}

#[tokio::test]
async fn knot_shows_our_names_and_keeps_others() {
    all(Server::knot()).await;
}
