//! One root followed by another, with everybody in and with somebody away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use catalog::{Role, RootState};
use portolan_cluster::token::Wish;
use portolan_cluster::{Error, Local, ca, rotate};
use support::{Away, DAY_MS, First, verified};
use tempfile::tempdir;

const MINUTE_MS: u64 = 60_000;

fn states(first: &First) -> Vec<RootState> {
    let view = first.store.now();
    let mut states: Vec<_> = view.cluster().roots().map(|root| root.state).collect();
    states.sort();
    states
}

#[tokio::test]
async fn a_root_is_followed_by_another_and_nobody_is_cut_off() {
    let first = First::new().await;
    let (homes, wish) = ([tempdir().unwrap(), tempdir().unwrap()], Wish { uses: 2, ..Wish::default() });
    let token = first.token(wish).await;
    let second = first.join(&homes[0], &token, "b").await.unwrap();
    let agents = first.token(Wish { role: Role::Agent, ..Wish::default() }).await;
    let away = first.join(&homes[1], &agents, "c").await.unwrap();
    let old = away.roots.clone();
    let lead = Away::over(&first, first.local.clone(), &first.time);
    let other = first.serve("b:8300", second);
    let other = Away::over(&first, other, &first.time);

    rotate::begin(&first.local, &first.store, first.time.now()).await.unwrap();
    assert_eq!(states(&first), [RootState::Next, RootState::Active]);
    let again = rotate::begin(&first.local, &first.store, first.time.now()).await;
    assert!(matches!(again, Err(Error::Refused { .. })));
    // Too early: others must have heard of it.
    lead.renewer.turn().await.unwrap();
    assert_eq!(states(&first), [RootState::Next, RootState::Active]);
    first.time.pass(2 * MINUTE_MS);
    assert!(lead.renewer.turn().await.unwrap());
    assert_eq!(states(&first), [RootState::Active, RootState::Retiring]);
    // The other server gets an issuer of the new root, and the root's key with it.
    other.local.follow(&first.store.now()).unwrap();
    assert!(other.renewer.turn().await.unwrap());
    other.local.with(|identity| identity.root("test").map(drop)).unwrap();
    let active = first.store.now().cluster().active_root().unwrap().key;
    assert_eq!(first.store.now().cluster().issuer("b").unwrap().root, active);
    for server in [&lead, &other] {
        // Who knows the new root believes it, and who knows only the old one does too.
        let chain = server.local.credentials().now().chain.clone();
        let new = server.local.credentials().now().roots[..1].to_vec();
        for roots in [&new, &old] {
            assert_eq!(ca::lapse(&chain, roots, first.time.now()).unwrap().ago_ms, 0);
        }
    }
    // Settled.
    assert!(!lead.renewer.turn().await.unwrap());
    assert!(!other.renewer.turn().await.unwrap());
    // Who was away for a week comes back and knows both.
    first.time.pass(7 * DAY_MS);
    let away = Away::over(&first, Local::new(away), &first.time);
    assert!(away.renewer.turn().await.unwrap());
    assert_eq!(away.local.with(|identity| identity.roots.len()), 2);
    // The old root goes when nobody can need it any more, and the files are as ever.
    first.time.pass(30 * DAY_MS);
    lead.renewer.turn().await.unwrap();
    assert_eq!(states(&first), [RootState::Active]);
    assert_eq!(first.local.with(|identity| verified(identity, first.time.now())), 0);
    let folder = first.home.path().join("cluster");
    assert!(folder.join("ca.key").exists() && !folder.join("ca.next.key").exists());
    let home = tempdir().unwrap();
    first.join(&home, &first.token(Wish::default()).await, "d").await.unwrap();
}
