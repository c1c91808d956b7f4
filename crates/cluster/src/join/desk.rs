//! The side that answers: any server of the cluster.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use catalog::{
    Candidate, Cluster, ClusterCommand, ClusterRefusal, Command, Issuer, Member, Outcome, Refusal, Role,
};
use store::Store;

use crate::ca::{ISSUER_MS, LEAF_MS, RENEWAL_MS, Root, Validity, lapse};
use crate::error::{Error, chain};
use crate::identity::Server;
use crate::join::wire::{Ask, Join, Renew, Reply, Request, Welcome, encode};
use crate::keys::PublicKey;
use crate::local::Local;
use crate::time::{Clock, DAY_MS, SECOND_MS, shifted};

/// Most requests that are looked at in one second: a signature is verified for each.
const MOST_PER_SECOND: u32 = 50;

/// Answers those who join and those who renew.
pub struct Desk {
    store: Store,
    local: Arc<Local>,
    clock: Clock,
    /// Who carries the order; empty when nobody said.
    order: &'static str,
    window: Mutex<(u64, u32)>,
}

struct No {
    reason: String,
    try_others: bool,
}

impl From<Error> for No {
    fn from(error: Error) -> No {
        No { reason: chain(&error), try_others: true }
    }
}

fn no(reason: impl Into<String>) -> No {
    No { reason: reason.into(), try_others: false }
}

/// What a server gets beyond a certificate.
struct NewIssuer {
    issuer: Issuer,
    path: Vec<Bytes>,
    validity: Validity,
    root: Root,
}

impl Desk {
    /// A desk for this server.
    pub fn new(store: Store, local: Arc<Local>, clock: Clock) -> Desk {
        Desk { store, local, clock, order: "", window: Mutex::default() }
    }

    /// The same, which refuses nodes that look for the order elsewhere: they would wait for ever.
    #[must_use]
    pub fn with_order(self, order: &'static str) -> Desk {
        Desk { order, ..self }
    }

    /// The reply to a request. Refusals are replies too.
    pub async fn answer(&self, request: &[u8]) -> Bytes {
        let reply = match self.decide(request).await {
            Ok(welcome) => Reply::Welcome(Box::new(welcome)),
            Err(No { reason, try_others }) => {
                tracing::info!(%reason, "a request to join or renew was refused");
                Reply::Refused { reason, try_others }
            }
        };
        encode(&reply).unwrap_or_default()
    }

    async fn decide(&self, request: &[u8]) -> Result<Welcome, No> {
        if self.is_flooded() {
            return Err(No {
                reason: "this server has too many requests now; try again".into(),
                try_others: true,
            });
        }
        match Request::open(request).map_err(|error| no(chain(&error)))? {
            (Ask::Join(join), key) => self.admit(join, key).await,
            (Ask::Renew(renew), key) => self.renew(renew, key).await,
        }
    }

    /// The servers' time: this host's clock may be wrong, and what it signs must not be.
    fn now_ms(&self) -> u64 {
        shifted((self.clock)(), self.local.clock_ahead_ms())
    }

    fn is_flooded(&self) -> bool {
        let second = (self.clock)() / SECOND_MS;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0 != second {
            *window = (second, 0);
        }
        window.1 += 1;
        window.1 > MOST_PER_SECOND
    }

    /// The order judges by its proposer's clock, which is this host's; here it is judged by the servers' time.
    fn check_time(&self, join: &Join) -> Result<(), No> {
        let (view, hash) = (self.store.now(), join.secret.hash());
        let known = view.cluster().join_secrets().find(|secret| secret.hash == hash);
        match known.filter(|known| self.now_ms() > known.expires_ms) {
            Some(_) => Err(no(ClusterRefusal::ExpiredSecret.to_string())),
            None => Ok(()),
        }
    }

    fn check_order(&self, join: &Join) -> Result<(), No> {
        if self.order.is_empty() || join.order.is_empty() || self.order == join.order {
            return Ok(());
        }
        let (ours, theirs) = (self.order, join.order.chars().take(20).collect::<String>());
        Err(no(format!(
            "cluster.order is \"{ours}\" on this cluster's nodes and \"{theirs}\" on the one that joins: say \"{ours}\" \
             there, with what [cluster.{ours}] says here, and join again"
        )))
    }

    async fn admit(&self, join: Join, key: PublicKey) -> Result<Welcome, No> {
        self.check_order(&join)?;
        self.check_time(&join)?;
        let new = match &join.issuer {
            Some(point) => Some(self.new_issuer(&join.name, point)?),
            None => None,
        };
        let candidate = Candidate {
            name: join.name.as_str().into(),
            role: join.role,
            disk: join.disk,
            addresses: join.addresses.iter().map(|text| text.as_str().into()).collect(),
            key: key.hash(),
            features: join.features,
        };
        let issuer = new.as_ref().map(|new| new.issuer.clone());
        let command = ClusterCommand::Admit { secret: join.secret.hash(), candidate, issuer };
        self.submit(command).await?;
        let view = self.store.now();
        let member = view.cluster().member(&join.name).ok_or_else(|| no("it was removed meanwhile"))?;
        tracing::info!(node = %join.name, role = %join.role, "a node joined");
        self.welcome(view.cluster(), member, &key, new)
    }

