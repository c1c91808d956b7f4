//! TLS with clients and servers that no one here wrote: curl and openssl.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use portolan_proxy::{Config, Site, Upstream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use relay::tls::{CertificateFiles, Pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::echo;
use crate::harness::{Harness, Instance, config, eventually};
use crate::http::mirror;

/// An authority with a folder for what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.at("ca.pem")
    }

    fn pem(&self, names: &[&str], uri: Option<&str>) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Signs a certificate into files of this name.
    fn sign(&self, file: &str, names: &[&str], uri: Option<&str>) -> CertificateFiles {
        let (certificate, key) = self.pem(names, uri);
        let files = CertificateFiles {
            certificate: self.at(&format!("{file}.pem")),
            key: self.at(&format!("{file}.key")),
        };
        std::fs::write(&files.key, key).unwrap();
        std::fs::write(&files.certificate, certificate).unwrap();
        files
    }
}

fn tls_config(certificates: Vec<CertificateFiles>, sites: Vec<Site>) -> Config {
    let mut config = config();
    config.tls.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    config.tls.certificates = certificates;
    config.tls.sites = sites;
    config
}

fn site(name: &str) -> Site {
    Site {
        name: name.into(),
        service: None,
        passthrough: false,
        client_ca: None,
        client_optional: false,
        client_domain: None,
        protocols: None,
    }
}

/// Several services may stand at one address.
fn named(id: &str, address: SocketAddr) -> Instance {
    Instance { id: id.into(), ..Instance::at(address) }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Asks `https://name/path`; body, or what curl says.
async fn curl(at: SocketAddr, ca: &Path, name: &str, more: &[&str]) -> Result<String, String> {
    let resolve = format!("{name}:{}:127.0.0.1", at.port());
    let url = format!("https://{name}:{}/path", at.port());
    let mut command = Command::new("curl");
    command.args(["-sSf", "--max-time", "60", "--noproxy", "*", "--cacert", text(ca), "--resolve", &resolve]);
    let output = command.args(more).arg(&url).kill_on_drop(true).output().await.unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What openssl's client says of one connection.
async fn s_client(at: SocketAddr, more: &[&str]) -> String {
    let address = at.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address]).args(more).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn have_tools() -> bool {
    let has = |tool: &str| std::process::Command::new(tool).arg("version").output().is_ok();
    let all = has("curl") && has("openssl");
    if !all {
        println!("skipped: curl and openssl are not both here");
    }
    all
}

/// Its pipe fills up, and then it reads no more. Under TLS the last of an answer is in memory and not in the socket.
#[tokio::test]
async fn a_client_by_tls_that_does_not_read_is_cut_off() {
    if !have_tools() {
        return;
    }
    let server = echo::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        let part = vec![0; 100_000];
        while stream.write_all(&part).await.is_ok() {}
    })
    .await;
    let authority = Authority::new();
    let mut config = tls_config(vec![authority.sign("web", &["web"], None)], vec![]);
    config.http.stall_timeout = std::time::Duration::from_millis(200);
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(server.address));
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-servername", "web", "-connect", &harness.tls.unwrap().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut client = command.spawn().unwrap();
    let mut asks = client.stdin.take().unwrap();
    asks.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await.unwrap();
    eventually("it is cut off", async || harness.count("proxy_slow_readers_total") == 1).await;
    eventually("nothing is left of it", async || harness.count("relay_open") == 0).await;
    drop(client);
    harness.stop().await;
}

