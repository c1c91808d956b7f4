//! Services that programs offer by a socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use consul::broker::{Operation, ProblemKind, Request, Socket};
use portolan_broker::Config;
use sys::pass::{Kind, Passing as _};

use crate::harness::{Harness, NODE, PATIENCE, Program, eventually};

fn offer(name: &str) -> Request {
    Request::about(Operation::Offer, name)
}

/// Repeats what the first connection says.
fn repeat(mut stream: impl Read + Write + Send + 'static) {
    thread::spawn(move || {
        let mut heard = [0; 5];
        while stream.read_exact(&mut heard).is_ok() && stream.write_all(&heard).is_ok() {}
    });
}

fn hears_itself(mut stream: impl Read + Write) {
    stream.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}

/// A connection by name, once the name is known.
fn connection(harness: &Harness, name: &str) -> (OwnedFd, Socket, bool) {
    let program = harness.program();
    let mut found = None;
    eventually("the service is known", || {
        let (reply, descriptor) = program.connect(name);
        found = reply.connected.zip(descriptor);
        found.is_some()
    });
    let (connected, descriptor) = found.unwrap();
    (descriptor, connected.socket, connected.relayed)
}

fn is_withdrawn(harness: &Harness, name: &str) {
    let program = harness.program();
    eventually("the service is withdrawn", || {
        program.connect(name).0.error.is_some_and(|problem| problem.kind == ProblemKind::Unknown)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_tcp_socket_and_one_that_is_made_are_services_while_their_program_stays() {
    let (harness, _store) = Harness::offering(Config::default()).await;
    let program = harness.program();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reply, descriptor) = program.hand(&offer("own"), &[own.as_fd()]);
    assert!(descriptor.is_none() && &*reply.offered.unwrap().service == "own");
    let (reply, descriptor) = program.hand(&offer("made"), &[]);
    assert_eq!(&*reply.offered.unwrap().service, "made");
    let made = TcpListener::from(descriptor.unwrap());
    for (name, listener) in [("own", own), ("made", made)] {
        let (connection, socket, relayed) = connection(&harness, name);
        assert_eq!((socket, relayed), (Socket::Tcp, false));
        repeat(listener.accept().unwrap().0);
        hears_itself(TcpStream::from(connection));
    }
    drop(program);
    is_withdrawn(&harness, "own");
    is_withdrawn(&harness, "made");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_handed_on_here_and_has_a_port_for_everybody_else() {
    let (harness, store) = Harness::offering(Config::default()).await;
    let program = harness.program();
    let listener = UnixListener::bind(harness.folder.path().join("service.sock")).unwrap();
    let request = Request { id: Some("mine".to_owned()), ..offer("local") };
    let (reply, _) = program.hand(&request, &[listener.as_fd()]);
    assert_eq!(&*reply.offered.unwrap().instance, "mine");
    thread::spawn(move || listener.incoming().flatten().for_each(repeat));
    let (connection, socket, relayed) = connection(&harness, "local");
    assert_eq!((socket, relayed), (Socket::Unix, false));
    hears_itself(UnixStream::from(connection));
    let port = store.now().instance(NODE, "mine").unwrap().def.port;
    hears_itself(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let (again, _) = program.hand(&request, &[]);
    assert!(again.error.unwrap().message.contains("already"));
    drop(program);
    is_withdrawn(&harness, "local");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "its port is closed");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_sent_over_a_connected_socket_until_it_is_closed() {
    let (harness, _store) = Harness::offering(Config::default()).await;
    let program = harness.program();
    let (ours, theirs) = sys::pass::pair(Kind::Packets).unwrap();
    sys::pass::set_blocking(ours.as_fd(), true).unwrap();
    sys::pass::set_receive_timeout(&ours, PATIENCE).unwrap();
    let (reply, _) = program.hand(&offer("channel"), &[theirs.as_fd()]);
    assert!(reply.offered.is_some(), "{reply:?}");
    drop(theirs);
    let (connection, socket, relayed) = connection(&harness, "channel");
    assert_eq!((socket, relayed), (Socket::Unix, false));
    let packet = ours.receive(&mut [0; 8]).unwrap();
    assert_eq!((packet.length, packet.descriptors.len()), (1, 1));
    repeat(UnixStream::from(packet.descriptors.into_iter().next().unwrap()));
    hears_itself(UnixStream::from(connection));
    drop(ours);
    is_withdrawn(&harness, "channel");
    harness.stop().await;
}

/// A listening socket of another process's.
struct Stranger(std::process::Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_lends_no_way_to_a_socket_of_somebody_else() {
    let (harness, _store) = Harness::offering(Config::default()).await;
    let program = harness.program();
    let path = harness.folder.path().join("service.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (reply, _) = program.hand(&offer("local"), &[listener.as_fd()]);
    assert!(reply.offered.is_some(), "{reply:?}");
    connection(&harness, "local");
    // As in a folder tree of its own, where a program may call its socket what it likes.
    std::fs::remove_file(&path).unwrap();
    let script =
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); s.accept()";
    let mut command = std::process::Command::new("python3");
    let Ok(child) = command.args(["-c", script]).arg(&path).spawn() else {
        harness.stop().await;
        return println!("skipped: no python3");
    };
    let _stranger = Stranger(child);
    eventually("somebody else listens there", || {
        let (reply, descriptor) = program.connect("local");
        assert!(descriptor.is_none());
        reply.error.unwrap().message.contains("another socket")
    });
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_service_can_be_offered_by_is_refused_and_nobody_offers_without_end() {
    let (harness, _store) = Harness::offering(Config { max_offers_per_user: 3, ..Config::default() }).await;
    let program: Program = harness.program();
    let file = std::fs::File::open("/dev/null").unwrap();
    let (one, _other) = std::io::pipe().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let packets = sys::pass::listen_seqpacket(&harness.folder.path().join("packets"), 0o600).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (name, given) in [
        ("pong", &[file.as_fd()][..]),
        ("pong", &[one.as_fd()]),
        ("pong", &[datagrams.as_fd()]),
        ("pong", &[packets.as_fd()]),
        ("pong", &[listener.as_fd(), listener.as_fd()]),
        ("po/ng", &[listener.as_fd()]),
        ("", &[listener.as_fd()]),
    ] {
        let (reply, _) = program.hand(&offer(name), given);
        assert_eq!(reply.error.unwrap().kind, ProblemKind::Malformed, "{name} {given:?}");
    }
    let kinds: Vec<_> = (0..4).map(|_| program.hand(&offer("pong"), &[]).0.error.map(|p| p.kind)).collect();
    assert_eq!(kinds, [None, None, None, Some(ProblemKind::Busy)]);
    harness.stop().await;
}