    async fn renew(&self, renew: Renew, key: PublicKey) -> Result<Welcome, No> {
        let view = self.store.now();
        let cluster = view.cluster();
        let hash = key.hash();
        if cluster.is_denied(hash) {
            return Err(no(ClusterRefusal::DeniedKey(hash).to_string()));
        }
        let member = cluster.member(&renew.name).filter(|member| member.key == hash);
        let Some(member) = member else {
            // This server may be behind the others.
            return Err(No {
                reason: format!("no member \"{}\" with this key is known; join again", renew.name),
                try_others: true,
            });
        };
        let roots: Vec<_> = cluster.roots().map(|root| root.certificate.to_vec()).collect();
        let shown: Vec<_> = renew.chain.iter().map(|der| der.to_vec()).collect();
        let shown = lapse(&shown, &roots, self.now_ms()).map_err(|error| no(chain(&error)))?;
        if shown.key != hash || shown.ago_ms > RENEWAL_MS {
            let days = shown.ago_ms / DAY_MS;
            return Err(no(format!(
                "its certificate ran out {days} days ago, which is too long; join again"
            )));
        }
        let new = match renew.issuer.filter(|_| member.role == Role::Server) {
            Some(point) => {
                let new = self.new_issuer(&renew.name, &point)?;
                self.submit(ClusterCommand::SetIssuer(new.issuer.clone())).await?;
                Some(new)
            }
            None => None,
        };
        self.welcome(cluster, member, &key, new)
    }

    async fn submit(&self, command: ClusterCommand) -> Result<(), No> {
        match self.store.propose(Command::Cluster(command)).await {
            Ok(applied) => match applied.outcome {
                Outcome::Refused(Refusal::Cluster(refusal)) => Err(no(refusal.to_string())),
                Outcome::Refused(refusal) => Err(no(refusal.to_string())),
                _ => Ok(()),
            },
            Err(cause) => Err(No { reason: chain(&cause), try_others: true }),
        }
    }

    fn new_issuer(&self, name: &str, point: &[u8]) -> Result<NewIssuer, No> {
        let key = PublicKey::new(point).ok_or_else(|| no("the key of its issuer is not on P-256"))?;
        let now_ms = self.now_ms();
        let root = self.local.with(|identity| identity.root("certify a new server"))?;
        let certificate = Bytes::from(root.sign_issuer(&key, now_ms)?);
        let validity = Validity::from_now(now_ms, ISSUER_MS);
        let view = self.store.now();
        let (own, node) = (root.key().hash(), name.into());
        let mut path = vec![certificate.clone()];
        path.extend(view.cluster().root(own).and_then(|root| root.cross.clone()));
        let issuer = Issuer { node, key: key.hash(), root: own, certificate };
        Ok(NewIssuer { issuer, path, validity, root })
    }

    fn welcome(
        &self,
        cluster: &Cluster,
        member: &Member,
        key: &PublicKey,
        new: Option<NewIssuer>,
    ) -> Result<Welcome, No> {
        let now_ms = self.now_ms();
        let validity = Validity::from_now(now_ms, LEAF_MS);
        let chain = self
            .local
            .with(|identity| identity.authority("certify a node")?.sign_node(&member.name, key, validity))?;
        let (issuer, issuer_validity, root_key) = match new {
            Some(new) => (Some(new.path), new.validity, Some(new.root.key().to_pem())),
            None => (None, Validity::default(), None),
        };
        Ok(Welcome {
            cluster: cluster.id().to_string(),
            role: member.role,
            server_id: member.server_id,
            chain: chain.into_iter().map(Bytes::from).collect(),
            validity,
            issuer,
            issuer_validity,
            root_key,
            roots: roots_of(cluster),
            now_ms,
            servers: servers_of(cluster).collect(),
        })
    }
}

/// Every root that is trusted, the one that signs first.
pub(crate) fn roots_of(cluster: &Cluster) -> Vec<Bytes> {
    let mut roots: Vec<_> = cluster.roots().collect();
    roots.sort_by_key(|root| (root.state != catalog::RootState::Active, root.key));
    roots.iter().map(|root| root.certificate.clone()).collect()
}

/// The servers, as every node remembers them.
pub(crate) fn servers_of(cluster: &Cluster) -> impl Iterator<Item = (String, Server)> + '_ {
    let servers = cluster.members().filter(|member| member.role == Role::Server);
    servers.map(|member| {
        let addresses = member.addresses.iter().map(|address| address.to_string()).collect();
        let server = Server { server_id: member.server_id, disk: member.disk, addresses };
        (member.name.to_string(), server)
    })
}
