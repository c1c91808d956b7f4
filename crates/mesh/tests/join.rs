//! Joining: before a node has a certificate.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Authority, Node, config, until};
use portolan_mesh::join::{self, JoinError};
use portolan_mesh::{Config, KeyHash, Limits};

#[tokio::test]
async fn the_server_is_known_by_the_roots_hash_before_anything_is_said() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    a.mesh.on_join(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            if request.bytes == b"secret" { Ok(b"welcome".to_vec()) } else { Err("no such token".to_owned()) }
        }
    });
    let addresses = ["127.0.0.1:1".to_owned(), a.address.to_string()];
    let reply = join::call(&addresses[1..], authority.root_hash(), b"secret").await.unwrap();
    assert_eq!(reply, b"welcome");
    let refusal = join::call(&addresses[1..], authority.root_hash(), b"guess").await.unwrap_err();
    assert!(matches!(&refusal, JoinError::Refused { reason, .. } if reason == "no such token"), "{refusal}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // Another cluster's token, and a hash of a key in the chain that is not the root's.
    let leaf = authority.node("x");
    for wrong in [Authority::new().root_hash(), KeyHash::of_public_key(b""), leaf.hash] {
        let refusal = join::call(&addresses[1..], wrong, b"secret").await.unwrap_err();
        assert!(matches!(&refusal, JoinError::Unreachable(tries) if tries[0].contains("not of the cluster")));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "nothing was said to a server that is not the one");
}

#[tokio::test]
async fn a_node_that_admits_nobody_says_so_and_another_authority_is_not_asked() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let refusal = join::call(&[a.address.to_string()], authority.root_hash(), b"x").await.unwrap_err();
    assert!(refusal.to_string().contains("admits nobody"), "{refusal}");
    assert!(a.mesh.links().now().0.is_empty(), "who joins is no peer");
}

#[tokio::test]
async fn joins_have_a_rate() {
    let authority = Authority::new();
    let limits = Limits { joins: 3, ..Limits::default() };
    let a = Node::start_with(Config { limits, ..config() }, authority.trust(&authority.node("a")));
    a.mesh.on_join(|_| async { Ok(Vec::new()) });
    let mut limited = false;
    for _ in 0..100 {
        let called = join::call(&[a.address.to_string()], authority.root_hash(), b"").await;
        limited |= called.is_err_and(|error| error.to_string().contains("too many nodes join at once"));
        if limited {
            break;
        }
    }
    assert!(limited);
    let done = Arc::new(AtomicUsize::new(0));
    let (address, hash, count) = (a.address.to_string(), authority.root_hash(), done.clone());
    tokio::spawn(async move {
        while join::call(std::slice::from_ref(&address), hash, b"").await.is_err() {}
        count.store(1, Ordering::SeqCst);
    });
    until("a moment later it is taken", || done.load(Ordering::SeqCst) == 1).await;
}
