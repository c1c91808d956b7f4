//! Routes between two brokers: what one asks for by a URI, the other lets in by the greeting.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use consul::broker::{Problem, ProblemKind, Socket};
use portolan_broker::psk::{Key, Keys};
use portolan_broker::{Config, Incoming, websocket};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay::TcpDial;
use relay::tls::{CertificateFiles, Certificates, ServerConfig, Terms, hello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::harness::{Harness, echo};

/// Files of one authority, and of what it vouches for.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca"), root.pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    pub(crate) fn vouch_for(&self, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = CertificateParams::new(names.clone()).unwrap().signed_by(&key, &self.issuer).unwrap();
        let at = |what: &str| self.folder.path().join(format!("{}.{what}", names[0]));
        std::fs::write(at("crt"), made.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        CertificateFiles { certificate: at("crt"), key: at("key") }
    }
}

pub(crate) fn keys(authority: &Authority, file: &str, lines: &[(&str, &Key)]) -> PathBuf {
    let path = authority.folder.path().join(file);
    for (identity, key) in lines {
        Keys::add(&path, identity, key).unwrap();
    }
    path
}

fn broker(config: Config) -> Harness {
    Harness::with(config, Arc::new(TcpDial))
}

/// One that lets others in by TCP and TLS, with a service that repeats.
pub(crate) fn far(authority: &Authority, change: impl FnOnce(&mut Config)) -> Harness {
    let any = "127.0.0.1:0".parse().unwrap();
    let certificate = Some(authority.vouch_for(&["localhost"]));
    let incoming = Incoming { tcp: vec![any], tls: vec![any], ..Incoming::default() };
    let mut config = Config { incoming, certificate, ..Config::default() };
    change(&mut config);
    let harness = broker(config);
    harness.register("echo", echo());
    harness
}

fn repeats(socket: Socket, descriptor: OwnedFd) {
    let mut heard = [0; 14];
    match socket {
        Socket::Tcp => {
            let mut stream = TcpStream::from(descriptor);
            stream.write_all(b"there and back").unwrap();
            stream.read_exact(&mut heard).unwrap();
        }
        _ => {
            let mut stream = UnixStream::from(descriptor);
            stream.write_all(b"there and back").unwrap();
            stream.read_exact(&mut heard).unwrap();
        }
    }
    assert_eq!(&heard, b"there and back");
}

