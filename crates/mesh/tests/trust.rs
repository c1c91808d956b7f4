//! Who gets in, who does not, who is put out again, and what both sides are told.

mod common;

use std::time::{Duration, SystemTime};

use common::{Authority, DOMAIN, Identity, Leaf, Node, ask, config, echo, linked, until};
use portolan_mesh::{Lane, Naming, Peers, Trust, TrustError};

/// A node "a" of `authority`, and one with `other` that dials it: what "other" is told.
#[allow(clippy::unwrap_used, reason = "helper of tests")]
async fn refused(authority: &Authority, other: Trust) -> String {
    let a = Node::start(authority.trust(&authority.node("a")));
    let other = Node::start(other);
    other.dial(&[&a]);
    until("the dial fails", || !other.error("a").is_empty()).await;
    let name = other.mesh.name();
    assert!(other.session("a").is_none() && a.session(&name).is_none());
    other.error("a")
}

/// A trust that is not checked when it is made: its names are another domain's.
#[allow(clippy::unwrap_used, reason = "helper of tests")]
fn as_it_is(identity: &Identity, naming: Naming, root: &Authority) -> Trust {
    Trust::new(naming, identity.chain.clone(), &identity.key, std::slice::from_ref(&root.root)).unwrap()
}

#[tokio::test]
async fn another_authority_is_not_believed_by_either_side() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let error = refused(&ours, theirs.trust(&theirs.node("b"))).await;
    assert!(error.contains("no root of this cluster signed it"), "{error}");
    // It believes us, we do not believe it.
    let stranger = as_it_is(&theirs.node("b"), Naming::Spiffe { domain: DOMAIN.into() }, &ours);
    let error = refused(&ours, stranger).await;
    assert!(error.contains("no root of that cluster signed its certificate"), "{error}");
}

#[tokio::test]
async fn certificates_out_of_their_time_do_not_count() {
    let authority = Authority::new();
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let expired = Leaf { from: now - 48 * hour, until: now - hour, ..Leaf::node("b") };
    let early = Leaf { from: now + hour, until: now + 24 * hour, ..Leaf::node("b") };
    for leaf in [expired.clone(), early] {
        let error = refused(&authority, authority.trust(&authority.issue(&leaf))).await;
        assert!(error.contains("its certificate is "), "{error}");
    }
    // As seen by the dialler, with the reason.
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.issue(&expired)));
    a.dial(&[&b]);
    until("the dial fails", || a.error("b").contains("it ran out 36")).await;
}

#[tokio::test]
async fn a_node_answers_to_its_own_name_only() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let c = Node::start(authority.trust(&authority.node("c")));
    // "b" is said to live where c does.
    a.peers.publish(Peers::of([("b", [c.address.to_string()])]));
    until("the dial fails", || a.error("b").contains("its certificate is for \"c\", not for \"b\"")).await;
    assert!(a.session("b").is_none() && a.session("c").is_none());
}

#[tokio::test]
async fn two_nodes_of_one_name_are_told_so() {
    let authority = Authority::new();
    let first = Node::start(authority.trust(&authority.node("a")));
    let second = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    // A node does not dial its own name; another that is fooled about the address gets the link of that name.
    second.dial(&[&first]);
    b.dial(&[&second]);
    linked(&b, &second).await;
    assert!(first.mesh.links().now().0.is_empty());
}

#[tokio::test]
async fn a_certificate_with_two_uri_names_is_none() {
    let authority = Authority::new();
    let uris = vec![format!("spiffe://{DOMAIN}/node/b"), format!("spiffe://{DOMAIN}/node/c")];
    let two = authority.issue(&Leaf { uris, dns: vec!["b.example".into()], ..Leaf::node("b") });
    let naming = Naming::Spiffe { domain: DOMAIN.into() };
    let roots = std::slice::from_ref(&authority.root);
    let own = Trust::new(naming, two.chain.clone(), &two.key, roots);
    assert!(matches!(own, Err(TrustError::Name(_))), "its own node does not start with it");
    let error = refused(&authority, as_it_is(&two, Naming::Dns, &authority)).await;
    assert!(!error.is_empty());
    // Names elsewhere in the certificate are not node names.
    let only_dns = authority.issue(&Leaf { uris: Vec::new(), dns: vec!["b".into()], ..Leaf::node("b") });
    refused(&authority, as_it_is(&only_dns, Naming::Dns, &authority)).await;
    let other_domain =
        authority.issue(&Leaf { uris: vec!["spiffe://red.example/node/b".into()], ..Leaf::node("b") });
    let red = Naming::Spiffe { domain: "red.example".into() };
    refused(&authority, as_it_is(&other_domain, red, &authority)).await;
}

