//! Who votes: the first few servers that were admitted. Whoever leads sees to it, one step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{Cluster, Role};
use log::paxos::{ClusterStatus, Identity, Paxos, ServerId};
use state::Drain;
use store::Store;

/// How often the leader looks whether the right ones vote.
const LOOK: Duration = Duration::from_millis(500);

/// How long a server that lost its vote is left in peace.
const PEACE: Duration = Duration::from_secs(30);

/// One step toward the wished voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Add(Identity),
    Remove(ServerId),
}

/// Keeps the voters as they should be, until the drain starts.
pub(crate) async fn keep(log: Arc<Paxos>, store: Store, most: usize, drain: Drain) {
    let mut left = Left::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = drain.started() => return,
        }
        let status = log.cluster();
        left.look(&status, Instant::now());
        if status.leader != Some(status.me.server) {
            continue;
        }
        let Some(step) = step(&status, store.now().cluster(), most, &left) else { continue };
        let change = match step {
            Step::Add(identity) => log.add_server(identity),
            Step::Remove(server) => log.remove_server(server),
        };
        tokio::select! {
            changed = change => match changed {
                Ok(()) => tracing::info!(?step, "the voting servers changed"),
                Err(error) => tracing::warn!(?step, %error, "the voting servers did not change"),
            },
            () = drain.started() => return,
        }
    }
}

/// Servers that voted and do not any more. Somebody may be taking them out, vote first, and they are not asked to
/// vote again at once.
#[derive(Default)]
struct Left {
    voted: BTreeSet<ServerId>,
    since: BTreeMap<ServerId, Instant>,
}

impl Left {
    fn look(&mut self, status: &ClusterStatus, now: Instant) {
        let Some(present) = &status.configuration else { return };
        let vote: BTreeSet<_> = present.servers().collect();
        self.since.extend(self.voted.difference(&vote).map(|server| (*server, now)));
        self.since.retain(|_, since| now.duration_since(*since) < PEACE);
        self.voted = vote;
    }
}

/// Who is no member votes no more; then whoever waits is added, the oldest first.
fn step(status: &ClusterStatus, cluster: &Cluster, most: usize, left: &Left) -> Option<Step> {
    let present = status.configuration.as_ref()?;
    let mut servers: Vec<u64> = cluster
        .members()
        .filter(|member| member.role == Role::Server)
        .map(|member| member.server_id)
        .collect();
    servers.sort_unstable();
    let is_member = |server: ServerId| servers.contains(&server.0);
    if let Some(gone) = present.servers().find(|server| !is_member(*server)) {
        return Some(Step::Remove(gone));
    }
    if present.servers().count() >= most {
        return None;
    }
    let waiting = servers
        .iter()
        .map(|server| ServerId(*server))
        .filter(|server| !present.contains(*server) && !left.since.contains_key(server));
    // Only who speaks with us has caught up; the others wait for their turn.
    let ready = waiting.filter_map(|server| status.peers.iter().find(|peer| peer.server == server));
    let disk = ready.into_iter().find(|peer| peer.disk != 0)?;
    Some(Step::Add(Identity { server: disk.server, disk: disk.disk }))
}
