//! Keeping this node's certificate good: when to renew is [`due`], how is [`Renewer`].

use std::sync::Arc;

use catalog::{Candidate, ClusterCommand, Command, Issuer, Member, RootState, Snapshot};
use store::Store;

use crate::ca::{Authority, BACKDATE_MS, ISSUER_MS, LEAF_MS, Validity};
use crate::error::Error;
use crate::identity::{Facts, Identity};
use crate::init::candidate;
use crate::join::{self, Door};
use crate::keys::{Key, hash_of_certificate};
use crate::local::Local;
use crate::time::{Clock, shifted};

/// What is to be renewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// This node's certificate.
    pub leaf: bool,
    /// A server's issuer: a quarter of its time is left, or another root signs now.
    pub issuer: bool,
}

/// What is to be renewed at this time, which the servers' clock tells. A clock that shows less than when the
/// certificate was made is wrong, and asking a server sets it right.
pub fn due(facts: &Facts, is_of_active_root: bool, now_ms: u64) -> Due {
    let is_wrong = now_ms < facts.validity.from_ms;
    let leaf = is_wrong || now_ms >= facts.validity.renew_at_ms();
    let issuer = facts.issuer_validity;
    let is_old = now_ms >= issuer.until_ms.saturating_sub(ISSUER_MS / 4);
    let is_server = facts.role == catalog::Role::Server;
    Due { leaf, issuer: is_server && (is_old || !is_of_active_root) }
}

/// Renews when it is due.
pub struct Renewer {
    local: Arc<Local>,
    store: Store,
    door: Arc<dyn Door>,
    clock: Clock,
}

impl Renewer {
    /// A renewer of this node's certificate.
    pub fn new(local: Arc<Local>, store: Store, door: Arc<dyn Door>, clock: Clock) -> Renewer {
        Renewer { local, store, door, clock }
    }

    /// Looks once, and renews what is due. True when something was.
    ///
    /// # Errors
    /// Why nothing could be renewed; try again later, what there is stays.
    pub async fn turn(&self) -> Result<bool, Error> {
        let host_ms = (self.clock)();
        let now_ms = shifted(host_ms, self.local.clock_ahead_ms());
        if let Err(error) = crate::rotate::step(&self.local, &self.store, now_ms).await {
            tracing::warn!(error = %crate::error::chain(&error), "the root's rotation waits");
        }
        if let Err(error) = self.tell_address().await {
            tracing::warn!(error = %crate::error::chain(&error), "the others do not know this node's address yet");
        }
        let snapshot = self.store.now();
        self.local.pass_time(now_ms);
        self.local.follow(&snapshot)?;
        let is_current = self.local.with(|identity| is_of_active_root(identity, &snapshot));
        let mut due = self.local.with(|identity| due(&identity.facts, is_current, now_ms));
        due.leaf |= self.local.with(|identity| is_borrowed(identity, &snapshot));
        if due == Due::default() {
            return Ok(false);
        }
        if due.issuer && self.sign_own_issuer(&snapshot, now_ms).await? {
            self.sign_own_leaf(now_ms)?;
            return Ok(true);
        }
        let is_wrong = self.local.with(|identity| now_ms < identity.facts.validity.from_ms);
        let can_sign = self.local.with(|identity| identity.authority.is_some()) && !due.issuer;
        if can_sign && !is_wrong {
            self.sign_own_leaf(now_ms)?;
            return Ok(true);
        }
        match self.ask(due.issuer, host_ms).await {
            Err(_) if can_sign => {
                // Nobody to ask, as in a cluster of one: time goes on from where it was known last.
                let floor = self.local.with(|identity| identity.facts.validity.from_ms + BACKDATE_MS);
                self.sign_own_leaf(now_ms.max(floor))?;
                Ok(true)
            }
            other => {
                other?;
                if due.issuer {
                    self.sign_own_leaf(shifted(host_ms, self.local.clock_ahead_ms()))?;
                }
                Ok(true)
            }
        }
    }