#[tokio::test]
async fn curl_asks_by_https_in_both_versions_of_http() {
    if !have_tools() {
        return;
    }
    let authority = Authority::new();
    let files = authority.sign("web", &["web", "*.svc.internal"], None);
    let server = mirror().await;
    let harness = Harness::with(tls_config(vec![files], vec![])).await;
    harness.register("web", Instance::at(server.address));
    let at = harness.tls.unwrap();
    for (version, via) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let body = curl(at, &authority.ca(), "web", &[version]).await.unwrap();
        assert!(body.starts_with("GET /path HTTP/1.1\r\n"), "{body}");
        assert!(body.contains("x-forwarded-proto: https\r\n"), "{body}");
        assert!(body.contains(&format!("via: {via} portolan-here\r\n")), "{body}");
    }
    curl(at, &authority.ca(), "web.svc.internal", &[]).await.unwrap();
    let other = curl(at, &authority.ca(), "elsewhere.example", &[]).await.unwrap_err();
    assert!(other.contains("alert") || other.contains("SSL"), "{other}");
    assert_eq!(harness.count("proxy_connections_total{entry=\"Tls\"}"), 4);
    eventually("handshakes are counted", async || {
        harness.count("relay_tls_handshakes_total") == 3
            && harness.count("relay_tls_handshakes_failed_total") == 1
    })
    .await;
    harness.stop().await;
}

