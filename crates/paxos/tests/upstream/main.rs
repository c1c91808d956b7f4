//! What is wrong in omnipaxos 0.2.4 and contained here, shown on the unmodified crate.
//!
//! These tests assert the defects. When a newer version makes one fail, the containment beside it may go.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod memory;

use std::collections::BTreeMap;

use memory::Memory;
use omnipaxos::messages::Message;
use omnipaxos::messages::sequence_paxos::PaxosMsg;
use omnipaxos::storage::{Entry, Snapshot};
use omnipaxos::util::{LogEntry, NodeId};
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use serde::{Deserialize, Serialize};

/// Sets one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Set(u32, u32);

/// The state that the commands lead to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State(BTreeMap<u32, u32>);

impl Entry for Set {
    type Snapshot = State;
}

impl Snapshot<Set> for State {
    fn create(entries: &[Set]) -> Self {
        Self(entries.iter().map(|set| (set.0, set.1)).collect())
    }

    fn merge(&mut self, delta: Self) {
        self.0.extend(delta.0);
    }

    fn use_snapshots() -> bool {
        true
    }
}

struct Cluster {
    servers: Vec<OmniPaxos<Set, Memory<Set>>>,
    isolated: Option<NodeId>,
}

impl Cluster {
    fn new() -> Self {
        let server = |pid| {
            let cluster = ClusterConfig { configuration_id: 1, nodes: vec![1, 2, 3], flexible_quorum: None };
            let server = ServerConfig { pid, election_tick_timeout: 5, ..ServerConfig::default() };
            cluster.build_for_server(server, Memory::default()).unwrap()
        };
        Self { servers: (1..=3).map(server).collect(), isolated: None }
    }

    fn server(&mut self, pid: NodeId) -> &mut OmniPaxos<Set, Memory<Set>> {
        &mut self.servers[pid as usize - 1]
    }

    /// Takes out what the servers say, without those that the isolated one says or is told.
    fn take(&mut self) -> Vec<Message<Set>> {
        let mut messages = Vec::new();
        for server in &mut self.servers {
            let mut out = Vec::new();
            server.take_outgoing_messages(&mut out);
            messages.append(&mut out);
        }
        let isolated = self.isolated;
        messages.retain(|message| {
            Some(message.get_sender()) != isolated && Some(message.get_receiver()) != isolated
        });
        messages
    }

    /// Delivers everything, in order, until nobody says anything more.
    fn settle(&mut self) {
        loop {
            let messages = self.take();
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.server(message.get_receiver()).handle_incoming(message);
            }
        }
    }

    fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.servers.iter_mut().for_each(OmniPaxos::tick);
            self.settle();
        }
    }

    fn leader(&mut self) -> NodeId {
        self.run(60);
        let isolated = self.isolated;
        let looking = (1..=3).find(|pid| Some(*pid) != isolated).unwrap();
        let (leader, at_work) = self.server(looking).get_current_leader().unwrap();
        assert!(at_work);
        leader
    }

    fn state(&mut self, pid: NodeId) -> State {
        let mut state = State::default();
        for entry in self.server(pid).read_decided_suffix(0).unwrap() {
            match entry {
                LogEntry::Decided(set) => state.merge(State::create(&[set])),
                LogEntry::Snapshotted(snapshot) => state = snapshot.snapshot,
                other => panic!("{other:?}"),
            }
        }
        state
    }
}

/// A leader that was cut off holds entries that nobody chose. When it is brought up to date by a delta snapshot,
/// its decided index is raised before the base of that snapshot is built, and they end up in its state.
#[test]
fn a_delta_snapshot_brings_ghosts_to_life() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    cluster.server(old).append(Set(0, 0)).unwrap();
    cluster.run(5);

    cluster.isolated = Some(old);
    for ghost in 100..104 {
        cluster.server(old).append(Set(ghost, 1)).unwrap();
    }
    let new = cluster.leader();
    assert_ne!(old, new);
    cluster.server(new).append(Set(1, 1)).unwrap();
    cluster.server(new).append(Set(2, 2)).unwrap();
    cluster.run(5);

    cluster.isolated = None;
    for other in (1..=3).filter(|pid| *pid != old) {
        cluster.server(old).reconnected(other);
        cluster.server(other).reconnected(old);
    }
    cluster.run(300);

    let right = cluster.state(new);
    assert_eq!(right.0.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let wrong = cluster.state(old);
    assert_ne!(wrong, right, "omnipaxos no longer corrupts: see whether Marker may go");
    assert!(wrong.0.keys().any(|key| *key >= 100), "{wrong:?}");
}

/// A follower that holds the stop-sign and is synchronised in the same round counts it twice: once among the
/// entries that it shares with the leader, once more when it is set.
#[test]
fn a_stop_sign_is_counted_twice() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.server(leader).append(Set(0, 0)).unwrap();
    cluster.run(5);

    let next = ClusterConfig { configuration_id: 2, nodes: vec![1, 2, 3], flexible_quorum: None };
    cluster.server(leader).reconfigure(next, None).unwrap();
    let follower = (1..=3).find(|pid| *pid != leader).unwrap();
    // The follower accepts the stop-sign; its vote, and everything else, is lost with the session.
    for message in cluster.take() {
        if message.get_receiver() == follower {
            cluster.server(follower).handle_incoming(message);
        }
    }
    let _lost = cluster.take();
    assert_eq!(cluster.server(follower).get_accepted_idx(), 2);

    cluster.server(follower).reconnected(leader);
    for _ in 0..4 {
        for message in cluster.take() {
            let between = [message.get_sender(), message.get_receiver()];
            let vote =
                matches!(&message, Message::SequencePaxos(m) if matches!(m.msg, PaxosMsg::Accepted(_)));
            if between.contains(&leader) && between.contains(&follower) && !vote {
                cluster.server(message.get_receiver()).handle_incoming(message);
            }
        }
    }
    assert_eq!(cluster.server(leader).get_accepted_idx(), 2);
    let counted = cluster.server(follower).get_accepted_idx();
    assert_eq!(counted, 3, "omnipaxos counts right: see whether link::correct may go");
}