    /// The catalog says where this node is reached and what it understands.
    async fn tell_address(&self) -> Result<(), Error> {
        let wished = self.local.with(candidate);
        let view = self.store.now();
        let known = view.cluster().member(&wished.name).filter(|member| member.key == wished.key);
        let differs =
            |known: &&Arc<Member>| known.addresses != wished.addresses || known.features != wished.features;
        if known.filter(differs).is_none() {
            return Ok(());
        }
        let Candidate { name, addresses, features, .. } = wished;
        let command = Command::Cluster(ClusterCommand::UpdateMember { name, addresses, features });
        let attempted = "tell the others this node's address";
        let submitted = self.store.submit(command).await;
        submitted.map(drop).map_err(|cause| Error::Submit { attempted, cause })
    }

    fn sign_own_leaf(&self, now_ms: u64) -> Result<(), Error> {
        self.local.change(|identity| {
            let validity = Validity::from_now(now_ms, LEAF_MS);
            let node = identity.facts.node.clone();
            let authority = identity.authority("renew this node's certificate")?;
            identity.chain = authority.sign_node(&node, &identity.key.public(), validity)?;
            identity.facts.validity = validity;
            identity.save()
        })
    }

    /// With the root's key at hand; false where it is not.
    async fn sign_own_issuer(&self, snapshot: &Snapshot, now_ms: u64) -> Result<bool, Error> {
        let active = snapshot.cluster().active_root();
        let root = self.local.with(|identity| identity.root("renew this server's issuer"));
        let root = match (root, active) {
            (Err(Error::NoRootKey { .. }), _) | (_, None) => return Ok(false),
            (Ok(root), Some(active)) if root.key().hash() != active.key => return Ok(false),
            (root, _) => root?,
        };
        let key = Key::generate()?;
        let certificate = root.sign_issuer(&key.public(), now_ms)?;
        let node = self.local.with(|identity| identity.facts.node.as_str().into());
        let issuer = Issuer {
            node,
            key: key.hash(),
            root: root.key().hash(),
            certificate: certificate.clone().into(),
        };
        let command = Command::Cluster(ClusterCommand::SetIssuer(issuer));
        let attempted = "make this server's issuer known";
        self.store.submit(command).await.map_err(|cause| Error::Submit { attempted, cause })?;
        let cross = active.and_then(|root| root.cross.as_ref()).map(|der| der.to_vec());
        let path = [certificate].into_iter().chain(cross).collect();
        self.local.change(|identity| {
            identity.authority = Some(Authority::from_parts(&identity.facts.cluster, key, path)?);
            identity.facts.issuer_validity = Validity::from_now(now_ms, ISSUER_MS);
            identity.save()
        })?;
        Ok(true)
    }

    async fn ask(&self, with_issuer: bool, host_ms: u64) -> Result<(), Error> {
        let data = self.local.with(|identity| identity.home().to_owned());
        let mut identity = Identity::load(data.parent().unwrap_or(&data))?;
        let others = identity.facts.servers.iter().filter(|(name, _)| **name != identity.facts.node);
        let addresses: Vec<_> = others.flat_map(|(_, server)| server.addresses.clone()).collect();
        let ahead = join::renew(&mut identity, &addresses, self.door.as_ref(), with_issuer, host_ms).await?;
        self.local.replace(identity, Some(ahead));
        Ok(())
    }
}

/// Whether this node's certificate leans on somebody who may go, or is gone: a server signs for itself, and what
/// a denied key signed does not count for long.
fn is_borrowed(identity: &Identity, snapshot: &Snapshot) -> bool {
    let path = identity.chain.get(1..).unwrap_or_default();
    let is_denied =
        |der: &Vec<u8>| hash_of_certificate(der).is_ok_and(|key| snapshot.cluster().is_denied(key));
    let is_others = |authority: &Authority| path.first().is_none_or(|der| der != authority.certificate());
    path.iter().any(is_denied) || identity.authority.as_ref().is_some_and(is_others)
}

/// Whether a server's issuer was signed by the root that signs now. True where nothing is known.
fn is_of_active_root(identity: &Identity, snapshot: &Snapshot) -> bool {
    let cluster = snapshot.cluster();
    let own = cluster.issuer(&identity.facts.node);
    let signed_by = own.and_then(|issuer| cluster.root(issuer.root)).map(|root| root.state);
    let is_shown = identity.authority.as_ref().is_none_or(|authority| {
        own.is_none_or(|own| hash_of_certificate(authority.certificate()).is_ok_and(|key| key == own.key))
    });
    is_shown && matches!(signed_by, None | Some(RootState::Active))
}
