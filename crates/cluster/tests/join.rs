//! Coming in, renewing and staying out, as an operator would see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use std::os::unix::fs::PermissionsExt;

use catalog::{ClusterCommand, Command, Role};
use portolan_cluster::init::{Options, init};
use portolan_cluster::token::{JoinToken, TokenError, Wish};
use portolan_cluster::{Error, Identity};
use support::{Away, DAY_MS, First, HOUR_MS, TODAY_MS, Time, verified};
use tempfile::tempdir;

fn refusal(result: Result<Identity, Error>) -> String {
    match result {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn agents(uses: u32) -> Wish {
    Wish { role: Role::Agent, uses, ..Wish::default() }
}

#[tokio::test]
async fn a_second_server_and_an_agent_come_in() {
    let first = First::new().await;
    let (homes, token) = ([tempdir().unwrap(), tempdir().unwrap()], first.token(Wish::default()).await);
    let second = first.join(&homes[0], &token.clone(), "b").await.unwrap();
    assert_eq!((second.facts.role, second.facts.server_id), (Role::Server, 2));
    assert_eq!(verified(&second, TODAY_MS), 0);
    // Any server signs, also one that is not the first; and the first host may be gone.
    first.serve("b:8300", second);
    first.street.close("a:8300");
    let token = first.token(Wish::default()).await;
    let third = first.join(&homes[1], &token, "c").await.unwrap();
    assert_eq!((third.facts.role, third.facts.server_id), (Role::Server, 3));
    assert_eq!(third.facts.servers.len(), 3);
    // What was written is read back.
    let again = Identity::load(homes[1].path()).unwrap();
    assert_eq!((again.facts, again.chain), (third.facts, third.chain));
}

#[tokio::test]
async fn two_race_with_one_token_and_one_wins() {
    let first = First::new().await;
    let token = first.token(agents(1)).await;
    let homes = [tempdir().unwrap(), tempdir().unwrap()];
    let (one, other) = tokio::join!(first.join(&homes[0], &token, "b"), first.join(&homes[1], &token, "c"));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
    let loser = if one.is_err() { one } else { other };
    assert!(refusal(loser).contains("portolan token create"));
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_tried_again() {
    let first = First::new().await;
    let token = first.token(agents(1)).await;
    let home = tempdir().unwrap();
    first.join(&home, &token, "b").await.unwrap();
    // The answer never arrived: nothing but the key is on disk.
    std::fs::remove_file(home.path().join("cluster/cluster.json")).unwrap();
    let again = first.join(&home, &token, "b").await.unwrap();
    assert_eq!(verified(&again, TODAY_MS), 0);
    let known = first.store.now().cluster().member("b").unwrap().disk;
    assert_eq!(again.facts.disk, known);
    // Another host with the same token: it is used up.
    let other = tempdir().unwrap();
    assert!(refusal(first.join(&other, &token, "c").await).contains("used as often as it may be"));
    assert!(
        refusal(first.join(&other, &first.token(agents(1)).await, "b").await).contains("portolan remove b")
    );
}

#[tokio::test]
async fn an_old_or_foreign_token_is_refused_here_and_there() {
    let first = First::new().await;
    let token = first.token(agents(1)).await;
    let home = tempdir().unwrap();
    first.time.pass(HOUR_MS);
    let late = first.join(&home, &token, "b").await;
    assert!(matches!(late, Err(Error::Token(TokenError::Expired { .. }))));
    // A host in 1970 does not see that it is late. The servers' time decides.
    let options = portolan_cluster::join::Options {
        name: "b".into(),
        addresses: vec![],
        role: None,
        order: String::new(),
    };
    let late = portolan_cluster::join::join(home.path(), &token, &options, &first.street, 5_000).await;
    assert!(refusal(late.map(|(identity, _)| identity)).contains("expired"));
    let other = First::new().await;
    let foreign = other.join(&tempdir().unwrap(), &first.token(agents(1)).await, "b").await;
    assert!(refusal(foreign).contains("another cluster"));
    let member = first.home.path();
    let token = other.token(agents(1)).await;
    let refused = portolan_cluster::join::join(member, &token, &options, &other.street, TODAY_MS).await;
    assert!(matches!(refused, Err(Error::Token(TokenError::OtherCluster { .. }))));
    let second = init(member, &Options { name: "z".into(), addresses: vec![] }, TODAY_MS);
    assert!(matches!(second, Err(Error::Belongs { .. })));
}

#[tokio::test]
async fn tokens_say_what_is_wrong_with_them() {
    let first = First::new().await;
    let text = first.token(agents(1)).await.reveal().unwrap();
    let read: JoinToken = format!("  {text}\n").parse().unwrap();
    assert_eq!(read.reveal().unwrap(), text);
    assert!(!format!("{read:?}").contains(&text[20..40]));
    assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::NotAToken));
    assert_eq!(text[..text.len() - 1].parse::<JoinToken>(), Err(TokenError::Damaged));
    assert_eq!(text.replace('A', "B").parse::<JoinToken>(), Err(TokenError::Damaged));
    let newer = text.replace("join-1-", "join-7-");
    assert_eq!(newer.parse::<JoinToken>(), Err(TokenError::OtherVersion { found: 7 }));
}

#[tokio::test]
async fn a_server_without_the_roots_key_admits_agents_only() {
    let first = First::new().await;
    std::fs::rename(first.home.path().join("cluster/ca.key"), first.home.path().join("away")).unwrap();
    let home = tempdir().unwrap();
    let token = first.token(Wish { uses: 2, ..Wish::default() }).await;
    assert!(refusal(first.join(&home, &token, "b").await).contains("root's key is not on this host"));
    let agent = tempdir().unwrap();
    first.join(&agent, &first.token(agents(1)).await, "c").await.unwrap();
    std::fs::rename(first.home.path().join("away"), first.home.path().join("cluster/ca.key")).unwrap();
    first.join(&home, &token, "b").await.unwrap();
}

#[tokio::test]
async fn files_are_private_and_missing_ones_are_named() {
    let first = First::new().await;
    let folder = first.home.path().join("cluster");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let other = First::new().await;
    std::fs::copy(other.home.path().join("cluster/node.pem"), folder.join("node.pem")).unwrap();
    let error = Identity::load(first.home.path()).unwrap_err().to_string();
    assert!(error.contains("node.pem") && error.contains("another key"), "{error}");
    std::fs::remove_file(folder.join("node.key")).unwrap();
    let error = Identity::load(first.home.path()).unwrap_err().to_string();
    assert!(error.contains("node.key") && error.contains("missing"), "{error}");
    assert!(matches!(Identity::load(folder.as_path()), Err(Error::NoIdentity { .. })));
}

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let identity = first.join(&home, &first.token(agents(1)).await, "b").await;
    let node = Away::new(&first, identity.unwrap(), &first.time);
    assert!(!node.renewer.turn().await.unwrap());
    first.time.pass(15 * HOUR_MS);
    assert!(!node.renewer.turn().await.unwrap());
    first.time.pass(2 * HOUR_MS);
    let before = node.local.credentials().now().chain.clone();
    assert!(node.renewer.turn().await.unwrap());
    assert_ne!(node.local.credentials().now().chain, before);
    assert_eq!(node.lapse_ms(first.time.now() + 23 * HOUR_MS), 0);
}