#[tokio::test]
async fn a_session_is_resumed_and_protocols_are_agreed_on() {
    if !have_tools() {
        return;
    }
    let authority = Authority::new();
    let harness = Harness::with(tls_config(vec![authority.sign("web", &["web"], None)], vec![])).await;
    let (at, session) = (harness.tls.unwrap(), authority.at("session"));
    let ca = authority.ca();
    for version in ["-tls1_2", "-tls1_3"] {
        let usual = ["-servername", "web", "-CAfile", text(&ca), version, "-alpn", "h2,http/1.1"];
        let said = s_client(at, &[&usual[..], &["-sess_out", text(&session)]].concat()).await;
        assert!(said.contains("Verification: OK") && said.contains("ALPN protocol: h2"), "{said}");
        assert!(said.contains("New, TLS"), "{said}");
        // TLS 1.3 sends its tickets after the handshake: a client that leaves at once may miss them.
        if version == "-tls1_2" {
            let said = s_client(at, &[&usual[..], &["-sess_in", text(&session)]].concat()).await;
            assert!(said.contains("Reused, TLS"), "{said}");
        }
    }
    let old = s_client(at, &["-servername", "web", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).await;
    assert!(old.contains("alert") || old.contains("error"), "{old}");
    harness.stop().await;
}

#[tokio::test]
async fn certificates_follow_their_files_and_are_taken_at_run_time() {
    if !have_tools() {
        return;
    }
    let authority = Authority::new();
    let server = mirror().await;
    let files = authority.sign("web", &["web"], None);
    let harness = Harness::with(tls_config(vec![files], vec![])).await;
    for service in ["web", "new", "late"] {
        harness.register(service, named(service, server.address));
    }
    let (at, ca) = (harness.tls.unwrap(), authority.ca());
    curl(at, &ca, "web", &[]).await.unwrap();
    assert!(curl(at, &ca, "new", &[]).await.is_err());
    authority.sign("web", &["web", "new"], None);
    eventually("the new certificate is shown", async || curl(at, &ca, "new", &[]).await.is_ok()).await;

    assert!(curl(at, &ca, "late", &[]).await.is_err());
    let (certificate, key) = authority.pem(&["late"], None);
    harness.certificates.put("acme", Pair::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap());
    curl(at, &ca, "late", &[]).await.unwrap();
    harness.certificates.remove("acme");
    assert!(curl(at, &ca, "late", &[]).await.is_err());
    harness.stop().await;
}

#[tokio::test]
async fn who_shows_no_certificate_is_turned_away_also_by_other_doors() {
    if !have_tools() {
        return;
    }
    let (authority, partners) = (Authority::new(), Authority::new());
    let files = authority.sign("web", &["open", "closed"], None);
    let partner = partners.sign("partner", &["partner"], Some("spiffe://partner.example/shop"));
    let closed = Site {
        client_ca: Some(partners.ca()),
        client_domain: Some("partner.example".into()),
        ..site("closed")
    };
    let server = mirror().await;
    let harness = Harness::with(tls_config(vec![files], vec![closed])).await;
    harness.register("open", named("open", server.address));
    harness.register("closed", named("closed", server.address));
    let (at, ca) = (harness.tls.unwrap(), authority.ca());
    let shown = ["--cert", text(&partner.certificate), "--key", text(&partner.key)];
    assert!(curl(at, &ca, "closed", &shown).await.unwrap().contains("host: closed"));
    assert!(curl(at, &ca, "closed", &[]).await.is_err(), "with TLS 1.3 the words depend on who is faster");
    let stranger = Authority::new().sign("x", &["partner"], None);
    let strangers = ["--cert", text(&stranger.certificate), "--key", text(&stranger.key)];
    assert!(curl(at, &ca, "closed", &strangers).await.is_err());

    // Not by a connection for another name, nor without TLS.
    for version in ["--http1.1", "--http2"] {
        let aside = ["-H", "Host: closed", version, "-w", "%{http_code}"];
        assert!(curl(at, &ca, "open", &aside).await.unwrap_err().contains("421"));
    }
    let mut plain = TcpStream::connect(harness.http).await.unwrap();
    assert_eq!(crate::http::get(&mut plain, "closed", "/").await.0, 421);
    assert_eq!(
        crate::http::get(&mut TcpStream::connect(harness.http).await.unwrap(), "open", "/").await.0,
        200
    );
    harness.stop().await;
}

/// Starts openssl's server; it answers every request with a page about its session.
async fn openssl_server(authority: &Authority, name: &str, more: &[&str]) -> (Child, SocketAddr) {
    let files = authority.sign(name, &[name], None);
    let port = peers::reserve_port().unwrap();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
    command.args(["-cert", text(&files.certificate), "-key", text(&files.key)]);
    command.args(more).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    eventually("openssl listens", async || TcpStream::connect(address).await.is_ok()).await;
    (child, address)
}

#[tokio::test]
async fn a_service_that_ends_tls_itself_is_passed_its_connections_untouched() {
    if !have_tools() {
        return;
    }
    let authority = Authority::new();
    let (_server, address) = openssl_server(&authority, "own.example", &["-www"]).await;
    let passed = Site { service: Some("own".into()), passthrough: true, ..site("*.example") };
    let harness = Harness::with(tls_config(vec![], vec![passed])).await;
    harness.register("own", Instance::at(address));
    let at = harness.tls.unwrap();
    let body = curl(at, &authority.ca(), "own.example", &[]).await.unwrap();
    assert!(body.contains("Cipher"), "openssl's own page: {body}");
    harness.stop().await;
}

#[tokio::test]
async fn bytes_for_a_service_behind_tls() {
    if !have_tools() {
        return;
    }
    let authority = Authority::new();
    let files = authority.sign("db", &["db.example"], None);
    let ended =
        Site { service: Some("db".into()), protocols: Some(vec!["postgresql".into()]), ..site("db.example") };
    let server = echo::serve(|mut stream| async move {
        let mut line = [0; 5];
        stream.read_exact(&mut line).await.unwrap();
        stream.write_all(b"you said ").await.unwrap();
        stream.write_all(&line).await.unwrap();
    })
    .await;
    let harness = Harness::with(tls_config(vec![files], vec![ended])).await;
    harness.register("db", Instance::at(server.address));
    let at = harness.tls.unwrap().to_string();
    let ca = authority.ca();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &at, "-servername", "db.example", "-CAfile", text(&ca)]);
    command.args(["-verify_return_error", "-alpn", "postgresql"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"hello").await.unwrap();
    let mut heard = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), "you said hello");
    harness.stop().await;
}

fn upstream(service: &str, authority: &Authority, shown: Option<&CertificateFiles>) -> Upstream {
    Upstream {
        service: service.into(),
        name: Some("up.example".into()),
        ca: Some(authority.ca()),
        certificate: shown.map(|files| files.certificate.clone()),
        key: shown.map(|files| files.key.clone()),
    }
}