fn reach(from: &Harness, uri: &str) -> Result<(), Problem> {
    let (reply, descriptor) = from.program().connect(uri);
    if let Some(problem) = reply.error {
        return Err(problem);
    }
    let connected = reply.connected.unwrap();
    assert_eq!(connected.relayed, connected.socket == Socket::Unix, "{connected:?}");
    repeats(connected.socket, descriptor.unwrap());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_by_tcp_and_by_tls_with_a_certificate() {
    let authority = Authority::new();
    let there = far(&authority, |_| {});
    let here = broker(Config { tls_ca: Some(authority.root()), ..Config::default() });
    let [tcp, tls] = there.addresses[..] else { panic!() };
    reach(&here, &format!("tcp://127.0.0.1:{}/echo", tcp.port())).unwrap();
    reach(&here, &format!("tls://localhost:{}/echo", tls.port())).unwrap();
    for (uri, said) in [
        (format!("tls://127.0.0.1:{}/echo", tls.port()), "not valid for name"),
        (format!("tls://localhost:{}/nobody", tls.port()), "does not admit"),
        (format!("tcp://127.0.0.1:{}/nobody", tcp.port()), "does not admit"),
    ] {
        let problem = reach(&here, &uri).unwrap_err();
        assert!(problem.kind == ProblemKind::Unreachable && problem.message.contains(said), "{problem}");
    }
    let suspicious = broker(Config::default());
    reach(&suspicious, &format!("tls://localhost:{}/echo", tls.port())).unwrap_err();
    for harness in [there, here, suspicious] {
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pre_shared_key_proves_both_sides_in_either_form_of_uri_and_from_a_file() {
    let authority = Authority::new();
    let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
    let theirs = keys(&authority, "theirs", &[("web", &key)]);
    let there = far(&authority, |config| config.keys = Some(theirs));
    let ours = keys(&authority, "ours", &[("web", &key), ("other", &other)]);
    // No authority: the certificate is not what counts.
    let here = broker(Config { keys: Some(ours), ..Config::default() });
    let at = format!("127.0.0.1:{}/echo", there.addresses[1].port());
    let (key, other) = (key.reveal(), other.reveal());
    reach(&here, &format!("tls://web@{key}:{at}")).unwrap();
    reach(&here, &format!("tls://web:{key}@{at}")).unwrap();
    reach(&here, &format!("tls://web@{at}")).unwrap();
    for (uri, kind) in [
        (format!("tls://web:{other}@{at}"), ProblemKind::Unreachable),
        (format!("tls://nobody:{key}@{at}"), ProblemKind::Unreachable),
        (format!("tls://other@{at}"), ProblemKind::Unreachable),
        (format!("tls://absent@{at}"), ProblemKind::Denied),
        (format!("tls://user@passwd:{at}"), ProblemKind::Malformed),
        // A certificate's verification is not skipped for want of a key.
        (format!("tls://{at}"), ProblemKind::Unreachable),
    ] {
        let problem = reach(&here, &uri).unwrap_err();
        assert_eq!(problem.kind, kind, "{uri}: {problem}");
        assert!(!problem.message.contains(&key), "{problem}");
    }
    there.judge_by(&["allow web echo tls in", "deny any * any in"]);
    reach(&here, &format!("tls://web@{at}")).unwrap();
    there.judge_by(&["deny web echo tls in", "allow any * any any"]);
    reach(&here, &format!("tls://web@{at}")).unwrap_err();
    for harness in [there, here] {
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_is_turned_away_where_proof_is_asked_for() {
    let authority = Authority::new();
    let theirs = keys(&authority, "theirs", &[("web", &Key::generate().unwrap())]);
    let there = far(&authority, |config| config.keys = Some(theirs));
    let here = broker(Config { tls_ca: Some(authority.root()), ..Config::default() });
    let uri = format!("tls://localhost:{}/echo", there.addresses[1].port());
    assert_eq!(reach(&here, &uri).unwrap_err().kind, ProblemKind::Unreachable);
    for harness in [there, here] {
        harness.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_strangers_are_judged_by_where_they_come_from() {
    let authority = Authority::new();
    let there = far(&authority, |_| {});
    let here = broker(Config::default());
    let uri = format!("tcp://127.0.0.1:{}/echo", there.addresses[0].port());
    there.judge_by(&["deny 127.0.0.0/8 echo tcp in", "allow any * any in"]);
    assert_eq!(reach(&here, &uri).unwrap_err().kind, ProblemKind::Unreachable);
    there.judge_by(&["allow 127.0.0.1 echo tcp in"]);
    reach(&here, &uri).unwrap();
    for harness in [there, here] {
        harness.stop().await;
    }
}

/// A WebSocket server that repeats; says what it was asked for.
pub(crate) async fn web(config: Option<Arc<ServerConfig>>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener.into_std().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (config, sender) = (config.clone(), sender.clone());
                tokio::task::spawn_local(async move {
                    let stream = relay::Stream::Tcp(stream);
                    let stream = match config {
                        Some(config) => hello(stream).await.unwrap().secure(config).await.unwrap().stream,
                        None => stream,
                    };
                    upgrade(stream, &sender).await;
                });
            }
        });
    });
    (port, asked)
}

async fn upgrade(mut stream: relay::Stream, asked: &mpsc::UnboundedSender<String>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let lines = request.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let accept = websocket::wanted(&headers).unwrap();
    let answer = format!(
        "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    asked.send(request).unwrap();
    let socket = websocket::Socket::new(stream, websocket::Role::Server, Default::default());
    let (mut from, mut to) = tokio::io::split(socket);
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_asked_for_by_path_and_with_credentials_plain_and_in_tls() {
    let authority = Authority::new();
    let certificates = Certificates::new();
    assert!(certificates.use_files(&[authority.vouch_for(&["localhost"])]).is_empty());
    let config = Terms::default().config(&certificates).unwrap();
    let here = broker(Config { tls_ca: Some(authority.root()), ..Config::default() });
    for (scheme, config) in [("ws", None), ("wss", Some(config))] {
        let (port, mut asked) = web(config).await;
        reach(&here, &format!("{scheme}://user@secret:localhost:{port}/echo")).unwrap();
        let request = asked.recv().await.unwrap();
        assert!(request.starts_with("GET /echo HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nHost: localhost:{port}\r\n")), "{request}");
        assert!(request.contains("\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{request}");
        reach(&here, &format!("{scheme}://a-token@localhost:{port}/echo")).unwrap();
        assert!(asked.recv().await.unwrap().contains("\r\nAuthorization: Bearer a-token\r\n"));
    }
    here.stop().await;
}
