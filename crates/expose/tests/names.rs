//! Public names at real servers: BIND and Knot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod servers;

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_expose::names::{NameError, Provider, Rdata};
use portolan_expose::wish::NameKind;
use servers::{SECRET, Server, dig};

fn key(name: &str, kind: NameKind) -> (Arc<str>, NameKind) {
    (name.into(), kind)
}

fn addresses(last: &[u8]) -> BTreeSet<Rdata> {
    last.iter().map(|last| Rdata::A([45, 83, 0, *last].into())).collect()
}

async fn a_name_lives(server: &Server) {
    let ours = server.provider("host-1", SECRET);
    let www = key("www.example.test", NameKind::A);
    ours.set(&www, &addresses(&[1])).await.unwrap();
    assert_eq!(dig(server.port, "www.example.test", "A"), ["45.83.0.1"]);
    // The address changes, and the run after a crash says the same again.
    ours.set(&www, &addresses(&[2, 3])).await.unwrap();
    ours.set(&www, &addresses(&[2, 3])).await.unwrap();
    assert_eq!(dig(server.port, "www.example.test", "A"), ["45.83.0.2", "45.83.0.3"]);
    ours.remove(&www).await.unwrap();
    ours.remove(&www).await.unwrap();
    assert!(dig(server.port, "www.example.test", "A").is_empty());
    assert!(dig(server.port, "_portolan-a.www.example.test", "TXT").is_empty());
    let alias = key("*.apps.example.test", NameKind::Cname);
    ours.set(&alias, &[Rdata::Cname("ns.example.test".into())].into()).await.unwrap();
    assert_eq!(dig(server.port, "any.apps.example.test", "CNAME"), ["ns.example.test."]);
    let v6 = key("six.example.test", NameKind::Aaaa);
    ours.set(&v6, &[Rdata::Aaaa("2001:db8::9".parse().unwrap())].into()).await.unwrap();
    assert_eq!(dig(server.port, "six.example.test", "AAAA"), ["2001:db8::9"]);
}

async fn what_is_not_ours_is_not_touched(server: &Server) {
    let (ours, theirs) = (server.provider("host-1", SECRET), server.provider("host-2", SECRET));
    let taken = key("taken.example.test", NameKind::A);
    assert!(matches!(ours.set(&taken, &addresses(&[1])).await, Err(NameError::Foreign(_))));
    ours.remove(&taken).await.unwrap();
    assert_eq!(dig(server.port, "taken.example.test", "A"), ["192.0.2.1"]);
    let shared = key("shared.example.test", NameKind::A);
    theirs.set(&shared, &addresses(&[9])).await.unwrap();
    assert!(matches!(ours.set(&shared, &addresses(&[1])).await, Err(NameError::Foreign(_))));
    ours.remove(&shared).await.unwrap();
    assert_eq!(dig(server.port, "shared.example.test", "A"), ["45.83.0.9"]);
    let elsewhere = key("www.example.org", NameKind::A);
    assert_eq!(ours.set(&elsewhere, &addresses(&[1])).await, Err(NameError::Outside));
}

async fn a_wrong_key_is_told_as_one(server: &Server) {
    let wrong = server.provider("host-1", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctMTI=");
    let error = wrong.set(&key("www.example.test", NameKind::A), &addresses(&[1])).await.unwrap_err();
    assert!(matches!(error, NameError::Signature(_)), "{error}");
}

async fn all(server: Result<Server, String>) {
    let server = match server {
        Ok(server) => server,
        Err(missing) => return println!("{missing}"),
    };
    a_name_lives(&server).await;
    what_is_not_ours_is_not_touched(&server).await;
    a_wrong_key_is_told_as_one(&server).await;
}

#[tokio::test]
async fn bind_shows_our_names_and_keeps_others() {
    all(Server::bind()).await;
}

#[tokio::test]
async fn knot_shows_our_names_and_keeps_others() {
    all(Server::knot()).await;
}
