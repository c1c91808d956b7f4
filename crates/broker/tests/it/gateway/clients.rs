//! curl, openssl and the `websockets` of PyPI, unmodified.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_broker::gateway::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use relay::tls::CertificateFiles;

use super::guarded;

/// What a client prints, and how it ends.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A certificate for the gateway, one that proves `shop`, and the authority of both.
pub(super) struct Papers {
    pub(super) gateway: CertificateFiles,
    shop: CertificateFiles,
    authority: PathBuf,
}

pub(super) fn papers(folder: &Path) -> Papers {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let authority = write(folder, "ca.pem", &params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let issue = |name: &str, names: &[&str], uri: Option<&str>| {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let certificate = params.signed_by(&key, &issuer).unwrap();
        CertificateFiles {
            certificate: write(folder, &format!("{name}.pem"), &certificate.pem()),
            key: write(folder, &format!("{name}.key"), &key.serialize_pem()),
        }
    };
    Papers {
        gateway: issue("gateway", &["localhost", "*.svc.internal"], None),
        shop: issue("shop", &[], Some("spiffe://blue.example/service/shop")),
        authority,
    }
}

fn secured(folder: &Path) -> (Papers, Config) {
    let papers = papers(folder);
    let config = Config {
        certificates: vec![papers.gateway.clone()],
        client_ca: Some(papers.authority.clone()),
        ..Config::default()
    };
    (papers, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_needs_to_know_nothing() {
    let curl = match peers::tool("curl") {
        Ok(curl) => curl,
        Err(missing) => return println!("{missing}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let (papers, config) = secured(folder.path());
    let (harness, [plain, tls]) = guarded(config);
    let (http, socks) = (format!("http://{plain}"), plain.to_string());
    let https = format!("https://localhost:{}", tls.port());
    let secure = ["--proxy", &https, "--proxy-cacert", papers.authority.to_str().unwrap()];
    let asks = |user: &str, arguments: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--fail", "--noproxy", "", "--max-time", "60", "--proxy-user", user]);
        run(command.args(arguments).arg("http://web.svc.internal/"))
    };
    let ways: [&[&str]; 5] = [
        &["--proxy", &http],
        &["--proxy", &http, "--proxytunnel"],
        &["--socks5-hostname", &socks],
        &secure,
        &[&secure[..], &["--proxytunnel"]].concat(),
    ];
    for way in ways {
        assert_eq!(asks("shop:sesame", way), (true, "web\n".to_owned()), "{way:?}");
        let (passed, said) = asks("other:barley", way);
        assert!(!passed && !said.contains("web\n"), "{way:?}: {said}");
    }
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_reaches_a_service_by_its_name_and_by_its_protocol() {
    let openssl = match peers::tool("openssl") {
        Ok(openssl) => openssl,
        Err(missing) => return println!("{missing}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let (papers, config) = secured(folder.path());
    let (harness, [_, tls]) = guarded(config);
    // What a certificate proves is a name in full; the rules' short names need a cluster.
    harness.rules(catalog::Mode::Enforce, &["allow spiffe://blue.example/service/shop web"]);
    let asks = |arguments: &[&str]| {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-quiet", "-connect", &tls.to_string()]).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // It may have been turned away by now.
        let _ = std::io::Write::write_all(&mut input, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let _ = std::io::BufRead::read_line(&mut output, &mut line);
        drop(input);
        let _ = child.kill();
        child.wait().unwrap();
        line
    };
    let shop =
        ["-cert", papers.shop.certificate.to_str().unwrap(), "-key", papers.shop.key.to_str().unwrap()];
    let by_name = ["-servername", "web.svc.internal"];
    assert_eq!(asks(&[&by_name[..], &shop].concat()), "HTTP/1.1 200 OK\r\n");
    assert_eq!(
        asks(&[&["-servername", "localhost", "-alpn", "web"][..], &shop].concat()),
        "HTTP/1.1 200 OK\r\n"
    );
    assert_eq!(asks(&by_name), "", "nobody in particular");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_of_pypi_speak_with_a_service() {
    let python = match peers::python(&["websockets"]) {
        Ok(python) => python,
        Err(missing) => return println!("{missing}"),
    };
    let (harness, [plain, _]) = guarded(Config::default());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/gateway/websocket_client.py");
    let (passed, said) = run(Command::new(python).arg(script).arg(plain.port().to_string()));
    assert!(passed && said.contains("closed with 1000"), "{said}");
    harness.stop().await;
}
