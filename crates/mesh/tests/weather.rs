//! Other versions, moved addresses, garbage and floods.

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::{Authority, Node, ask, config, echo, linked, until};
use portolan_mesh::{Config, Lane, Limits, Peers, Speaks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn speaking(oldest: u16, newest: u16, feature_level: u32) -> Config {
    Config { speaks: Speaks { oldest, newest, feature_level }, ..config() }
}

#[tokio::test]
async fn a_node_one_version_older_works_and_says_so() {
    let authority = Authority::new();
    let old = Node::start_with(speaking(1, 1, 4), authority.trust(&authority.node("old")));
    let new = Node::start_with(speaking(1, 2, 9), authority.trust(&authority.node("new")));
    old.dial(&[&new]);
    linked(&old, &new).await;
    let up = |node: &Node, peer: &str| node.mesh.links().now().0[peer].up.clone().unwrap();
    let (at_old, at_new) = (up(&old, "new"), up(&new, "old"));
    assert_eq!((at_old.version, at_old.feature_level), (1, 9));
    assert_eq!((at_new.version, at_new.feature_level), (1, 4));
}

#[tokio::test]
async fn versions_that_do_not_meet_are_told_to_both_sides() {
    let authority = Authority::new();
    let old = Node::start_with(speaking(1, 1, 1), authority.trust(&authority.node("old")));
    let new = Node::start_with(speaking(3, 4, 1), authority.trust(&authority.node("new")));
    new.dial(&[&old]);
    let told = |node: &Node, peer: &str| {
        let error = node.error(peer);
        error.contains("no common wire version") && error.contains("1 to 1") && error.contains("3 to 4")
    };
    until("both know", || told(&old, "new") && told(&new, "old")).await;
    assert!(new.session("old").is_none() && old.session("new").is_none());
}

#[tokio::test]
async fn a_link_follows_its_node_to_another_address() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    echo(&a);
    echo(&b);
    b.dial(&[&a]);
    linked(&a, &b).await;
    b.mesh.rebind("127.0.0.1:0".parse().unwrap()).unwrap();
    let moved = b.mesh.local_addr().unwrap();
    assert_ne!(moved, b.address);
    assert_eq!(ask(&b, "a", Lane::Control).await, "b by Control: hello");
    let address = |node: &Node| node.mesh.links().now().0["b"].up.as_ref().map(|up| up.address);
    until("a sees where it is now", || address(&a) == Some(moved)).await;
    assert_eq!((a.session("b"), b.session("a")), (Some(1), Some(1)), "the link was not cut");
    assert_eq!(ask(&a, "b", Lane::Data).await, "a by Data: hello", "dialled at the new address");
}

#[tokio::test]
async fn a_peer_that_moved_is_found_at_its_new_address() {
    let authority = Authority::new();
    let identity = authority.node("b");
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&identity));
    a.dial(&[&b]);
    linked(&a, &b).await;
    b.mesh.close(Duration::from_secs(1)).await;
    until("it is gone, and why is known", || a.session("b").is_none() && !a.error("b").is_empty()).await;
    let elsewhere = Node::start(authority.trust(&identity));
    // The first address is a name that does not resolve, the second is stale.
    let addresses =
        ["no-such-host.invalid:1".to_owned(), b.address.to_string(), elsewhere.address.to_string()];
    a.peers.publish(Peers::of([("b", addresses)]));
    linked(&a, &elsewhere).await;
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    echo(&a);
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut garbage = move |count: usize| {
        for _ in 0..count {
            let mut packet: Vec<u8> = (0..random.usize(0..1400)).map(|_| random.u8(..)).collect();
            if let Some(first) = packet.first_mut().filter(|_| random.bool()) {
                *first |= 0xc0; // a long header, as an Initial has
            }
            if packet.len() > 5 && random.bool() {
                packet[1..5].copy_from_slice(&[0, 0, 0, 1]);
            }
            let _ = noise.send_to(&packet, a.address);
        }
    };
    garbage(2000);
    b.dial(&[&a]);
    linked(&a, &b).await;
    garbage(2000);
    assert_eq!(ask(&b, "a", Lane::Control).await, "b by Control: hello");
    // By TCP: bytes that are no TLS, and silence.
    let mut tcp = tokio::net::TcpStream::connect(a.address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let _silent = tokio::net::TcpStream::connect(a.address).await.unwrap();
    assert_eq!(ask(&b, "a", Lane::Bulk).await, "b by Bulk: hello");
}

#[tokio::test]
async fn a_flood_of_handshakes_leaves_room_for_others() {
    let authority = Authority::new();
    let limits = Limits { handshakes_in_flight: 4, handshakes_per_source: 1000, ..Limits::default() };
    let a = Node::start_with(Config { limits, ..config() }, authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    // Strangers that begin and never go on: a recorded first packet, sent again and again (which is a replay, too).
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let c = Node::start(authority.trust(&authority.node("c")));
    c.peers.publish(Peers::of([("a", [listener.local_addr().unwrap().to_string()])]));
    let initial = tokio::task::spawn_blocking(move || {
        let mut packet = vec![0; 2000];
        let (length, _) = listener.recv_from(&mut packet).unwrap();
        packet.truncate(length);
        packet
    });
    let mut initial = initial.await.unwrap();
    assert!(initial.len() >= 1200);
    for at in 0..200u8 {
        // Replayed as it was, and with other connection ids.
        initial[6] = initial[6].wrapping_add(at % 2);
        let _ = silent.send_to(&initial, a.address);
    }
    b.dial(&[&a]);
    linked(&a, &b).await;
    assert!(a.session("c").is_none());
}
