//! Who may reach what, and which names lead elsewhere, made ready to be asked once for every connection.

mod leaf;
mod networks;
mod redirects;
mod ruleset;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use catalog::{Intention, Mode, Redirection, Snapshot};
use serde::Serialize;

pub use redirects::{Aim, End, Hop, Lead};
pub use ruleset::{Facets, RuleSet, RuleView, Ruling};

use crate::caller::{Caller, Principal};
use crate::routes::Backend;
use redirects::Redirects;
pub(crate) use redirects::{Found, Turn};

/// What this host adds to what was agreed on.
#[derive(Clone, Default)]
pub struct Here {
    /// This node's name.
    pub node: Arc<str>,
    /// Names of users, by user id.
    pub identities: BTreeMap<u32, Arc<str>>,
    /// Rules of its configuration: asked before those of the cluster.
    pub rules: Vec<Arc<Intention>>,
    /// Redirections of its configuration: they hide those of the cluster that have the same name.
    pub redirections: Vec<Arc<Redirection>>,
    /// How strict this host is at least.
    pub mode: Mode,
    /// Whether this host ends connections that it handed over, once the rules forbid them.
    pub ends_handed: bool,
    /// Who is told what would have been denied.
    pub witness: Option<Arc<dyn Witness>>,
}

/// Is told of every connection that only passes because the mode is `observe`. Called on the way of that
/// connection, so it must be quick.
pub trait Witness: Send + Sync {
    /// `principal` reached `service` by `scheme`, and would be denied by `rule`, or for want of any.
    fn would_deny(&self, principal: &Principal, scheme: &str, service: &str, rule: Option<&Intention>);
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").field("node", &self.node).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl PartialEq for Here {
    /// Without the witness, who changes nothing.
    fn eq(&self, other: &Here) -> bool {
        let own =
            (&self.node, &self.identities, &self.rules, &self.redirections, self.mode, self.ends_handed);
        let Here { node, identities, rules, redirections, mode, ends_handed, witness: _ } = other;
        own == (node, identities, rules, redirections, *mode, *ends_handed)
    }
}

impl Eq for Here {}

impl Here {
    /// What becomes of a live connection when the rules no longer allow it, in words.
    pub fn when_rules_change(&self) -> &'static str {
        match self.ends_handed {
            true => {
                "what passes through the daemon ends at once when the rules no longer allow it, and so does a TCP or UDP \
                 connection that was handed over to a program, by the kernel; one over a Unix socket goes on until one \
                 side ends it, because nobody else can"
            }
            false => {
                "what passes through the daemon ends at once when the rules no longer allow it; what was handed over to a \
                 program goes on until one side ends it: over TCP and UDP because this daemon lacks CAP_NET_ADMIN, over a \
                 Unix socket because nobody can end it"
            }
        }
    }
}

/// The compiled rules with how strictly they are used.
#[derive(Debug)]
pub struct Policy {
    here: Arc<Here>,
    agreed: Arc<catalog::Rules>,
    mode: Mode,
    domain: Arc<str>,
    rules: RuleSet,
    redirects: Redirects,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::compile(&Snapshot::default(), Arc::default(), None)
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        let own = (&self.here, &self.agreed, self.mode, &self.domain);
        own == (&other.here, &other.agreed, other.mode, &other.domain)
    }
}

impl Eq for Policy {}

impl Policy {
    /// Compiles what `snapshot` and this host say. Counters of rules that were there `before` go on.
    pub fn compile(snapshot: &Snapshot, here: Arc<Here>, before: Option<&Policy>) -> Policy {
        let agreed = snapshot.rules().clone();
        let own = here.rules.iter().map(|rule| (rule, true));
        let rules = own.chain(agreed.intentions().map(|rule| (rule, false)));
        let rules = RuleSet::compile(rules, before.map(|before| &before.rules));
        let hidden =
            |redirection: &&Arc<Redirection>| !here.redirections.iter().any(|h| h.name == redirection.name);
        let redirects = here.redirections.iter().chain(agreed.redirections().filter(hidden));
        let redirects = Redirects::compile(redirects, before.map(|before| &before.redirects));
        let (mode, domain) = (snapshot.mode().max(here.mode), domain(snapshot, &here));
        Policy { here, agreed, mode, domain, rules, redirects }
    }

    /// The policy of `snapshot`, or `None` when this one still is.
    pub fn advance(&self, snapshot: &Snapshot) -> Option<Policy> {
        (!self.is_of(snapshot)).then(|| Policy::compile(snapshot, self.here.clone(), Some(self)))
    }

