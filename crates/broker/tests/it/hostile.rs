//! Programs that mean no good, and the others beside them.

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use consul::broker::{LONGEST, Operation, ProblemKind, Request};
use portolan_broker::Config;
use sys::pass::Passing as _;

use crate::harness::{Harness, echo, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_places_and_is_told() {
    let harness = Harness::with(
        Config { max_connections_per_user: 2, ..Config::default() },
        std::sync::Arc::new(relay::TcpDial),
    );
    harness.register("web", echo());
    let first = harness.program();
    assert!(first.connect("web").1.is_some());
    let second = harness.program();
    assert!(second.connect("web").1.is_some());
    let third = harness.program();
    let problem = third.hear().unwrap().0.error.unwrap();
    assert_eq!(problem.kind, ProblemKind::Busy);
    assert!(third.hear().is_none(), "and shown out");
    drop(first);
    eventually("a place is free", || {
        let program = harness.program();
        // Shown out, it may not even be able to ask.
        let request = serde_json::to_vec(&Request::about(Operation::Connect, "web")).unwrap();
        program.0.send(&request, &[]).is_ok()
            && program.hear().is_some_and(|(reply, _)| reply.error.is_none())
    });
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_replies_delays_nobody_and_is_let_go() {
    let reply_timeout = std::time::Duration::from_millis(300);
    let harness =
        Harness::with(Config { reply_timeout, ..Config::default() }, std::sync::Arc::new(relay::TcpDial));
    harness.register("web", echo());
    let sulking = harness.program();
    sys::pass::set_blocking(sulking.0.as_fd(), false).unwrap();
    let request = serde_json::to_vec(&Request::about(Operation::Explain, "web")).unwrap();
    let mut said = 0;
    while sulking.0.send(&request, &[]).is_ok() {
        said += 1;
        assert!(said < 1_000_000, "requests are taken without end");
    }
    let other = harness.program();
    for _ in 0..20 {
        assert!(other.connect("web").1.is_some());
    }
    eventually("the one who does not read is let go", || harness.count("broker_callers") == 1);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_that_nobody_asked_for_are_closed() {
    let harness = Harness::start();
    harness.register("web", echo());
    let program = harness.program();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let request = serde_json::to_vec(&Request::about(Operation::Connect, "web")).unwrap();
    program.0.send(&request, &[writer.as_fd(), writer.as_fd()]).unwrap();
    let problem = program.hear().unwrap().0.error.unwrap();
    assert!(problem.message.contains("takes none"), "{problem}");
    program.0.send(b"not even a request", &[writer.as_fd()]).unwrap();
    assert_eq!(program.hear().unwrap().0.error.unwrap().kind, ProblemKind::Malformed);
    drop(OwnedFd::from(writer));
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the broker kept one");
    assert!(program.connect("web").1.is_some(), "the next request is good");
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_cannot_be_meant_are_answered() {
    let harness = Harness::start();
    let program = harness.program();
    for bytes in [&b"{"[..], b"null", b"[]", b"\0\0\0\0", br#"{"v":1}"#, br#"{"v":-1,"op":"list"}"#] {
        assert_eq!(program.say(bytes).0.error.unwrap().kind, ProblemKind::Malformed);
    }
    assert_eq!(program.say(br#"{"v":9,"op":"list"}"#).0.error.unwrap().kind, ProblemKind::Version);
    let long = vec![b' '; LONGEST + 1];
    let problem = program.say(&long).0.error.unwrap();
    assert!(problem.message.contains("65536"), "{problem}");
    assert!(program.hear().is_none(), "what does not fit ends the conversation");
    let gone = harness.program();
    gone.0.send(br#"{"v":1,"op":"list"}"#, &[]).unwrap();
    drop(gone);
    eventually("those who vanish are forgotten", || harness.count("broker_callers") == 0);
    harness.stop().await;
}
