//! Asking for a service and getting a connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use consul::broker::{Operation, ProblemKind, Request, Socket};
use portolan_broker::Config;

use crate::harness::{Harness, echo};

const WORDS: &str = "through the descriptor that was handed over";

fn say_and_hear(mut stream: impl std::io::Read + std::io::Write, end: impl FnOnce()) {
    stream.write_all(WORDS.as_bytes()).unwrap();
    end();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, WORDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_service_is_handed_over_and_the_daemon_is_out_of_the_path() {
    let harness = Harness::start();
    let address = echo();
    harness.register("web", address);
    let (reply, descriptor) = harness.program().connect("web");
    let connected = reply.connected.unwrap();
    assert_eq!((connected.socket, connected.relayed), (Socket::Tcp, false));
    assert_eq!(
        (&*connected.service, &*connected.node, &*connected.to),
        ("web", "here", &*address.to_string())
    );
    let stream = TcpStream::from(descriptor.unwrap());
    assert_eq!(stream.peer_addr().unwrap(), address);
    // The daemon and all that it holds may go.
    harness.stop().await;
    say_and_hear(&stream, || stream.shutdown(std::net::Shutdown::Write).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_socket_is_relayed_through_a_pair() {
    let harness = Harness::relaying(Config::default());
    harness.register("far", echo());
    let program = harness.program();
    let (reply, descriptor) = program.connect("far");
    let connected = reply.connected.unwrap();
    assert_eq!((connected.socket, connected.relayed), (Socket::Unix, true));
    let stream = UnixStream::from(descriptor.unwrap());
    drop(program);
    say_and_hear(&stream, || stream.shutdown(std::net::Shutdown::Write).unwrap());
    crate::harness::eventually("the relay ends", || harness.count("broker_relayed") == 0);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_connection_is_cut_when_the_node_goes() {
    let harness = Harness::relaying(Config::default());
    harness.register("far", echo());
    let mut stream = UnixStream::from(harness.program().connect("far").1.unwrap());
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    harness.stop().await;
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_why() {
    let harness = Harness::start();
    let program = harness.program();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    harness.register("gone", nobody);
    for (name, kind, words) in [
        ("nobody", ProblemKind::Unknown, "no service named \"nobody\""),
        ("gone", ProblemKind::Unreachable, "refused"),
        ("", ProblemKind::Malformed, "`name` is missing"),
        ("a\nb", ProblemKind::Malformed, "control characters"),
        ("a\0b", ProblemKind::Malformed, "control characters"),
        (&"x".repeat(5000), ProblemKind::Malformed, "longer"),
        ("../../etc/passwd", ProblemKind::Unknown, "no service"),
    ] {
        let (reply, descriptor) = program.connect(name);
        let problem = reply.error.unwrap();
        assert_eq!(problem.kind, kind, "{problem}");
        assert!(problem.message.contains(words), "{problem}");
        assert!(descriptor.is_none());
    }
    assert_eq!(harness.count("broker_refusals_total{reason=\"malformed\"}"), 4);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_listed_in_pages_and_explained() {
    let harness = Harness::start();
    let address = echo();
    let long = "n".repeat(50);
    for number in 0..500 {
        harness.register(&format!("s{number:03}-{long}"), address);
    }
    let program = harness.program();
    let mut seen: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let request = Request { after: seen.last().cloned(), ..Request::new(Operation::List) };
        let listing = program.ask(&request).0.listing.unwrap();
        seen.extend(listing.services.iter().map(|listed| listed.name.to_string()));
        pages += 1;
        if !listing.more {
            break;
        }
    }
    assert!(pages > 1 && seen.len() == 500 && seen.is_sorted(), "{pages} pages, {} names", seen.len());
    let explanation = program.ask(&Request::about(Operation::Explain, &seen[7])).0.explanation.unwrap();
    assert_eq!(explanation["verdict"]["allowed"], true);
    assert_eq!(explanation["principal"]["local"]["uid"], rustix::process::geteuid().as_raw());
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_lookups_leave_nothing_open() {
    let harness = Harness::start();
    harness.register("web", echo());
    let program = harness.program();
    let handed: Vec<OwnedFd> = (0..50).map(|_| program.connect("web").1.unwrap()).collect();
    assert_eq!(handed.len(), 50);
    drop(handed);
    for _ in 0..500 {
        assert!(program.connect("web").1.is_some());
    }
    assert_eq!(harness.count("broker_handed_over_total"), 550);
    harness.stop().await;
}
