//! Real name servers that take our updates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]
#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::process::Command;
use std::time::Duration;

use peers::Running;
use portolan_expose::names::{Config, Owner, Rfc2136, parse_key};

pub const LIMIT: Duration = Duration::from_secs(30);
pub const SECRET: &str = "cG9ydG9sYW4tcG9ydG9sYW4tcG9ydG9sYW4tMTIzNA==";
const ZONE: &str = "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\ntaken A 192.0.2.1\nalias CNAME ns\n";

pub struct Server {
    pub port: u16,
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
        for zone in ["example.test", "closed.test"] {
            std::fs::write(folder.path().join(format!("{zone}.zone")), ZONE).unwrap();
        }
        std::fs::write(folder.path().join("server.conf"), config(&place, port)).unwrap();
        let mut command = Command::new(path);
        command.args(["-c", &format!("{place}/server.conf")]).args(arguments);
        let mut program = Running::start(&mut command).unwrap();
        program
            .wait_until(LIMIT, "the server to answer", || dig(port, "ns.example.test", "A") == ["127.0.0.1"])
            .unwrap();
        Ok(Server { port, _folder: folder, _program: program })
    }

    pub fn bind() -> Result<Server, String> {
        Server::start("named", &["-g"], |place, port| {
            format!(
                "key \"ddns-key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\ncontrols {{ }};\n\
                 options {{ directory \"{place}\"; pid-file \"{place}/named.pid\"; session-keyfile \"{place}/session.key\";\n\
                 listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no;\n\
                 allow-transfer {{ key ddns-key; }}; }};\n\
                 zone \"example.test\" {{ type primary; file \"example.test.zone\"; update-policy {{ grant ddns-key zonesub ANY; }}; }};\n\
                 zone \"closed.test\" {{ type primary; file \"closed.test.zone\"; allow-update {{ none; }}; }};\n"
            )
        })
    }

    pub fn knot() -> Result<Server, String> {
        Server::start("knotd", &[], |place, port| {
            format!(
                "server:\n    rundir: \"{place}\"\n    listen: 127.0.0.1@{port}\ndatabase:\n    storage: \"{place}\"\n\
                 key:\n  - id: ddns-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                 acl:\n  - id: ddns\n    key: ddns-key\n    action: [update, transfer]\n\
                 zone:\n  - domain: example.test\n    storage: \"{place}\"\n    file: example.test.zone\n    acl: ddns\n  \
                 - domain: closed.test\n    storage: \"{place}\"\n    file: closed.test.zone\n"
            )
        })
    }

    pub fn provider(&self, owner: &str, secret: &str) -> Rfc2136 {
        self.heir(owner, secret, &[])
    }

    pub fn heir(&self, owner: &str, secret: &str, adopt: &[&str]) -> Rfc2136 {
        self.with(owner, secret, adopt, None, &["example.test", "closed.test"])
    }

    pub fn member(&self, owner: &str, group: &str) -> Rfc2136 {
        self.with(owner, SECRET, &[], Some(group), &["example.test", "closed.test"])
    }

    /// Only in the zone that may be changed and transferred.
    pub fn in_example(&self, owner: &str, secret: &str) -> Rfc2136 {
        self.with(owner, secret, &[], None, &["example.test"])
    }

    fn with(
        &self,
        owner: &str,
        secret: &str,
        adopt: &[&str],
        group: Option<&str>,
        zones: &[&str],
    ) -> Rfc2136 {
        let key = parse_key(&format!("key \"ddns-key\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};"))
            .unwrap();
        let config = Config {
            server: ([127, 0, 0, 1], self.port).into(),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            owner: Owner::new(owner).unwrap(),
            group: group.map(|word| Owner::new(word).unwrap()),
            adopt: adopt.iter().map(|word| Owner::new(word).unwrap()).collect(),
            ttl: Duration::from_secs(30),
        };
        Rfc2136::new(&config, key).unwrap()
    }
}

pub fn dig(port: u16, name: &str, kind: &str) -> Vec<String> {
    let port = port.to_string();
    let args = ["@127.0.0.1", "-p", &port, "+short", "+tries=1", "+time=2", name, kind];
    let output = Command::new(peers::tool("dig").unwrap()).args(args).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
