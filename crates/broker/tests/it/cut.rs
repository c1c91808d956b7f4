//! A rule ends what it forbids: every way by which a connection comes about, each with the time that it took, and the
//! ones that nobody can end, which `explain` names.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use catalog::Mode;
use consul::broker::{Operation, Request, Socket};
use portolan_broker::gateway;
use portolan_broker::psk::Key;
use portolan_broker::{Config, Incoming, Libipc};
use relay::tls::{Certificates, Client, ClientSettings, Speak, Terms};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::gateway::raw::{SHOP, connect, socks, websocket};
use crate::harness::{Harness, PATIENCE, echo};
use crate::schemes::{Authority, far, keys, web};

const WORDS: &[u8] = b"there and back";

/// A live connection to something that repeats.
enum Live {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
    Secured(relay::Stream),
}

impl Live {
    fn of(socket: Socket, descriptor: OwnedFd) -> Live {
        match socket {
            Socket::Tcp => Live::Tcp(descriptor.into()),
            Socket::Unix => Live::Unix(descriptor.into()),
            Socket::Udp => Live::Udp(descriptor.into()),
        }
    }

    /// It works, to begin with.
    async fn repeats(&mut self) {
        let mut heard = [0; WORDS.len()];
        match self {
            Live::Tcp(stream) => {
                stream.write_all(WORDS).unwrap();
                stream.read_exact(&mut heard).unwrap();
            }
            Live::Unix(stream) => {
                stream.write_all(WORDS).unwrap();
                stream.read_exact(&mut heard).unwrap();
            }
            Live::Udp(socket) => {
                socket.send(WORDS).unwrap();
                assert_eq!(socket.recv(&mut heard).unwrap(), WORDS.len());
            }
            Live::Secured(stream) => {
                stream.write_all(WORDS).await.unwrap();
                stream.read_exact(&mut heard).await.unwrap();
            }
        }
        assert_eq!(heard, WORDS);
    }