#[tokio::test]
async fn services_are_reached_by_tls_and_verified() {
    if !have_tools() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let shown = authority.sign("us", &["us"], None);
    let ca = authority.ca();
    let asking = ["-www", "-Verify", "2", "-verify_return_error", "-CAfile", text(&ca)];
    let (_server, address) = openssl_server(&authority, "up.example", &asking).await;
    let mut config = config();
    config.tls.upstreams = vec![
        upstream("good", &authority, Some(&shown)),
        upstream("shy", &authority, None),
        upstream("deceived", &stranger, None),
        Upstream { name: None, ..upstream("nameless", &authority, Some(&shown)) },
    ];
    let harness = Harness::with(config).await;
    let answer = async |service: &str, instance: Instance| {
        harness.register(service, instance);
        let mut stream = TcpStream::connect(harness.http).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {service}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    };
    let good = answer("good", Instance::at(address)).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("Cipher"), "{good}");
    for service in ["shy", "deceived", "nameless"] {
        let bad = answer(service, Instance::at(address)).await;
        assert!(bad.starts_with("HTTP/1.1 502"), "{service}: {bad}");
    }
    // Without a word about it in the configuration the system's authorities are asked, who know nothing of it.
    let bad = answer("usual", Instance::at(address).speaking("https")).await;
    assert!(bad.starts_with("HTTP/1.1 502") && bad.contains("ertificate"), "{bad}");
    harness.stop().await;
}

#[tokio::test]
async fn http2_by_tls_all_the_way() {
    let (nghttpd, authority) = match peers::tool("nghttpd") {
        Ok(nghttpd) => (nghttpd, Authority::new()),
        Err(missing) => return println!("{missing}"),
    };
    if !have_tools() {
        return;
    }
    let (front, back) = (authority.sign("web", &["web"], None), authority.sign("up", &["up.example"], None));
    std::fs::write(authority.at("path"), "hello by HTTP/2").unwrap();
    let port = peers::reserve_port().unwrap();
    let mut command = Command::new(nghttpd);
    command.args(["--address=127.0.0.1", "-d", text(authority.folder.path()), &port.to_string()]);
    let _server = command.args([&back.key, &back.certificate]).kill_on_drop(true).spawn().unwrap();
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    eventually("nghttpd listens", async || TcpStream::connect(address).await.is_ok()).await;
    let mut config = tls_config(vec![front], vec![]);
    config.tls.upstreams = vec![upstream("web", &authority, None)];
    let harness = Harness::with(config).await;
    harness.register("web", Instance::at(address).speaking("h2"));
    let body = curl(harness.tls.unwrap(), &authority.ca(), "web", &["--http2"]).await.unwrap();
    assert_eq!(body, "hello by HTTP/2");
    harness.stop().await;
}

#[tokio::test]
async fn who_takes_too_long_or_says_nonsense_is_let_go() {
    let authority = Authority::new();
    let mut config = tls_config(vec![authority.sign("web", &["web"], None)], vec![]);
    config.tls.handshake_timeout = std::time::Duration::from_millis(300);
    config.tls.max_handshakes = 2;
    let harness = Harness::with(config).await;
    let at = harness.tls.unwrap();
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(TcpStream::connect(at).await.unwrap());
    }
    for stream in &mut slow {
        // Closed, by a limit or by the clock; a reset is as good.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let mut nonsense = TcpStream::connect(at).await.unwrap();
    let _ = nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    let _ = nonsense.read_to_end(&mut Vec::new()).await;
    eventually("they are counted", async || {
        let refused = harness.count("relay_tls_handshakes_refused_total");
        refused > 0
            && refused + harness.count("relay_tls_handshakes_failed_total") == 9
            && harness.count("relay_tls_handshakes_in_progress") == 0
    })
    .await;
    harness.stop().await;
}
