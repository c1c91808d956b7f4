//! Every protocol of the gateway × every way to prove oneself × allowed and denied, with programs that no one here wrote, as
//! another user on another host.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_netns::{Daemon, Host, Lab, SshTools, Sshd, Start, need};
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

const SCHEMES: [&str; 10] = [
    "http",
    "connect",
    "connect by TLS",
    "socks",
    "ws",
    "tls",
    "ncat by CONNECT",
    "ncat by SOCKS",
    "ssh by CONNECT",
    "ssh by TLS",
];

struct Place<'a> {
    client: &'a Host,
    gateway: std::net::Ipv4Addr,
    folder: PathBuf,
    tokens: [(&'static str, String); 2],
    curl: PathBuf,
    openssl: PathBuf,
    python: PathBuf,
    ncat: PathBuf,
    ssh: PathBuf,
    /// What ssh shows to the sshd behind the gateway, which lets it in.
    key: PathBuf,
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
        ("gateway", "DNS:gateway.test,DNS:web.svc.internal,DNS:shell.svc.internal".to_owned()),
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

    /// A program that somebody may not run here.
    fn forbidden(&self) -> Option<&Path> {
        let all = [&self.curl, &self.openssl, &self.python, &self.ncat, &self.ssh];
        let runs = |program: &Path| {
            let version = match program {
                openssl if openssl == self.openssl => "version",
                ssh if ssh == self.ssh => "-V",
                _ => "--version",
            };
            let output = self.somebody(program).arg(version).output();
            output.is_ok_and(|output| output.status.success())
        };
        all.into_iter().map(PathBuf::as_path).find(|program| !runs(program))
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
            "ncat by CONNECT" | "ncat by SOCKS" | "ssh by CONNECT" if by_certificate => return None,
            "ncat by CONNECT" => run(self.ncat("http", shows).args(["web", "80"])),
            "ncat by SOCKS" => run(self.ncat("socks5", shows).args(["web", "80"])),
            "ssh by CONNECT" => {
                let ncat = self.ncat_words("http", shows);
                self.ssh(&format!("{} {} %h %p", self.ncat.display(), ncat.join(" ")))
            }
            // Nothing but certificates comes before the service's own bytes.
            _ if matches!(shows, Shows::Token(_) | Shows::Wrong) => return None,
            "ssh by TLS" => {
                let words = self.s_client_words("shell.svc.internal", shows);
                self.ssh(&format!("{} {}", self.openssl.display(), words.join(" ")))
            }
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

    fn ncat_words(&self, kind: &str, shows: Shows) -> Vec<String> {
        let mut words = vec!["--proxy".to_owned(), format!("{}:9480", self.gateway)];
        words.extend(["--proxy-type".to_owned(), kind.to_owned()]);
        let secret = self.secret(shows);
        words
            .extend(secret.into_iter().flat_map(|secret| ["--proxy-auth".to_owned(), format!("x:{secret}")]));
        words
    }

    fn ncat(&self, kind: &str, shows: Shows) -> Command {
        let mut command = self.somebody(&self.ncat);
        command.args(self.ncat_words(kind, shows));
        command
    }

    fn s_client_words(&self, name: &str, shows: Shows) -> Vec<String> {
        let gateway = format!("{}:9443", self.gateway);
        let mut words =
            ["s_client", "-quiet", "-servername", name, "-connect", &gateway].map(String::from).to_vec();
        if let Shows::Certificate(name) = shows {
            words.extend([
                "-cert".to_owned(),
                format!("{name}.pem"),
                "-key".to_owned(),
                format!("{name}.key"),
            ]);
        }
        words
    }

    /// A command at the sshd behind the gateway.
    fn ssh(&self, proxy: &str) -> String {
        let mut command = self.somebody(&self.ssh);
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=60",
            "-o",
            &format!("ProxyCommand={proxy}"),
        ]);
        run(command.arg("-i").arg(&self.key).args(["root@shell", "echo", "web"]))
    }

    fn straight(&self, shows: Shows) -> String {
        let mut command = self.somebody(&self.openssl);
        command.args(self.s_client_words("web.svc.internal", shows));
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

/// What is behind the gateway, for `shop` alone.
fn services(daemon: &Daemon<'_>, host: &Host, tools: &SshTools, folder: &Path) -> Sshd {
    web(host);
    let sshd = Sshd::start(tools, host, &folder.join("sshd"), &[format!("{}:22", host.address)]).unwrap();
    // Another user shows it, and ssh looks at the mode of one's own keys only.
    std::fs::set_permissions(sshd.key(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::set_permissions(folder.join("sshd"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    for (service, port) in [("web", 80), ("shell", 22)] {
        let definition = json!({ "Name": service, "Address": host.address, "Port": port });
        daemon.put("/v1/agent/service/register", &definition.to_string()).unwrap();
        let rule = json!({ "Action": "allow", "Source": "shop", "Service": service });
        daemon.put("/v1/portolan/rule", &rule.to_string()).unwrap();
    }
    sshd
}

#[test]
fn every_protocol_and_every_proof_allowed_and_denied() {
    let lab = need!(Lab::new(&["a", "b"]));
    let [curl, openssl] = ["curl", "openssl"].map(peers::tool);
    let (curl, openssl) = (need!(curl), need!(openssl));
    let python = need!(peers::python(&["websockets"]));
    let (ncat, tools) = (need!(peers::tool("ncat")), need!(SshTools::find()));
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
    let sshd = services(&daemon, a, &tools, folder.path());
    let tokens = ["shop", "other"].map(|name| (name, token(&daemon, name)));
    let (ssh, key) = (tools.ssh, sshd.key());
    let place = Place {
        client: b,
        gateway: a.address,
        folder: papers_folder,
        tokens,
        curl,
        openssl,
        python,
        ncat,
        ssh,
        key,
    };
    if let Some(program) = place.forbidden() {
        return println!("skipped: another user may not run {}", program.display());
    }
    for scheme in ["http", "ssh by CONNECT"] {
        let shop = Shows::Token("shop");
        let reached = daemon.eventually(scheme, |_| place.passes(scheme, shop).filter(|passes| *passes));
        reached.unwrap_or_else(|failure| panic!("{failure}\n{}", sshd.log()));
    }
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
    assert_eq!(asked, 4 + 4 + 6 + 4 + 4 + 3 + 4 + 4 + 4 + 3);
}
