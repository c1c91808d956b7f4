//! Channels: frames in order, sessions told in order, on links that come and go.

mod common;

use bytes::Bytes;
use common::{Authority, Node, config, linked, until};
use portolan_mesh::{Channel, ChannelEvent, Kind, Lane};
use tokio::sync::mpsc;

const LOG: Kind = Kind::of("log");
const LANES: [Lane; 2] = [Lane::Control, Lane::Data];

type Events = mpsc::Receiver<ChannelEvent>;

fn channel(node: &Node) -> (Channel, Events) {
    node.mesh.channel(LOG, &LANES, 64 << 20)
}

#[allow(clippy::panic, clippy::unwrap_used, reason = "helper of tests")]
async fn event(events: &mut Events) -> ChannelEvent {
    let wait = std::time::Duration::from_secs(20);
    match tokio::time::timeout(wait, events.recv()).await {
        Ok(event) => event.unwrap(),
        Err(_) => panic!("no event came"),
    }
}

#[allow(clippy::panic, reason = "helper of tests")]
async fn up(events: &mut Events, from: &str) -> u64 {
    match event(events).await {
        ChannelEvent::Up { peer, session } if peer == from => session,
        other => panic!("{other:?} and not up"),
    }
}

#[allow(clippy::panic, reason = "helper of tests")]
async fn down(events: &mut Events, number: u64) {
    loop {
        match event(events).await {
            ChannelEvent::Down { session, .. } if session == number => return,
            ChannelEvent::Frame { session, .. } if session == number => {}
            other => panic!("{other:?} and not down"),
        }
    }
}

fn numbered(number: u32, length: usize) -> Bytes {
    let mut frame = number.to_be_bytes().to_vec();
    frame.resize(length.max(4), 7);
    frame.into()
}

#[tokio::test]
async fn frames_arrive_in_order_on_each_lane_and_whole() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    let ((to_b, mut at_a), (to_a, mut at_b)) = (channel(&a), channel(&b));
    a.dial(&[&b]);
    let (session_a, session_b) = (up(&mut at_a, "b").await, up(&mut at_b, "a").await);
    let lengths = [4, 100, 70_000, 4, 2_000_000, 65_532, 4];
    for number in 0..700 {
        let length = if number % 100 == 4 { 2_000_000 } else { lengths[number as usize % 7].min(70_000) };
        to_b.send("b", session_a, number as usize % 2, numbered(number, length)).unwrap();
    }
    to_a.send("a", session_b, 1, Bytes::from_static(b"back")).unwrap();
    let mut next = [0, 1];
    while next != [700, 701] {
        let ChannelEvent::Frame { peer, session, lane, frame } = event(&mut at_b).await else { panic!() };
        assert_eq!((peer.as_str(), session), ("a", session_b));
        assert_eq!(frame[..4], u32::to_be_bytes(next[lane]));
        next[lane] += 2;
    }
    let back = event(&mut at_a).await;
    let frame = Bytes::from_static(b"back");
    assert_eq!(back, ChannelEvent::Frame { peer: "b".into(), session: session_a, lane: 1, frame });
}

#[tokio::test]
async fn a_reset_ends_the_session_on_both_sides_and_a_new_one_begins() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    let ((to_b, mut at_a), (to_a, mut at_b)) = (channel(&a), channel(&b));
    b.dial(&[&a]);
    let (mut session_a, mut session_b) = (up(&mut at_a, "b").await, up(&mut at_b, "a").await);
    for round in 0..20 {
        to_b.send("b", session_a, 0, numbered(1, 4)).unwrap();
        if round % 2 == 0 {
            to_b.reset("b", session_a)
        } else {
            to_a.reset("a", session_b)
        }
        down(&mut at_a, session_a).await;
        down(&mut at_b, session_b).await;
        assert!(to_b.send("b", session_a, 0, numbered(1, 4)).is_err());
        let (later_a, later_b) = (up(&mut at_a, "b").await, up(&mut at_b, "a").await);
        assert!(later_a > session_a && later_b > session_b);
        (session_a, session_b) = (later_a, later_b);
    }
    assert_eq!((a.session("b"), b.session("a")), (Some(1), Some(1)), "the link itself was never cut");
}

