//! With whom the log's engines speak: the members as the catalog has them, and before it is replayed as they were
//! written down.

use std::sync::Arc;

use catalog::{Cluster, Role};
use state::{Drain, Publisher, Reader};
use store::Store;

use super::carrier::Correspondents;

/// Numbers of agents have this bit: the order gives none to who never votes, and the mesh's carrier needs one.
const AGENT: u64 = 1 << 63;

/// A member, as far as linking with it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    pub(crate) server_id: u64,
    pub(crate) disk: u64,
    pub(crate) addresses: Vec<Arc<str>>,
}

impl Acquaintance {
    /// What the log knows it by.
    pub(crate) fn number(&self) -> u64 {
        match self.role {
            Role::Server => self.server_id,
            Role::Agent => self.disk | AGENT,
        }
    }
}

/// Publishes whom to speak with.
pub(crate) struct Roster {
    own: Acquaintance,
    correspondents: Publisher<Correspondents>,
}

impl Roster {
    /// The roster of `own`, with those that were known when it last stopped, or whom it joined by.
    pub(crate) fn new(own: Acquaintance, known: &[Acquaintance]) -> Roster {
        let correspondents = state::channel(correspondents(&own, known)).0;
        Roster { own, correspondents }
    }

    /// For the carrier.
    pub(crate) fn correspondents(&self) -> Reader<Correspondents> {
        self.correspondents.reader()
    }

    /// Follows the catalog until the drain starts.
    pub(crate) async fn follow(self: Arc<Self>, store: Store, drain: Drain) {
        let mut views = store.reader();
        let mut seen = None;
        loop {
            let view = views.now();
            let cluster = view.cluster();
            // A node that has just joined has not heard of anybody: whom it joined by is all that it knows.
            if !cluster.id().is_empty() && seen != Some(cluster.members_index()) {
                seen = Some(cluster.members_index());
                let members = acquaintances(cluster);
                self.correspondents.publish_if_changed(correspondents(&self.own, &members));
            }
            tokio::select! {
                next = views.next() => if next.is_none() { return },
                () = drain.started() => return,
            }
        }
    }
}

/// The members of a catalog.
pub(crate) fn acquaintances(cluster: &Cluster) -> Vec<Acquaintance> {
    let known = |member: &Arc<catalog::Member>| Acquaintance {
        name: member.name.clone(),
        role: member.role,
        server_id: member.server_id,
        disk: member.disk,
        addresses: member.addresses.clone(),
    };
    cluster.members().map(known).collect()
}

/// Servers speak with everybody, agents with servers.
fn correspondents(own: &Acquaintance, members: &[Acquaintance]) -> Correspondents {
    let speaks = |other: &&Acquaintance| {
        other.name != own.name && (own.role == Role::Server || other.role == Role::Server)
    };
    let others = members.iter().filter(speaks);
    Correspondents {
        own: own.number(),
        peers: others.map(|other| (other.name.to_string(), other.number())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, role: Role, server_id: u64) -> Acquaintance {
        let addresses = vec![format!("{name}:8300").into()];
        Acquaintance { name: name.into(), role, server_id, disk: 7, addresses }
    }

    #[test]
    fn agents_speak_with_servers() {
        let all = [member("a", Role::Server, 1), member("b", Role::Agent, 0), member("c", Role::Agent, 0)];
        let names = |own: &Acquaintance| correspondents(own, &all).peers.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&all[0]), ["b", "c"]);
        assert_eq!(names(&all[1]), ["a"]);
        assert_ne!(all[1].number(), 0, "an agent has a number, too");
    }
}