    /// True when this is what `snapshot` says.
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        (Arc::ptr_eq(&self.agreed, snapshot.rules()) || self.agreed == *snapshot.rules())
            && self.mode == snapshot.mode().max(self.here.mode)
            && self.domain == domain(snapshot, &self.here)
    }

    /// How strictly rules are used here.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Index of the last agreed change of a rule or redirection.
    pub fn index(&self) -> u64 {
        self.agreed.index()
    }

    /// What this host adds.
    pub fn here(&self) -> &Arc<Here> {
        &self.here
    }

    /// The compiled rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Where names lead instead: every redirection that holds here.
    pub fn redirections(&self) -> impl Iterator<Item = &Arc<Redirection>> {
        self.redirects.iter()
    }

    /// True when it matters whose a socket on this host is: the mode asks, and some rule is about users or their
    /// names.
    pub fn asks_users(&self) -> bool {
        self.mode != Mode::Open && (self.rules.names_users() || !self.here.identities.is_empty())
    }

    /// Every redirection's destinations that are plain TCP addresses, with the name and the URI that lead there.
    pub fn places(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Arc<Backend>)> {
        self.redirects.places()
    }

    /// Where `name` leads by a random draw; `None` when it is not redirected. Nothing is dealt.
    pub fn aim<'a>(&'a self, name: &'a str, draw: u32) -> Option<Aim<'a>> {
        self.redirects.aim(name, draw)
    }

    pub(crate) fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// What the rules say about a caller who wishes to reach `service`, whatever the mode.
    pub fn ruling(&self, caller: &Caller<'_>, service: &str) -> Ruling {
        self.rules.judge(&self.facets(caller), service)
    }

    /// What the rules can ask about a caller.
    fn facets<'a>(&'a self, caller: &Caller<'a>) -> Facets<'a> {
        let mut facets = Facets {
            uid: None,
            names: [None, None],
            node: None,
            from: caller.from,
            host: caller.host,
            resolved: caller.resolved,
            scheme: caller.scheme,
            direction: caller.direction(&self.here.node),
        };
        match caller.principal {
            Principal::Local { uid } => {
                facets.uid = Some(*uid);
                facets.names[0] = self.here.identities.get(uid).map(|name| &**name);
                facets.node = Some(&self.here.node);
            }
            Principal::Node { name } => facets.node = Some(name),
            Principal::Identity { id } => {
                facets.names[0] = Some(id);
                match self.path_in_domain(id) {
                    // `ns/default/dc/NAME/svc/NAME`: a service as Consul's clients have it certified.
                    Some(("ns", rest)) => facets.names[1] = rest.split_once("/svc/").map(|(_, name)| name),
                    Some(("node", name)) => facets.node = Some(name),
                    Some((_, name)) => facets.names[1] = Some(name),
                    None => {}
                }
            }
            // Another host's user ids are not this host's: only the name counts.
            Principal::Delegated { node, identity, .. } => {
                facets.names[0] = identity.as_deref();
                facets.node = Some(node);
            }
            Principal::Anonymous { from } => facets.from = facets.from.or(Some(*from)),
        }
        facets
    }

    /// The id that the cluster's own authority gives to a name of a kind: `service` or `node`.
    pub fn own_id(&self, kind: &str, name: &str) -> Arc<str> {
        format!("spiffe://{}/{kind}/{name}", self.domain).into()
    }

    /// `spiffe://DOMAIN/kind/name` of the cluster's own domain: no other authority may speak for its names.
    fn path_in_domain<'a>(&self, id: &'a str) -> Option<(&'a str, &'a str)> {
        let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
        (!self.domain.is_empty() && *domain == *self.domain).then(|| path.split_once('/')).flatten()
    }
}

/// Whose names are the cluster's own: the cluster's, and before there is one this node's.
fn domain(snapshot: &Snapshot, here: &Here) -> Arc<str> {
    let cluster = snapshot.cluster().id();
    if cluster.is_empty() { here.node.clone() } else { cluster.clone() }
}

/// A rule as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleShown {
    /// Its id.
    pub id: Arc<str>,
    /// The rule in words.
    pub rule: String,
    /// File and line where it was written; empty when it was written nowhere.
    pub origin: String,
    /// True when it is this host's own.
    pub is_local: bool,
}

impl fmt::Display for RuleShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule \"{}\"", self.rule)?;
        if self.origin.is_empty() { Ok(()) } else { write!(f, " ({})", self.origin) }
    }
}

/// Kept from one compilation to the next, so that nothing is counted twice or forgotten.
type Counters = BTreeMap<(Arc<str>, bool), Arc<std::sync::atomic::AtomicU64>>;
