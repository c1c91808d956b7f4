//! Public names at real servers: BIND and Knot.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod servers;

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_expose::names::{NameError, Owner, Provider, Rdata};
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

async fn beside_an_alias_of_somebody_elses_nothing_is_claimed(server: &Server) {
    let target = "ns.example.test".into();
    for (kind, value) in [
        (NameKind::A, Rdata::A([45, 83, 0, 1].into())),
        (NameKind::Srv, Rdata::Srv { priority: 0, weight: 0, port: 443, target }),
    ] {
        let alias = key("alias.example.test", kind);
        for owner in [server.provider("host-1", SECRET), server.member("attic", "fleet")] {
            let refused = owner.set(&alias, &[value.clone()].into()).await;
            assert!(matches!(refused, Err(NameError::Foreign(_))), "{refused:?}");
            owner.remove(&alias).await.unwrap();
        }
        assert!(dig(server.port, &format!("_portolan-{}.alias.example.test", kind.word()), "TXT").is_empty());
    }
    assert_eq!(dig(server.port, "alias.example.test", "CNAME"), ["ns.example.test."]);
}

async fn what_was_anothers_becomes_ours_when_that_is_said(server: &Server) {
    let (before, stranger) = (server.provider("old-1", SECRET), server.provider("stranger", SECRET));
    let moved = key("moved.example.test", NameKind::A);
    before.set(&moved, &addresses(&[7])).await.unwrap();
    let heir = server.heir("new-1", SECRET, &["somebody", "old-1"]);
    heir.set(&moved, &addresses(&[8])).await.unwrap();
    assert_eq!(dig(server.port, "moved.example.test", "A"), ["45.83.0.8"]);
    // Who had it has it no longer, and who was not named gets nothing.
    before.remove(&moved).await.unwrap();
    assert!(matches!(stranger.set(&moved, &addresses(&[9])).await, Err(NameError::Foreign(_))));
    let new = Owner::new("new-1").unwrap();
    let old = Owner::new("old-1").unwrap();
    assert!(matches!(before.adopt(&moved, &addresses(&[7]), &old).await, Err(NameError::Foreign(_))));
    assert_eq!(dig(server.port, "moved.example.test", "A"), ["45.83.0.8"]);
    before.adopt(&moved, &addresses(&[7]), &new).await.unwrap();
    assert_eq!(dig(server.port, "moved.example.test", "A"), ["45.83.0.7"]);
    let service = key("_sip._udp.example.test", NameKind::Srv);
    let record = Rdata::Srv { priority: 0, weight: 0, port: 5060, target: "ns.example.test".into() };
    before.set(&service, &[record].into()).await.unwrap();
    assert_eq!(dig(server.port, "_sip._udp.example.test", "SRV"), ["0 0 5060 ns.example.test."]);
}

async fn a_group_shows_one_name_and_each_member_changes_its_own_part(server: &Server) {
    let (attic, barn) = (server.member("attic", "fleet"), server.member("barn", "fleet"));
    let both = key("fleet.example.test", NameKind::A);
    let shown = || dig(server.port, "fleet.example.test", "A");
    attic.set(&both, &addresses(&[1])).await.unwrap();
    barn.set(&both, &addresses(&[2])).await.unwrap();
    assert_eq!(shown(), ["45.83.0.1", "45.83.0.2"]);
    // An address changes; a run after a crash says the same again.
    attic.set(&both, &addresses(&[3])).await.unwrap();
    server.member("barn", "fleet").set(&both, &addresses(&[2])).await.unwrap();
    assert_eq!(shown(), ["45.83.0.2", "45.83.0.3"]);
    // Neither another group nor somebody alone gets in, and nobody takes away what is not his.
    let (other, alone) = (server.member("attic", "other"), server.provider("attic", SECRET));
    assert!(matches!(
        other.set(&key("taken.example.test", NameKind::A), &addresses(&[9])).await,
        Err(NameError::Foreign(_))
    ));
    let stranger = server.member("stranger", "other");
    assert!(matches!(stranger.set(&both, &addresses(&[9])).await, Err(NameError::Foreign(_))));
    assert!(matches!(alone.set(&both, &addresses(&[9])).await, Err(NameError::Foreign(_))));
    stranger.remove(&both).await.unwrap();
    alone.remove(&both).await.unwrap();
    attic.remove(&both).await.unwrap();
    attic.remove(&both).await.unwrap();
    assert_eq!(shown(), ["45.83.0.2"]);
    barn.remove(&both).await.unwrap();
    assert!(shown().is_empty() && dig(server.port, "_portolan-a.fleet.example.test", "TXT").is_empty());
    // What two of them have stays until both have taken it back.
    attic.set(&both, &addresses(&[7])).await.unwrap();
    barn.set(&both, &addresses(&[7, 8])).await.unwrap();
    attic.set(&both, &addresses(&[6])).await.unwrap();
    assert_eq!(shown(), ["45.83.0.6", "45.83.0.7", "45.83.0.8"]);
    attic.set(&both, &addresses(&[8])).await.unwrap();
    barn.remove(&both).await.unwrap();
    assert_eq!(shown(), ["45.83.0.8"]);
    attic.remove(&both).await.unwrap();
    // Free for anybody again.
    assert!(shown().is_empty());
    alone.set(&both, &addresses(&[9])).await.unwrap();
    alone.remove(&both).await.unwrap();
}