#[tokio::test]
async fn a_denied_key_is_put_out_at_once_and_stays_out() {
    let authority = Authority::new();
    let (of_a, of_b) = (authority.node("a"), authority.node("b"));
    let a = Node::start(authority.trust(&of_a));
    let b = Node::start(authority.trust(&of_b));
    echo(&a);
    b.dial(&[&a]);
    linked(&a, &b).await;
    assert_eq!(ask(&b, "a", Lane::Data).await, "b by Data: hello");
    a.trust.publish(authority.trust(&of_a).deny([of_b.hash]));
    until("the link is cut", || a.session("b").is_none() && b.session("a").is_none()).await;
    assert!(b.error("a").contains("is denied"), "{}", b.error("a"));
    until("data links are cut too", || a.mesh.links().now().0["b"].data_links == 0).await;
    for lane in [Lane::Data, Lane::Bulk] {
        if let Ok(mut stream) = b.mesh.open("a", common::ECHO, lane).await {
            assert!(stream.taken().await.is_err(), "{lane:?}");
        }
    }
    // A renewed certificate has the same key if the node made none anew: still denied. Allowed again, it returns.
    a.trust.publish(authority.trust(&of_a));
    linked(&a, &b).await;
}

#[tokio::test]
async fn a_denied_intermediate_takes_all_that_it_signed_along() {
    let authority = Authority::new();
    let of_a = authority.issue(&Leaf { direct: true, ..Leaf::node("a") });
    let a = Node::start(authority.trust(&of_a));
    let b = Node::start(authority.trust(&authority.node("b")));
    b.dial(&[&a]);
    linked(&a, &b).await;
    let intermediate = portolan_mesh::KeyHash::of_certificate(&authority.intermediate).unwrap();
    a.trust.publish(authority.trust(&of_a).deny([intermediate]));
    until("the link is cut", || a.session("b").is_none() && b.session("a").is_none()).await;
}

#[tokio::test]
async fn a_renewed_certificate_cuts_nothing_and_is_shown_from_then_on() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    echo(&a);
    b.dial(&[&a]);
    linked(&a, &b).await;
    let renewed = authority.node("a");
    a.trust.publish(authority.trust(&renewed));
    b.trust.publish(authority.trust(&authority.node("b")));
    // New handshakes, with the new certificates, beside the old link.
    assert_eq!(ask(&b, "a", Lane::Data).await, "b by Data: hello");
    assert_eq!(ask(&b, "a", Lane::Bulk).await, "b by Bulk: hello");
    assert_eq!((a.session("b"), b.session("a")), (Some(1), Some(1)));
    // The new key is the one that counts now.
    let third = Node::start(authority.trust(&authority.node("c")).deny([renewed.hash]));
    third.dial(&[&a]);
    until("the new key is denied", || third.error("a").contains("is denied")).await;
}

#[tokio::test]
async fn roots_change_with_an_overlap() {
    let (old, new) = (Authority::new(), Authority::new());
    let naming = Naming::Spiffe { domain: DOMAIN.into() };
    let roots = [old.root.clone(), new.root.clone()];
    let with = |identity: &Identity, roots: &[_]| {
        Trust::new(naming.clone(), identity.chain.clone(), &identity.key, roots).unwrap()
    };
    let (old_a, new_a, new_b) = (old.node("a"), new.node("a"), new.node("b"));
    let a = Node::start(with(&old_a, &roots));
    let b = Node::start(with(&new_b, &roots));
    b.dial(&[&a]);
    linked(&a, &b).await;
    a.trust.publish(with(&new_a, &roots));
    // The old root goes: a's link was made with a certificate of it, so it is made again with the new one.
    b.trust.publish(with(&new_b, &roots[1..]));
    until("it is made again", || b.session("a").is_some_and(|session| session > 1)).await;
}

#[tokio::test]
async fn a_board_without_a_clock_believes_certificates_of_later() {
    let authority = Authority::new();
    let of_b = authority.node("b");
    let a = Node::start(authority.trust(&authority.node("a")));
    // 1970, by its own clock.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let behind = -i64::try_from(since.as_millis()).unwrap();
    let b = Node::start_with(config(), authority.trust(&of_b).with_clock_ahead_ms(behind));
    b.dial(&[&a]);
    linked(&a, &b).await;
}
