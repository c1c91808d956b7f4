//! Names that lead elsewhere, followed to their end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use catalog::{Destination, Redirection, Status};
use serde::Serialize;

use crate::decide::Denial;
use crate::routes::{Backend, Endpoint, Target};

/// Longest chain that is followed.
const MOST_HOPS: usize = 16;

/// One redirection that was followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Name that is redirected.
    pub name: Arc<str>,
    /// Name or URI that this connection is led to.
    pub to: Arc<str>,
    /// The redirection in words, with its shares.
    pub redirection: String,
    /// File and line where it was written; empty when it was written nowhere.
    pub origin: String,
}

/// Where a name leads in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// To the service of this name.
    Service(Arc<str>),
    /// To this URI, in place of the service of this name.
    Uri {
        /// The last name of the chain: what rules are about.
        name: Arc<str>,
        /// Where it leads.
        uri: Arc<str>,
    },
}

/// A name with the redirections that were followed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// In order; empty when the name is not redirected.
    pub hops: Vec<Hop>,
    /// Where they end.
    pub end: End,
}

/// Whether following counts: shares are dealt in turn, so looking must not change whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Take,
    Look,
    /// This number, whoever drew it.
    Drawn(u64),
}

/// Where a redirected name leads, for whoever answers questions and makes no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim<'a> {
    /// To the service of this name; to itself, where it keeps a share.
    Service(&'a str),
    /// To this URI, in place of the service of this name.
    Uri {
        /// The last name of the chain.
        name: &'a Arc<str>,
        /// Where it leads.
        uri: &'a Arc<str>,
    },
    /// Back to itself.
    Circle,
}

#[derive(Debug)]
struct Compiled {
    redirection: Arc<Redirection>,
    total: u64,
    turn: Arc<AtomicU64>,
    /// For each destination that is a plain TCP address: what a proxy dials.
    backends: Vec<Option<Arc<Backend>>>,
}

impl Compiled {
    fn new(redirection: &Arc<Redirection>, turn: Arc<AtomicU64>) -> Compiled {
        let total = redirection.to.iter().map(|destination| u64::from(destination.weight)).sum();
        let backends = redirection.to.iter().map(|to| tcp_backend(&redirection.name, to)).collect();
        Compiled { redirection: redirection.clone(), total, turn, backends }
    }

    /// The next destination: of `total` connections in a row each gets its share, spread evenly.
    fn choose(&self, turn: Turn) -> Option<usize> {
        if self.redirection.to.len() < 2 {
            return (!self.redirection.to.is_empty()).then_some(0);
        }
        let number = match turn {
            Turn::Take => self.turn.fetch_add(1, Relaxed),
            Turn::Look => self.turn.load(Relaxed),
            Turn::Drawn(number) => number,
        };
        let total = self.total.max(1);
        let mut left = (number % total).wrapping_mul(stride(total)) % total;
        self.redirection.to.iter().position(|destination| {
            let weight = u64::from(destination.weight);
            let is_here = left < weight;
            left = left.wrapping_sub(weight);
            is_here
        })
    }
}

/// A step near the golden section of `total` that shares no divisor with it: walking by it visits every place
/// once, and neighbours late.
fn stride(total: u64) -> u64 {
    let divides = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let near = (total * 618 / 1000).max(1);
    (near..=total).find(|step| divides(*step, total) == 1).unwrap_or(1)
}

fn tcp_backend(name: &Arc<str>, destination: &Destination) -> Option<Arc<Backend>> {
    let authority = destination.to.strip_prefix("tcp://")?.trim_end_matches('/');
    let target = match authority.parse::<SocketAddr>() {
        Ok(address) => Target::Ip(address),
        Err(_) => {
            let (host, port) = authority.rsplit_once(':')?;
            let is_host =
                !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
            Target::Host(host.into(), is_host.then(|| port.parse().ok()).flatten()?)
        }
    };
    let endpoint = Endpoint {
        node: "".into(),
        id: destination.to.clone(),
        target,
        weight: 1,
        status: Status::Passing,
        tags: Vec::new(),
        protocol: None,
    };
    let (service, endpoints) = (name.clone(), vec![endpoint]);
    Some(Arc::new(Backend { service, endpoints, registered: 1, virtual_ip: None, port: 0, index: 0 }))
}

/// Every redirection, by name.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    by_name: BTreeMap<Arc<str>, Compiled>,
    sorted: Vec<Arc<Redirection>>,
}