#[tokio::test]
async fn a_peer_that_starts_again_is_linked_again_and_told_so() {
    let authority = Authority::new();
    let identity = authority.node("b");
    let a = Node::start(authority.trust(&authority.node("a")));
    let mut b = Node::start(authority.trust(&identity));
    let (_to_b, mut at_a) = channel(&a);
    let address = b.address;
    for round in 0..5 {
        let (_to_a, mut at_b) = channel(&b);
        a.dial(&[&b]);
        let session = up(&mut at_a, "b").await;
        up(&mut at_b, "a").await;
        if round % 2 == 0 {
            b.mesh.close(std::time::Duration::from_secs(1)).await;
        }
        drop(b);
        down(&mut at_a, session).await;
        let again = portolan_mesh::Config { listen: address, ..config() };
        let mut started = None;
        until("its port is free again", || {
            started = Node::try_start(again.clone(), authority.trust(&identity));
            started.is_some()
        })
        .await;
        b = started.unwrap();
        // Sometimes the one that comes back dials, too.
        if round == 3 {
            b.dial(&[&a]);
        }
    }
}

#[tokio::test]
async fn both_dial_at_once_and_one_link_stays() {
    let authority = Authority::new();
    let (first, second) = (authority.node("a"), authority.node("b"));
    for _ in 0..100 {
        let a = Node::start(authority.trust(&first));
        let b = Node::start(authority.trust(&second));
        let ((to_b, mut at_a), (_, mut at_b)) = (channel(&a), channel(&b));
        a.dial(&[&b]);
        b.dial(&[&a]);
        linked(&a, &b).await;
        // Both agree on the link that stays: what is sent on the last session arrives.
        let mut session = up(&mut at_a, "b").await;
        let _ = to_b.send("b", session, 0, numbered(9, 4));
        loop {
            tokio::select! {
                event = event(&mut at_b) => if matches!(event, ChannelEvent::Frame { .. }) { break },
                event = event(&mut at_a) => if let ChannelEvent::Up { session: newer, .. } = event {
                    assert!(newer > session);
                    session = newer;
                    let _ = to_b.send("b", session, 0, numbered(9, 4));
                },
            }
        }
        let connections = |node: &Node| node.session("a").or(node.session("b")).unwrap();
        assert!(connections(&a) <= 3 && connections(&b) <= 3, "they settled at once");
        let dialled =
            |node: &Node, peer: &str| node.mesh.links().now().0[peer].up.as_ref().map(|up| up.dialled);
        until(
            "one side dialled it",
            || matches!((dialled(&a, "b"), dialled(&b, "a")), (Some(one), Some(other)) if one != other),
        )
        .await;
    }
}

#[tokio::test]
async fn a_slow_receiver_costs_bounded_memory_and_then_the_session() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    let (to_b, mut at_a) = a.mesh.channel(LOG, &LANES, 4 << 20);
    let (_to_a, mut at_b) = channel(&b);
    a.dial(&[&b]);
    let session = up(&mut at_a, "b").await;
    let session_b = up(&mut at_b, "a").await;
    // Nobody reads at b: windows and queues fill, then the session is given up.
    let frame = numbered(0, 64 << 10);
    let mut accepted = 0;
    while to_b.send("b", session, 0, frame.clone()).is_ok() {
        accepted += frame.len();
        assert!(accepted < 256 << 20, "a queue grows without bound");
        tokio::task::yield_now().await;
    }
    down(&mut at_a, session).await;
    // As soon as it listens again, it is told the end of one session and the beginning of the next.
    down(&mut at_b, session_b).await;
    assert!(up(&mut at_b, "a").await > session_b);
    assert!(up(&mut at_a, "b").await > session);
}
