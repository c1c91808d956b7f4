//! Links come up, and streams of a kind reach whoever takes it.

mod common;

use std::time::Duration;

use common::{Authority, ECHO, Node, ask, config, echo, linked};
use portolan_mesh::Lane;

#[tokio::test]
async fn a_stream_carries_its_opener_on_every_lane_and_both_ways() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    echo(&a);
    echo(&b);
    // Only b knows where the other is: a calls back over what b dialled.
    b.dial(&[&a]);
    linked(&a, &b).await;
    assert_eq!(ask(&a, "b", Lane::Control).await, "a by Control: hello");
    assert_eq!(ask(&b, "a", Lane::Control).await, "b by Control: hello");
    assert_eq!(ask(&a, "b", Lane::Data).await, "a by Data: hello");
    assert_eq!(ask(&b, "a", Lane::Data).await, "b by Data: hello");
    assert_eq!(ask(&a, "b", Lane::Bulk).await, "a by Bulk: hello");
    assert_eq!(ask(&b, "a", Lane::Bulk).await, "b by Bulk: hello");
    let links = a.mesh.links().now();
    assert_eq!(links.0["b"].data_links, 1, "one data link serves both directions");
    let up = links.0["b"].up.clone().unwrap();
    assert_eq!((up.address, up.dialled, up.version), (b.address, false, 1));
}

#[tokio::test]
async fn a_kind_that_nobody_takes_is_refused_with_the_reason() {
    let authority = Authority::new();
    let a = Node::start(authority.trust(&authority.node("a")));
    let b = Node::start(authority.trust(&authority.node("b")));
    a.dial(&[&b]);
    linked(&a, &b).await;
    for lane in [Lane::Control, Lane::Data, Lane::Bulk] {
        let mut stream = a.mesh.open("b", ECHO, lane).await.unwrap();
        let refusal = stream.taken().await.unwrap_err();
        assert_eq!(refusal.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(refusal.to_string().contains("nobody here takes streams of kind echo"), "{refusal}");
    }
    let gone = b.mesh.accept(ECHO);
    drop(gone);
    let mut stream = a.mesh.open("b", ECHO, Lane::Control).await.unwrap();
    assert!(stream.taken().await.unwrap_err().to_string().contains("any more"));
}

/// Links that carry bulk live on a runtime of their own, at both ends.
#[tokio::test]
async fn threads_that_are_busy_with_data_links_keep_no_control_stream_waiting() {
    let authority = Authority::new();
    // Nobody drives it: it is as busy as can be.
    let busy = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let a =
        Node::try_start_on(config(), authority.trust(&authority.node("a")), busy.handle().clone()).unwrap();
    let b = Node::start(authority.trust(&authority.node("b")));
    echo(&a);
    echo(&b);
    b.dial(&[&a]);
    linked(&a, &b).await;
    let dials = async { b.mesh.open("a", ECHO, Lane::Data).await };
    let mesh = a.mesh.clone();
    let dialled = tokio::spawn(async move { mesh.open("b", ECHO, Lane::Data).await });
    assert!(tokio::time::timeout(Duration::from_millis(200), dials).await.is_err(), "nobody takes it");
    assert_eq!(ask(&a, "b", Lane::Control).await, "a by Control: hello");
    assert_eq!(ask(&b, "a", Lane::Control).await, "b by Control: hello");
    assert!(!dialled.is_finished(), "nor does anybody dial");
    dialled.abort();
    busy.shutdown_background();
}