/// Where following ended, borrowed.
pub(crate) enum Found<'a> {
    Service(&'a str),
    Uri { name: &'a Arc<str>, uri: &'a Arc<str>, backend: Option<&'a Arc<Backend>> },
}

impl Redirects {
    pub(super) fn compile<'a>(
        redirections: impl Iterator<Item = &'a Arc<Redirection>>,
        before: Option<&Redirects>,
    ) -> Redirects {
        let turn = |name: &str| before.and_then(|before| Some(before.by_name.get(name)?.turn.clone()));
        let mut sorted: Vec<_> = redirections.cloned().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let compiled = |r: &Arc<Redirection>| Compiled::new(r, turn(&r.name).unwrap_or_default());
        let by_name = sorted.iter().map(|r| (r.name.clone(), compiled(r))).collect();
        Redirects { by_name, sorted }
    }

    /// Every destination that is a plain TCP address, with the name and the URI that lead there.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Arc<Backend>)> {
        self.by_name.values().flat_map(|compiled| {
            let to = compiled.redirection.to.iter().zip(&compiled.backends);
            to.filter_map(|(to, backend)| Some((&compiled.redirection.name, &to.to, backend.as_ref()?)))
        })
    }

    /// Where `name` leads by that draw; `None` when it is not redirected.
    pub(super) fn aim<'a>(&'a self, name: &'a str, draw: u32) -> Option<Aim<'a>> {
        self.get(name)?;
        Some(match self.follow(name, Turn::Drawn(draw.into()), |_, _| {}) {
            Ok(Found::Service(name)) => Aim::Service(name),
            Ok(Found::Uri { name, uri, .. }) => Aim::Uri { name, uri },
            Err(_) => Aim::Circle,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Redirection>> {
        self.sorted.iter()
    }

    pub(crate) fn redirection(&self, name: &str) -> Option<&Arc<Redirection>> {
        self.get(name).map(|compiled| &compiled.redirection)
    }

    fn get(&self, name: &str) -> Option<&Compiled> {
        if self.by_name.is_empty() {
            return None;
        }
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.by_name.get(&*name.to_ascii_lowercase()),
            false => self.by_name.get(name),
        }
    }

    /// Follows `name` to its end, and tells of every hop.
    ///
    /// # Errors
    /// [`Denial::Circle`] with the chain: two hosts' configurations can make one that no command was refused for.
    pub(crate) fn follow<'a>(
        &'a self,
        name: &'a str,
        turn: Turn,
        mut hop: impl FnMut(&'a Arc<Redirection>, &'a Arc<str>),
    ) -> Result<Found<'a>, Denial> {
        let mut at = name;
        let mut chain: Vec<&'a str> = Vec::new();
        while let Some(compiled) = self.get(at) {
            let Some(chosen) = compiled.choose(turn) else { break };
            let Compiled { redirection, backends, .. } = compiled;
            let destination = &redirection.to[chosen];
            if destination.to.eq_ignore_ascii_case(&redirection.name) {
                break;
            }
            hop(redirection, &destination.to);
            if destination.is_uri() {
                let (name, uri, backend) = (&redirection.name, &destination.to, backends[chosen].as_ref());
                return Ok(Found::Uri { name, uri, backend });
            }
            chain.push(at);
            at = &destination.to;
            if chain.len() >= MOST_HOPS || chain.iter().any(|seen| seen.eq_ignore_ascii_case(at)) {
                let chain = chain.into_iter().chain([at]).map(Arc::from).collect();
                return Err(Denial::Circle { chain });
            }
        }
        Ok(Found::Service(at))
    }

    /// The same with everything written down.
    pub(crate) fn lead(&self, name: &str, turn: Turn) -> Result<Lead, Denial> {
        let mut hops = Vec::new();
        let found = self.follow(name, turn, |redirection, to| {
            hops.push(Hop {
                name: redirection.name.clone(),
                to: to.clone(),
                redirection: redirection.to_string(),
                origin: redirection.origin.as_ref().map(ToString::to_string).unwrap_or_default(),
            });
        })?;
        let end = match found {
            Found::Service(name) => End::Service(name.into()),
            Found::Uri { name, uri, .. } => End::Uri { name: name.clone(), uri: uri.clone() },
        };
        Ok(Lead { hops, end })
    }
}
