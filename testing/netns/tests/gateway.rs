//! Every protocol of the gateway × every way to prove oneself × allowed and denied, with programs that no one here wrote, as
//! another user on another host.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_netns::{Daemon, Host, Lab, Start, need};
use serde_json::{Value, json};

/// The token that may do everything.
const OPERATOR: &str = "an-operator-of-these-tests-alone";
/// Nobody in particular, on the client's host.
const USER: &str = "65534";

/// What a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    Wrong,
    Token(&'static str),
    Certificate(&'static str),
}

/// Who may, and who may not: `shop` is allowed, `other` is known.
const PROOFS: [(Shows, bool); 6] = [
    (Shows::Nothing, false),
    (Shows::Wrong, false),
    (Shows::Token("shop"), true),
    (Shows::Token("other"), false),
    (Shows::Certificate("shop"), true),
    (Shows::Certificate("other"), false),
];

const SCHEMES: [&str; 6] = ["http", "connect", "connect by TLS", "socks", "ws", "tls"];

struct Place<'a> {
    client: &'a Host,
    gateway: std::net::Ipv4Addr,
    folder: PathBuf,
    tokens: [(&'static str, String); 2],
    curl: PathBuf,
    openssl: PathBuf,
    python: PathBuf,
}

/// Answers every connection with HTTP, and with the same bytes to whoever speaks otherwise.
fn web(host: &Host) {
    let listener = host.enter(|| TcpListener::bind((host.address, 80)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nweb\n");
            });
        }
    });
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An authority, a certificate of the gateway's, and two that prove names.
fn papers(openssl: &Path, folder: &Path, domain: &str) {
    let make = |arguments: &[&str]| {
        let output = Command::new(openssl).args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    make(
        &[&["req", "-x509"], &key[..], &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"]].concat(),
    );
    for (name, proves) in [
        ("gateway", "DNS:gateway.test,DNS:web.svc.internal".to_owned()),
        ("shop", format!("URI:spiffe://{domain}/service/shop")),
        ("other", format!("URI:spiffe://{domain}/service/other")),
    ] {
        let [key_file, request, pem, extensions] =
            ["key", "csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
        let text = format!("subjectAltName={proves}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(folder.join(&extensions), text).unwrap();
        let subject = format!("/CN={name}");
        make(&[&["req"], &key[..], &["-keyout", &key_file, "-out", &request, "-subj", &subject]].concat());
        let sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", &extensions];
        make(&[&["x509", "-req", "-in", &request, "-out", &pem], &sign[..]].concat());
    }
    // Another user reads them.
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(file.path(), mode).unwrap();
    }
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

impl Place<'_> {
    /// As somebody on the other host.
    fn somebody(&self, program: &Path) -> Command {
        let mut command = self.client.command("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
        command.current_dir(&self.folder);
        command
    }

    fn secret(&self, shows: Shows) -> Option<&str> {
        match shows {
            Shows::Token(name) => {
                self.tokens.iter().find(|(known, _)| *known == name).map(|(_, secret)| &**secret)
            }
            Shows::Wrong => Some("no such token"),
            Shows::Nothing | Shows::Certificate(_) => None,
        }
    }

    /// Whether a client gets through by `scheme`; nothing where one cannot show such a thing in such a protocol.
    fn passes(&self, scheme: &str, shows: Shows) -> Option<bool> {
        let by_certificate = matches!(shows, Shows::Certificate(_));
        let heard = match scheme {
            "http" | "connect" | "socks" if by_certificate => return None,
            "http" | "connect" | "connect by TLS" | "socks" => self.curl(scheme, shows),
            "ws" if by_certificate => return None,
            "ws" => self.websocket(shows),
            // Nothing but certificates comes before the service's own bytes.
            _ if matches!(shows, Shows::Token(_) | Shows::Wrong) => return None,
            _ => self.straight(shows),
        };
        Some(heard.contains("web\n"))
    }

    fn curl(&self, scheme: &str, shows: Shows) -> String {
        let (plain, secure) = (format!("{}:9480", self.gateway), "https://gateway.test:9443".to_owned());
        let mut command = self.somebody(&self.curl);
        command.args(["-sS", "--noproxy", "", "--max-time", "60", "http://web.svc.internal/"]);
        match scheme {
            "http" => command.args(["--proxy", &plain]),
            "connect" => command.args(["--proxytunnel", "--proxy", &plain]),
            "socks" => command.args(["--socks5-hostname", &plain]),
            _ => {
                let resolve = format!("gateway.test:9443:{}", self.gateway);
                command.args([
                    "--proxytunnel",
                    "--proxy-cacert",
                    "ca.pem",
                    "--resolve",
                    &resolve,
                    "--proxy",
                    &secure,
                ])
            }
        };
        if let Some(secret) = self.secret(shows) {
            command.args(["--proxy-user", &format!("x:{secret}")]);
        }
        if let Shows::Certificate(name) = shows {
            command.args(["--proxy-cert", &format!("{name}.pem"), "--proxy-key", &format!("{name}.key")]);
        }
        run(&mut command)
    }

    fn websocket(&self, shows: Shows) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/websocket_get.py");
        let copy = self.folder.join("websocket_get.py");
        std::fs::copy(script, &copy).unwrap();
        let mut command = self.somebody(&self.python);
        command.arg(copy).arg(format!("ws://{}:9480/web", self.gateway)).args(self.secret(shows));
        run(&mut command)
    }

    fn straight(&self, shows: Shows) -> String {
        let mut command = self.somebody(&self.openssl);
        command.args(["s_client", "-quiet", "-servername", "web.svc.internal"]);
        command.args(["-connect", &format!("{}:9443", self.gateway)]);
        if let Shows::Certificate(name) = shows {
            command.args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // It may have been turned away by now.
        let _ = input.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let mut heard = String::new();
        let _ = child.stdout.take().unwrap().read_to_string(&mut heard);
        drop(input);
        let _ = child.kill();
        child.wait().unwrap();
        heard
    }
}

fn token(daemon: &Daemon<'_>, service: &str) -> String {
    let wish = json!({ "ServiceIdentities": [{ "ServiceName": service }] });
    let made: Value = serde_json::from_str(&daemon.put("/v1/acl/token", &wish.to_string()).unwrap()).unwrap();
    made["SecretID"].as_str().unwrap().to_owned()
}

#[test]
fn every_protocol_and_every_proof_allowed_and_denied() {
    let lab = need!(Lab::new(&["a", "b"]));
    let [curl, openssl] = ["curl", "openssl"].map(peers::tool);
    let (curl, openssl) = (need!(curl), need!(openssl));
    let python = need!(peers::python(&["websockets"]));
    let folder = tempfile::tempdir().unwrap();
    let papers_folder = folder.path().join("papers");
    std::fs::create_dir(&papers_folder).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    papers(&openssl, &papers_folder, "gate");
    let [a, b] = &lab.hosts[..] else { panic!("two hosts") };
    let path = |name: &str| papers_folder.join(name).display().to_string();
    let shown = format!("[{{ certificate = {:?}, key = {:?} }}]", path("gateway.pem"), path("gateway.key"));
    let secret = folder.path().join("operator");
    std::fs::write(&secret, OPERATOR).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = need!(Start::new(a, folder.path().join("data")))
        .set("node.name=gate")
        .set("acl.enabled=true")
        .set(format!("acl.initial_management_file={}", secret.display()))
        .set(format!("gateway.listen={}:9480", a.address))
        .set(format!("gateway.listen_tls={}:9443", a.address))
        .set(format!("gateway.certificates={shown}"))
        .set(format!("gateway.client_ca={}", path("ca.pem")))
        .with_token(OPERATOR)
        .run()
        .unwrap();
    web(a);
    let definition = json!({ "Name": "web", "Address": a.address, "Port": 80 });
    daemon.put("/v1/agent/service/register", &definition.to_string()).unwrap();
    daemon.put("/v1/portolan/rule", r#"{"Action":"allow","Source":"shop","Service":"web"}"#).unwrap();
    let tokens = ["shop", "other"].map(|name| (name, token(&daemon, name)));
    let place = Place { client: b, gateway: a.address, folder: papers_folder, tokens, curl, openssl, python };
    for program in [&place.curl, &place.openssl, &place.python] {
        let version = if *program == place.openssl { "version" } else { "--version" };
        if !place.somebody(program).arg(version).output().is_ok_and(|output| output.status.success()) {
            return println!("skipped: another user may not run {}", program.display());
        }
    }
    daemon
        .eventually("the service is reached", |_| {
            place.passes("http", Shows::Token("shop")).filter(|passes| *passes)
        })
        .unwrap();
    let mut asked = 0;
    for scheme in SCHEMES {
        for (shows, may) in PROOFS {
            if let Some(passes) = place.passes(scheme, shows) {
                assert_eq!(passes, may, "{scheme} with {shows:?}\n{}", daemon.said());
                asked += 1;
            }
        }
    }
    println!("{asked} of {} combinations can be asked, and were", SCHEMES.len() * PROOFS.len());
    assert_eq!(asked, 4 + 4 + 6 + 4 + 4 + 3);
}
