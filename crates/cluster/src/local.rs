//! The identity of a running node: one place that changes it, whole states for those who read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Index, KeyHash, Snapshot};
use state::{Publisher, Reader};

use crate::error::Error;
use crate::identity::Identity;
use crate::join::{roots_of, servers_of};

/// Who this node is to others, and whom it believes. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The cluster's id: the trust domain.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// Its chain, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, PKCS#8 in DER.
    pub key: Arc<Vec<u8>>,
    /// Roots that are trusted, DER; the one that signs first.
    pub roots: Vec<Vec<u8>>,
    /// Keys that nobody may use.
    pub denied: BTreeSet<KeyHash>,
    /// By how much the servers' clock is ahead of this host's, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (node, denied) = (&self.node, &self.denied);
        f.debug_struct("Credentials").field("node", node).field("denied", denied).finish_non_exhaustive()
    }
}

/// Whom to link with: name to addresses, `host:port` each.
pub type Peers = BTreeMap<String, Vec<String>>;

/// This node's identity while it runs.
pub struct Local {
    state: Mutex<State>,
    credentials: Publisher<Credentials>,
    peers: Publisher<Peers>,
}

struct State {
    identity: Identity,
    denied: BTreeSet<KeyHash>,
    clock_ahead_ms: i64,
    /// The latest time that was told.
    now_ms: u64,
    /// Indexes of members and trust that were followed, once nothing of them waits for a time.
    followed: Option<(Index, Index)>,
}

impl State {
    fn credentials(&self) -> Credentials {
        let identity = &self.identity;
        Credentials {
            cluster: identity.facts.cluster.clone(),
            node: identity.facts.node.clone(),
            chain: identity.chain.clone(),
            key: Arc::new(identity.key.to_der()),
            roots: identity.roots.clone(),
            denied: self.denied.clone(),
            clock_ahead_ms: self.clock_ahead_ms,
        }
    }
}

impl Local {
    /// Begins from the files: what they say is believed until the catalog says otherwise.
    pub fn new(identity: Identity) -> Arc<Local> {
        let peers = identity.facts.servers.iter();
        let peers = peers.map(|(name, server)| (name.clone(), server.addresses.clone()));
        let peers: Peers = peers.filter(|(name, _)| *name != identity.facts.node).collect();
        let state = State { identity, denied: BTreeSet::new(), clock_ahead_ms: 0, now_ms: 0, followed: None };
        let (credentials, _) = state::channel(state.credentials());
        let (peers, _) = state::channel(peers);
        Arc::new(Local { state: Mutex::new(state), credentials, peers })
    }

    /// Who this node is to others, and whom it believes.
    pub fn credentials(&self) -> Reader<Credentials> {
        self.credentials.reader()
    }

    /// Whom to link with: every server, and on servers every member.
    pub fn peers(&self) -> Reader<Peers> {
        self.peers.reader()
    }

    /// Looks at the identity.
    pub fn with<T>(&self, look: impl FnOnce(&Identity) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner).identity)
    }

    /// This node is reached elsewhere from now on. The catalog hears of it at the renewer's next turn.
    ///
    /// # Errors
    /// What the disk says; an address that is none.
    pub fn move_to(&self, addresses: Vec<String>) -> Result<(), Error> {
        let texts: Vec<std::sync::Arc<str>> = addresses.iter().map(|text| text.as_str().into()).collect();
        catalog::validate::mesh_addresses(&texts)?;
        self.change(|identity| {
            if identity.facts.addresses == addresses {
                return Ok(());
            }
            identity.facts.addresses = addresses;
            identity.save()
        })
    }

    /// Tells the time, for denials that count from a moment on. The next [`Local::follow`] goes by it.
    pub(crate) fn pass_time(&self, now_ms: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now_ms = state.now_ms.max(now_ms);
    }

    /// By how much the servers' clock is ahead of this host's, in milliseconds.
    pub fn clock_ahead_ms(&self) -> i64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clock_ahead_ms
    }

    /// Changes the identity, and tells whoever reads. What the change wrote is in the files.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Identity) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut state.identity)?;
        self.credentials.publish_if_changed(state.credentials());
        Ok(done)
    }

    /// Puts a renewed identity in the place of the old one.
    pub(crate) fn replace(&self, identity: Identity, clock_ahead_ms: Option<i64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.identity = identity;
        state.followed = None;
        state.clock_ahead_ms = clock_ahead_ms.unwrap_or(state.clock_ahead_ms);
        self.credentials.publish_if_changed(state.credentials());
    }

    /// Follows the catalog: roots, denied keys, servers. Files are written where they differ. Costs nothing while
    /// those stay as they are.
    ///
    /// # Errors
    /// What the disk says; what is believed has changed all the same.
    pub fn follow(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let cluster = snapshot.cluster();
        if cluster.id().is_empty() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let indexes = (cluster.members_index(), cluster.trust_index());
        if state.followed == Some(indexes) {
            return Ok(());
        }
        let now_ms = state.now_ms.max(snapshot.time_ms());
        let denied = cluster.denied().filter(|denied| now_ms >= denied.since_ms + denied.delay_ms);
        state.denied = denied.map(|denied| denied.key).collect();
        state.followed = (state.denied.len() == cluster.denied().count()).then_some(indexes);
        let roots: Vec<_> = roots_of(cluster).iter().map(|der| der.to_vec()).collect();
        let servers: BTreeMap<_, _> = servers_of(cluster).collect();
        let identity = &mut state.identity;
        let mut differs = identity.roots != roots || identity.facts.servers != servers;
        (identity.roots, identity.facts.servers) = (roots, servers);
        if let Some(own) = cluster.member(&identity.facts.node) {
            differs |= identity.facts.server_id != own.server_id;
            identity.facts.server_id = own.server_id;
        }
        self.credentials.publish_if_changed(state.credentials());
        self.peers.publish_if_changed(peers_of(&state.identity, snapshot));
        if differs {
            // A write that failed is tried again at the next change.
            return state.identity.save();
        }
        Ok(())
    }
}

/// Servers link with everybody, agents with servers.
fn peers_of(identity: &Identity, snapshot: &Snapshot) -> Peers {
    let is_server = identity.facts.role == catalog::Role::Server;
    let members = snapshot.cluster().members().filter(|member| *member.name != *identity.facts.node);
    let wanted = members.filter(|member| is_server || member.role == catalog::Role::Server);
    let addresses = |member: &catalog::Member| member.addresses.iter().map(|a| a.to_string()).collect();
    wanted.map(|member| (member.name.to_string(), addresses(member))).collect()
}
