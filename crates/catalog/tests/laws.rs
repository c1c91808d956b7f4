//! Laws that hold for every history.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::testing::{applied, history};
use catalog::{Catalog, Outcome, Role, RootState, Snapshot, Status, Topic, checkpoint};
use portolan_catalog as catalog;
use proptest::prelude::*;

/// What two snapshots differ in, seen through the questions that readers ask.
fn visible(snapshot: &Snapshot, name: &str) -> (u64, String) {
    (snapshot.service_index(name), format!("{:?}", snapshot.service(name)))
}

/// Whom a snapshot believes.
fn trusted(snapshot: &Snapshot) -> String {
    let cluster = snapshot.cluster();
    let roots: Vec<_> = cluster.roots().collect();
    let issuers: Vec<_> = cluster.issuers().collect();
    let denied: Vec<_> = cluster.denied().collect();
    let operators: Vec<_> = cluster.operators().collect();
    format!("{roots:?} {issuers:?} {denied:?} {operators:?} {:?}", snapshot.mode())
}

fn saved(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    checkpoint::write(snapshot, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The same commands give the same state, and the same bytes.
    #[test]
    fn replicas_agree(history in history(60)) {
        let (one, other) = (applied(&history).snapshot(), applied(&history).snapshot());
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(saved(&one), saved(&other));
    }

    /// A checkpoint loses nothing, and the history goes on from it as if it had never stopped.
    #[test]
    fn a_checkpoint_is_the_state(history in history(60), cut in 0..60usize) {
        let cut = cut.min(history.len());
        let before = applied(&history[..cut]).snapshot();
        let restored = checkpoint::read(&saved(&before)[..]).unwrap();
        prop_assert_eq!(&restored, &before);
        let mut resumed = Catalog::from_snapshot(restored);
        for (envelope, index) in history[cut..].iter().zip(cut as u64 + 1..) {
            resumed.apply(index, envelope);
        }
        prop_assert_eq!(resumed.snapshot(), applied(&history).snapshot());
    }

    /// A truncated or damaged checkpoint is refused; it never panics and never reads as another state.
    #[test]
    fn a_cut_checkpoint_is_refused(history in history(30), keep in 0.0..1.0f64) {
        let bytes = saved(&applied(&history).snapshot());
        let keep = (bytes.len() as f64 * keep) as usize;
        prop_assert!(checkpoint::read(&bytes[..keep]).is_err());
    }

    /// An envelope that comes twice applies once.
    #[test]
    fn retries_apply_once(history in history(30)) {
        let mut catalog = Catalog::default();
        let mut index = 0;
        for envelope in &history {
            index += 1;
            catalog.apply(index, envelope);
            index += 1;
            let again = catalog.apply(index, envelope);
            prop_assert_eq!(again.outcome, Outcome::Duplicate);
            prop_assert!(again.touched.is_empty());
        }
    }

    /// Whoever watches a service is woken whenever what they see of it changes, its index moves with it,
    /// and neither happens without the other.
    #[test]
    fn watchers_miss_nothing(history in history(60)) {
        let mut catalog = Catalog::default();
        // From 2: a daemon's first command registers its own node, see `Snapshot::service_index`.
        for (envelope, index) in history.iter().zip(2..) {
            let before = catalog.snapshot();
            let applied = catalog.apply(index, envelope);
            let after = catalog.snapshot();
            let since: BTreeSet<_> =
                after.services_touched_since(before.index()).into_iter().flatten().cloned().collect();
            let cluster = |s: &Snapshot| (s.cluster().members_index(), s.cluster().trust_index());
            let (then, now) = (cluster(&before), cluster(&after));
            let members = |s: &Snapshot| s.cluster().members().cloned().collect::<Vec<_>>();
            prop_assert_eq!(applied.touched.contains(&Topic::Members), then.0 != now.0);
            prop_assert_eq!(members(&before) != members(&after), then.0 != now.0);
            prop_assert_eq!(applied.touched.contains(&Topic::Trust), then.1 != now.1);
            prop_assert_eq!(trusted(&before) != trusted(&after), then.1 != now.1);
            for number in 0..4 {
                let name: Arc<str> = format!("s{number}").into();
                let woken = applied.touched.contains(&Topic::Service(name.clone()));
                prop_assert_eq!(woken, after.service_index(&name) != before.service_index(&name));
                prop_assert_eq!(woken, since.contains(&name));
                let health = |s: &Snapshot| {
                    let healths = s.service(&name).into_iter().flat_map(|service| service.iter());
                    healths.map(|i| (s.health(i), s.address_of(i))).collect::<Vec<_>>()
                };
                if !woken {
                    // A renewed registration may move `registered_index`, which no reader is shown.
                    prop_assert_eq!(health(&before), health(&after));
                    prop_assert_eq!(visible(&before, &name).0, visible(&after, &name).0);
                }
            }
        }
    }

    /// Both ways to an instance, and every way to a check, lead to the same thing; no service is empty.
    #[test]
    fn indexes_agree(history in history(80)) {
        let snapshot = applied(&history).snapshot();
        let by_service: Vec<_> = snapshot.services().flat_map(|service| {
            assert!(!service.instances.is_empty(), "{} is empty", service.name);
            service.iter().cloned().collect::<Vec<_>>()
        }).collect();
        prop_assert_eq!(by_service.len(), snapshot.instance_count());
        for instance in &by_service {
            let found = snapshot.instance(&instance.node, &instance.def.id).unwrap();
            prop_assert!(Arc::ptr_eq(instance, found));
        }
        for check in snapshot.checks() {
            let found = snapshot.check(&check.node, &check.def.id).unwrap();
            prop_assert!(Arc::ptr_eq(check, found));
        }
        let ids: Vec<_> = snapshot.checks().map(|c| (c.node.clone(), c.def.id.clone())).collect();
        prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }

    /// The dead stay dead until they are back: while a verdict stands, everything that lives by that node is
    /// critical, and nothing that lives by another is so for its sake.
    #[test]
    fn verdicts_hold(history in history(80)) {
        let mut catalog = Catalog::default();
        for (envelope, index) in history.iter().zip(1..) {
            let applied = catalog.apply(index, envelope);
            let now = catalog.snapshot();
            for instance in now.services().flat_map(|service| service.iter()) {
                if now.down(instance.life()).is_some() {
                    prop_assert_eq!(now.health(instance), Status::Critical);
                } else {
                    let judge = now.checks_of(instance).find(|check| check.output.contains("unreachable"));
                    prop_assert!(judge.is_none(), "{:?}", judge);
                }
            }
            if matches!(applied.outcome, Outcome::Duplicate) {
                continue;
            }
            let proposer = now.down(&envelope.node);
            prop_assert!(proposer.is_none_or(|down| down.epoch == envelope.epoch));
        }
    }

    /// No two members share a key or a number, a number is never given out twice, one root signs, and nobody
    /// who is denied belongs.
    #[test]
    fn members_are_told_apart(history in history(120)) {
        let mut catalog = Catalog::default();
        let mut numbers = std::collections::BTreeMap::new();
        for (envelope, index) in history.iter().zip(1..) {
            catalog.apply(index, envelope);
            let now = catalog.snapshot();
            let cluster = now.cluster();
            let keys: BTreeSet<_> = cluster.members().map(|member| member.key).collect();
            prop_assert_eq!(keys.len(), cluster.members().count());
            for server in cluster.members().filter(|member| member.role == Role::Server) {
                let whose = (server.name.clone(), server.create_index);
                prop_assert_eq!(numbers.entry(server.server_id).or_insert(whose.clone()), &whose);
                prop_assert_eq!(cluster.server(server.server_id), Some(server));
            }
            let founded = !cluster.id().is_empty();
            let signing = cluster.roots().filter(|root| root.state == RootState::Active).count();
            prop_assert_eq!(signing, usize::from(founded));
        }
    }

    /// No two services share a virtual address, and looking it up leads back.
    #[test]
    fn virtual_addresses_are_unique(history in history(80)) {
        let snapshot = applied(&history).snapshot();
        for service in snapshot.services() {
            let address = service.virtual_ip.unwrap().0;
            prop_assert_eq!(&snapshot.service_of_virtual_ip(address).unwrap().name, &service.name);
        }
    }

    /// A key is held by a living session or by none, and both ways to it agree; nobody locks what is delayed.
    #[test]
    fn locks_are_held_by_the_living(history in history(80)) {
        let snapshot = applied(&history).snapshot();
        for (key, entry) in snapshot.keys_under("") {
            let Some(session) = &entry.session else { continue };
            prop_assert!(snapshot.session(session).is_some(), "{key} is held by {session}, which is gone");
            prop_assert!(snapshot.keys_held_by(session).contains(key));
        }
        for session in snapshot.sessions() {
            let def = &session.def;
            prop_assert!(snapshot.node(&def.node).is_some());
            for check in def.checks() {
                let check = snapshot.check(&def.node, check);
                prop_assert!(check.is_some_and(|check| check.status != Status::Critical));
            }
            for key in snapshot.keys_held_by(&def.id) {
                prop_assert_eq!(snapshot.key(&key).unwrap().session.as_ref(), Some(&def.id));
            }
        }
    }

    /// Numbers of a topic only grow, by one, over removal and retention; what is kept has no gap; a producer's
    /// message is appended once.
    #[test]
    fn messages_are_numbered_once(history in history(80)) {
        let mut catalog = Catalog::default();
        let mut highest = std::collections::BTreeMap::new();
        for (envelope, index) in history.iter().zip(1..) {
            let applied = catalog.apply(index, envelope);
            let now = catalog.snapshot();
            for topic in now.topics() {
                let numbers: Vec<_> = topic.messages.iter().map(|message| message.index).collect();
                let dense: Vec<_> = (topic.first()..topic.next).collect();
                prop_assert_eq!(numbers, dense);
                prop_assert_eq!(topic.bytes, topic.messages.iter().map(|m| m.payload.len() as u64).sum::<u64>());
                let before = highest.insert(topic.name.clone(), topic.next).unwrap_or(1);
                let woken = applied.touched.contains(&Topic::Messages(topic.name.clone()));
                prop_assert!(topic.next >= before && (woken || topic.next == before));
            }
        }
    }
}