    /// Waits for its end, if it comes within `patience`.
    async fn ends_within(&mut self, patience: Duration) -> bool {
        let mut byte = [0];
        let heard = match self {
            Live::Tcp(stream) => {
                stream.set_read_timeout(Some(patience)).unwrap();
                stream.read(&mut byte)
            }
            Live::Unix(stream) => {
                stream.set_read_timeout(Some(patience)).unwrap();
                stream.read(&mut byte)
            }
            Live::Udp(socket) => {
                socket.set_read_timeout(Some(patience)).unwrap();
                socket.recv(&mut byte)
            }
            Live::Secured(stream) => {
                let late = |_| Err(ErrorKind::WouldBlock.into());
                tokio::time::timeout(patience, stream.read(&mut byte)).await.unwrap_or_else(late)
            }
        };
        match heard {
            // A WebSocket says goodbye first.
            Ok(read) => read == 0 || byte[0] == 0x88,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Repeats datagrams until it is told to stop by one.
fn echo_of_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
    address
}

/// What a WebSocket server was asked for; it fails once nobody listens to that.
type Asked = tokio::sync::mpsc::UnboundedReceiver<String>;

/// Everything that a connection may lead through.
struct Place {
    here: Harness,
    there: Harness,
    authority: Authority,
    key: String,
    gate: [SocketAddr; 2],
    ws: (u16, Asked),
    wss: (u16, Asked),
    datagrams: SocketAddr,
}

impl Place {
    async fn new() -> Place {
        let authority = Authority::new();
        let key = Key::generate().unwrap();
        let theirs = keys(&authority, "theirs", &[("web", &key)]);
        let there = far(&authority, |config| {
            config.keys = Some(theirs);
            config.incoming.clients = Some(authority.root());
        });
        let folder = authority.root().with_file_name("libipc");
        let config = Config {
            tls_ca: Some(authority.root()),
            certificate: Some(authority.vouch_for(&["here.test"])),
            libipc: Libipc { c: Some(folder), zig: None },
            incoming: Incoming { tcp: vec!["127.0.0.1:0".parse().unwrap()], ..Incoming::default() },
            ..Config::default()
        };
        let here = Harness::linked(config);
        here.register("echo", echo());
        here.rules(Mode::Enforce, &["allow any any"]);
        let certificates = vec![authority.vouch_for(&["echo.svc.internal"])];
        let gate = here.gateway(gateway::Config { certificates, ..gateway::Config::default() });
        let shown = Certificates::new();
        assert!(shown.use_files(&[authority.vouch_for(&["localhost"])]).is_empty());
        let ws = web(None).await;
        let wss = web(Some(Terms::default().config(&shown).unwrap())).await;
        let datagrams = echo_of_datagrams();
        Place { here, there, authority, key: key.reveal(), gate, ws, wss, datagrams }
    }

    /// What a program gets from the broker, and whether the daemon moves its bytes.
    fn asked(&self, name: &str) -> Live {
        let (reply, descriptor) = self.here.program().connect(name);
        let connected = reply.connected.unwrap_or_else(|| panic!("{name}: {:?}", reply.error));
        Live::of(connected.socket, descriptor.unwrap())
    }

    async fn through_tls(&self) -> Live {
        let settings =
            ClientSettings { ca: Some(self.authority.root()), certificate: None, key: None, name: None };
        let stream = tokio::net::TcpStream::connect(self.gate[1]).await.unwrap();
        let client = Client::new(&settings).unwrap();
        let secured = client.secure(stream.into(), "echo.svc.internal", Speak::Bytes).await;
        Live::Secured(secured.unwrap())
    }

    async fn open(&self, path: &str) -> Live {
        let [plain, _] = self.gate;
        let [tcp, tls] = self.there.addresses[..] else { panic!() };
        let key = &self.key;
        match path {
            "a service, handed over" => self.asked("echo"),
            "tcp, handed over" => self.asked(&format!("tcp://{}", self.here_echo())),
            "tcp with a service, handed over" => self.asked(&format!("tcp://{tcp}/echo")),
            "udp, handed over" => self.asked(&format!("udp://{}", self.datagrams)),
            "tls by a certificate" => self.asked(&format!("tls://localhost:{}/echo", tls.port())),
            "tls by a pre-shared key" => self.asked(&format!("tls://web:{key}@{tls}/echo")),
            "ws" => self.asked(&format!("ws://localhost:{}/echo", self.ws.0)),
            "wss" => self.asked(&format!("wss://localhost:{}/echo", self.wss.0)),
            "quic, the mesh" => self.asked("quic://here/echo"),
            "the gateway by CONNECT" => Live::Tcp(connect(plain, "echo:80", Some(SHOP)).1),
            "the gateway by SOCKS" => Live::Tcp(socks(plain, "echo", Some(("shop", "sesame"))).1),
            "the gateway by TLS" => self.through_tls().await,
            "tcpd's greeting, coming in" => {
                let mut stream = TcpStream::connect(self.here.addresses[0]).unwrap();
                stream.write_all(b"echo").unwrap();
                let mut ok = [0; 2];
                stream.read_exact(&mut ok).unwrap();
                assert_eq!(&ok, b"ok");
                Live::Tcp(stream)
            }
            other => panic!("{other}"),
        }
    }

    fn here_echo(&self) -> String {
        let told = self.here.program().connect("echo").0.connected.unwrap();
        told.to.to_string()
    }

    fn allow(&self) {
        self.here.rules(Mode::Enforce, &["allow any any"]);
    }

    fn deny(&self) -> Instant {
        let begun = Instant::now();
        self.here.rules(Mode::Enforce, &["deny any any"]);
        begun
    }
}

const HANDED: [&str; 4] =
    ["a service, handed over", "tcp, handed over", "tcp with a service, handed over", "udp, handed over"];
const MOVED: [&str; 9] = [
    "tls by a certificate",
    "tls by a pre-shared key",
    "ws",
    "wss",
    "quic, the mesh",
    "the gateway by CONNECT",
    "the gateway by SOCKS",
    "the gateway by TLS",
    "tcpd's greeting, coming in",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_ends_what_it_forbids_on_every_path() {
    let place = Place::new().await;
    let may = sys::host::may_end();
    if !may {
        println!("skipped: the kernel does not let this user end what was handed over");
    }
    let mut took = Vec::new();
    for path in MOVED.into_iter().chain(HANDED.into_iter().filter(|_| may)) {
        place.allow();
        let mut live = place.open(path).await;
        live.repeats().await;
        let begun = place.deny();
        assert!(live.ends_within(PATIENCE).await, "{path} goes on");
        took.push((path, begun.elapsed()));
    }
    place.allow();
    // Framed, so it is not asked to repeat.
    let shop = format!("Authorization: {SHOP}\r\n");
    let mut live = Live::Tcp(websocket(place.gate[0], "/echo", &shop).1);
    let begun = place.deny();
    assert!(live.ends_within(PATIENCE).await);
    took.push(("the gateway by WebSocket", begun.elapsed()));
    for (path, took) in &took {
        println!("cut after {:>6.1} ms: {path}", took.as_secs_f64() * 1e3);
    }
    let slow = took.iter().filter(|(_, took)| *took > Duration::from_millis(100)).count();
    println!("{} of {} within 100 ms", took.len() - slow, took.len());
    place.there.stop().await;
    place.here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_were_handed_over_end_with_one_rule_and_others_go_on() {
    if !sys::host::may_end() {
        return println!("skipped: the kernel does not let this user end what was handed over");
    }
    let harness = Harness::start();
    harness.register("echo", echo());
    harness.register("other", echo());
    harness.rules(Mode::Enforce, &["allow any any"]);
    let program = harness.program();
    let take = |name: &str| Live::of(Socket::Tcp, program.connect(name).1.unwrap());
    let mut forbidden: Vec<_> = (0..200).map(|_| take("echo")).collect();
    let mut allowed = take("other");
    // One that its program has closed already is no failure.
    drop(take("echo"));
    let begun = Instant::now();
    harness.rules(Mode::Enforce, &["deny any echo", "allow any any"]);
    for live in &mut forbidden {
        assert!(live.ends_within(PATIENCE).await);
    }
    println!("{} ended {:?} after the rule", forbidden.len(), begun.elapsed());
    allowed.repeats().await;
    crate::harness::eventually("they are counted", || harness.count("broker_revoked_total") >= 200);
    let refused = program.connect("echo").0.error.unwrap();
    assert_eq!(refused.kind, consul::broker::ProblemKind::Denied);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_end_goes_on_and_explain_says_so() {
    let place = Place::new().await;
    let folder = place.authority.root().with_file_name("libipc");
    let listener = UnixListener::bind(folder.join("local")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let mut unix = place.asked("local");
    let mut tcp = place.asked("echo");
    unix.repeats().await;
    let explain = |name: &str| {
        let request = Request::about(Operation::Explain, name);
        place.here.program().ask(&request).0.explanation.unwrap()
    };
    for (name, handed, ends) in [
        ("unix:///local".to_owned(), "unix", false),
        (format!("udp://{}", place.datagrams), "udp", false),
        (format!("tls://web:{}@example.com:9000/echo", place.key), "relayed", true),
        ("ws://example.com/echo".to_owned(), "relayed", true),
    ] {
        let told = explain(&name);
        assert_eq!(told["verdict"]["handed"], handed, "{told}");
        assert_eq!(told["verdict"]["ends_with_rules"], ends, "{told}");
        assert!(told["when_rules_change"].as_str().unwrap().contains("Unix socket"), "{told}");
        assert!(!told.to_string().contains(&place.key), "{told}");
    }
    assert_eq!(explain("echo")["verdict"]["endpoints"][0]["handed"], "tcp");
    place.deny();
    if sys::host::may_end() {
        assert!(tcp.ends_within(PATIENCE).await);
    }
    unix.repeats().await;
    assert_eq!(explain("echo")["verdict"]["allowed"], false);
    place.there.stop().await;
    place.here.stop().await;
}
