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

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_lookups_of_one_program_delay_no_other() {
    const MANY: usize = 10_000;
    let harness = Harness::start();
    // With room for all who wait to be accepted: a service that is too slow is another matter.
    let service = sys::listen::tcp(([127, 0, 0, 1], 0).into(), sys::listen::Sharing::Exclusive).unwrap();
    service.set_nonblocking(false).unwrap();
    harness.register("web", service.local_addr().unwrap());
    std::thread::spawn(move || service.incoming().for_each(drop));
    let done = std::sync::atomic::AtomicUsize::new(0);
    let (greedy, modest) = (harness.program(), harness.program());
    let request = serde_json::to_vec(&Request::about(Operation::Connect, "web")).unwrap();
    let slowest = std::thread::scope(|scope| {
        scope.spawn(|| {
            // As many under way as the sockets take: it asks without waiting for answers.
            scope.spawn(|| (0..MANY).for_each(|_| assert!(greedy.0.send(&request, &[]).is_ok())));
            for _ in 0..MANY {
                assert!(greedy.hear().unwrap().1.is_some());
                done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        eventually("it has begun", || done.load(std::sync::atomic::Ordering::Relaxed) > 100);
        let mut slowest = std::time::Duration::ZERO;
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            assert!(modest.connect("web").1.is_some());
            slowest = slowest.max(begun.elapsed());
        }
        let then = done.load(std::sync::atomic::Ordering::Relaxed);
        assert!(then < MANY, "the other one had to wait for all {MANY}");
        println!(
            "beside {MANY} lookups, of which {then} were done, another program's 20 took {slowest:?} at most"
        );
        slowest
    });
    assert!(slowest < crate::harness::PATIENCE);
    harness.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_uris_that_mean_no_good_lead_nowhere() {
    let harness = Harness::start();
    let program = harness.program();
    for name in [
        "$(reboot)",
        "; rm -rf /",
        "`id`",
        "tcp://",
        "tcp://host",
        "tcp://:80",
        "tcp://a b:80",
        "tcp://host:99999",
        "tcp://host:80/a/b",
        "tcp://host:80/../b",
        "tcp://$(id):80",
        "unix://../../etc/passwd",
        "unix:///../broker.sock",
        "ws://host/\u{7f}",
        "://",
        "a://b://c",
    ] {
        let (reply, descriptor) = program.connect(name);
        let problem = reply.error.unwrap_or_else(|| panic!("{name} leads somewhere"));
        assert!(descriptor.is_none());
        assert!(!matches!(problem.kind, ProblemKind::Internal | ProblemKind::Denied), "{name}: {problem}");
    }
    assert_eq!(harness.count("broker_handed_over_total"), 0);
    harness.stop().await;
}