#[tokio::test]
async fn who_was_off_for_a_week_comes_back_and_after_a_season_joins_again() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let identity = first.join(&home, &first.token(agents(1)).await, "b").await;
    let node = Away::new(&first, identity.unwrap(), &first.time);
    first.time.pass(7 * DAY_MS);
    assert!(node.lapse_ms(first.time.now()) > 5 * DAY_MS);
    assert!(node.renewer.turn().await.unwrap());
    assert_eq!(node.lapse_ms(first.time.now()), 0);
    first.time.pass(90 * DAY_MS);
    let error = node.renewer.turn().await.unwrap_err().to_string();
    assert!(error.contains("too long; join again"), "{error}");
}

#[tokio::test]
async fn a_board_that_boots_in_1970_learns_the_time() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let identity = first.join(&home, &first.token(agents(1)).await, "b").await;
    first.time.pass(3 * DAY_MS);
    let board = Time::at(20_000);
    let node = Away::new(&first, identity.unwrap(), &board);
    assert!(node.renewer.turn().await.unwrap());
    assert_eq!(node.lapse_ms(first.time.now()), 0);
    let ahead = node.local.credentials().now().clock_ahead_ms;
    assert_eq!(board.now().saturating_add_signed(ahead), first.time.now());
    // Settled: by the servers' time nothing is due.
    assert!(!node.renewer.turn().await.unwrap());
}

#[tokio::test]
async fn a_removed_node_stays_out() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let identity = first.join(&home, &first.token(agents(1)).await, "b").await;
    let key = identity.as_ref().unwrap().key.hash();
    let node = Away::new(&first, identity.unwrap(), &first.time);
    first.submit(Command::Cluster(ClusterCommand::RemoveMember { name: "b".into() })).await;
    first.local.follow(&first.store.now()).unwrap();
    assert!(first.local.credentials().now().denied.contains(&key));
    first.time.pass(20 * HOUR_MS);
    let error = node.renewer.turn().await.unwrap_err().to_string();
    assert!(error.contains("denied"), "{error}");
}