async fn members_that_come_and_go_at_once_do_not_lose_each_other(server: &Server) {
    let all = ["attic", "barn", "cellar", "den"].map(|owner| server.member(owner, "crowd"));
    let crowd = key("crowd.example.test", NameKind::A);
    let values = [1, 2, 2, 3].map(|last| addresses(&[last]));
    let set = |at: usize| all[at].set(&crowd, &values[at]);
    let done = tokio::join!(set(0), set(1), set(2), set(3));
    assert_eq!(done, (Ok(()), Ok(()), Ok(()), Ok(())));
    assert_eq!(dig(server.port, "crowd.example.test", "A"), ["45.83.0.1", "45.83.0.2", "45.83.0.3"]);
    let listed = server.in_example("lists", SECRET).marked().await.unwrap();
    assert_eq!(listed.iter().filter(|(name, _)| *name == crowd).count(), 4, "{listed:?}");
    let done = tokio::join!(all[0].remove(&crowd), all[1].remove(&crowd), all[3].remove(&crowd));
    assert_eq!(done, (Ok(()), Ok(()), Ok(())));
    assert_eq!(dig(server.port, "crowd.example.test", "A"), ["45.83.0.2"]);
    all[2].remove(&crowd).await.unwrap();
    assert!(dig(server.port, "crowd.example.test", "A").is_empty());
    assert!(dig(server.port, "_portolan-a.crowd.example.test", "TXT").is_empty());
}

async fn what_carries_a_mark_is_listed(server: &Server) {
    let ours = server.in_example("lists", SECRET);
    let names = [key("left.example.test", NameKind::A), key("*.left.example.test", NameKind::A)];
    for name in &names {
        ours.set(name, &addresses(&[4])).await.unwrap();
    }
    let marked = ours.marked().await.unwrap();
    let of_ours: BTreeSet<_> =
        marked.into_iter().filter(|(_, owner)| owner == "lists").map(|(key, _)| key).collect();
    assert_eq!(of_ours, names.clone().into());
    for name in &names {
        ours.remove(name).await.unwrap();
    }
    assert!(ours.marked().await.unwrap().iter().all(|(_, owner)| owner != "lists"));
    let wrong = server.in_example("lists", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctMTI=");
    assert!(wrong.marked().await.is_err());
}

async fn a_wrong_key_is_told_as_one(server: &Server) {
    let wrong = server.provider("host-1", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3JvbmctMTI=");
    let error = wrong.set(&key("www.example.test", NameKind::A), &addresses(&[1])).await.unwrap_err();
    assert!(matches!(error, NameError::Signature(_)), "{error}");
}

async fn a_zone_that_is_not_ours_to_change_is_told(server: &Server) {
    let ours = server.provider("host-1", SECRET);
    let error = ours.set(&key("www.closed.test", NameKind::A), &addresses(&[1])).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, NameError::Refused(_) | NameError::Signature(_)), "{error}");
    assert!(dig(server.port, "www.closed.test", "A").is_empty());
}

async fn all(server: Result<Server, String>) {
    let server = match server {
        Ok(server) => server,
        Err(missing) => return println!("{missing}"),
    };
    a_name_lives(&server).await;
    what_is_not_ours_is_not_touched(&server).await;
    beside_an_alias_of_somebody_elses_nothing_is_claimed(&server).await;
    what_was_anothers_becomes_ours_when_that_is_said(&server).await;
    a_group_shows_one_name_and_each_member_changes_its_own_part(&server).await;
    members_that_come_and_go_at_once_do_not_lose_each_other(&server).await;
    what_carries_a_mark_is_listed(&server).await;
    a_wrong_key_is_told_as_one(&server).await;
    a_zone_that_is_not_ours_to_change_is_told(&server).await;
}

#[tokio::test]
async fn bind_shows_our_names_and_keeps_others() {
    all(Server::bind()).await;
}

#[tokio::test]
async fn knot_shows_our_names_and_keeps_others() {
    all(Server::knot()).await;
}