#[tokio::test]
async fn a_lone_server_renews_itself() {
    let first = First::new().await;
    let identity = Identity::load(first.home.path()).unwrap();
    let node = Away::new(&first, identity, &first.time);
    first.time.pass(7 * DAY_MS);
    first.street.close("a:8300");
    assert!(node.renewer.turn().await.unwrap());
    assert_eq!(node.lapse_ms(first.time.now()), 0);
}

#[tokio::test]
async fn garbage_is_answered_with_a_refusal() {
    let first = First::new().await;
    for bytes in [&b""[..], b"\0", &[0xff; 64], &vec![0; 300_000]] {
        let door = &first.street as &dyn portolan_cluster::join::Door;
        let reply = door.call("a:8300", &[], bytes::Bytes::copy_from_slice(bytes)).await.unwrap();
        assert!(!reply.is_empty());
        portolan_cluster::join::fuzz_message(&reply);
    }
}

#[tokio::test]
async fn a_node_that_moved_tells_the_others() {
    let first = First::new().await;
    let home = tempdir().unwrap();
    let identity = first.join(&home, &first.token(agents(1)).await, "b").await;
    let node = Away::new(&first, identity.unwrap(), &first.time);
    assert!(node.local.move_to(vec!["nonsense".into()]).is_err());
    node.local.move_to(vec!["203.0.113.9:8300".into()]).unwrap();
    node.renewer.turn().await.unwrap();
    let known = first.store.now();
    assert_eq!(*known.cluster().member("b").unwrap().addresses[0], *"203.0.113.9:8300");
    let settled = known.index();
    node.renewer.turn().await.unwrap();
    assert_eq!(first.store.now().index(), settled);
    first.local.follow(&known).unwrap();
    assert_eq!(first.local.peers().now()["b"], ["203.0.113.9:8300"]);
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_judges_and_signs_by_the_others_time() {
    let first = First::new().await;
    let (home, other, third) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let second = first.join(&home, &first.token(Wish::default()).await, "b").await.unwrap();
    let token = first.token(agents(2)).await;
    // It boots in 1970, and asks the other server for the time before anybody asks it.
    let board = Time::at(20_000);
    let node = Away::new(&first, second, &board);
    assert!(node.renewer.turn().await.unwrap());
    let desk = portolan_cluster::join::Desk::new(first.store.clone(), node.local.clone(), board.clock());
    first.street.open("a:8300", desk);
    let agent = first.join(&other, &token, "c").await.unwrap();
    assert_eq!(verified(&agent, TODAY_MS + 23 * HOUR_MS), 0);
    board.pass(HOUR_MS);
    let options = portolan_cluster::join::Options {
        name: "d".into(),
        addresses: vec![],
        role: None,
        order: String::new(),
    };
    let late = portolan_cluster::join::join(third.path(), &token, &options, &first.street, TODAY_MS);
    assert!(refusal(late.await.map(|(identity, _)| identity)).contains("expired"));
}

#[tokio::test]
async fn whom_a_removed_server_had_certified_is_certified_anew_in_time() {
    let first = First::new().await;
    let (home, other) = (tempdir().unwrap(), tempdir().unwrap());
    let second = first.join(&home, &first.token(Wish::default()).await, "b").await.unwrap();
    let issuer = second.authority("test").unwrap().hash();
    let second = first.serve("b:8300", second);
    // A server that was just certified by another signs for itself.
    let second = Away::over(&first, second, &first.time);
    assert!(second.renewer.turn().await.unwrap());
    assert!(!second.renewer.turn().await.unwrap());
    first.street.close("a:8300");
    let agent = first.join(&other, &first.token(agents(1)).await, "c").await.unwrap();
    first.street.open(
        "a:8300",
        portolan_cluster::join::Desk::new(first.store.clone(), first.local.clone(), first.time.clock()),
    );
    first.street.close("b:8300");
    first.submit(Command::Cluster(ClusterCommand::RemoveMember { name: "b".into() })).await;
    let server = Away::over(&first, first.local.clone(), &first.time);
    server.renewer.turn().await.unwrap();
    let agent = Away::new(&first, agent, &first.time);
    let denied = |away: &Away| away.local.credentials().now().denied.contains(&issuer);
    assert!(!denied(&server) && !denied(&agent));
    // The agent leaned on it, and does not when it counts no more.
    assert!(agent.renewer.turn().await.unwrap());
    assert!(!agent.renewer.turn().await.unwrap());
    first.time.pass(2 * 60_000);
    server.renewer.turn().await.unwrap();
    agent.renewer.turn().await.unwrap();
    assert!(denied(&server) && denied(&agent));
    let path = agent.local.credentials().now().chain.clone();
    assert_eq!(path[1], server.local.with(|identity| identity.chain[1].clone()));
}
