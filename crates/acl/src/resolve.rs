//! From what somebody shows to what they may do.

use std::sync::Arc;

use catalog::acl::{ANONYMOUS, Links, MANAGEMENT};
use catalog::{AclToken, KeyHash, Mode, Snapshot};

use crate::resource::{Level, Resource};
use crate::rights::Rights;
use crate::rules::{Rule, Rules};

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Somebody, where nobody is asked.
    Everybody,
    /// A user of this host who may do everything, by the kernel's word.
    Local,
    /// Whoever shows no token.
    Anonymous,
    /// Whoever shows an operator's token.
    Operator,
    /// Whoever shows this token.
    Token,
}

/// Somebody, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub who: Who,
    /// Accessor of the token; empty where there is none.
    pub accessor: Arc<str>,
    /// What they may do.
    pub rights: Arc<Rights>,
    /// Good before this, in Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// Nobody knows this token, or it has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ACL not found")]
pub struct Unknown;

/// Anybody at all, where nobody is asked.
pub fn everybody() -> Principal {
    almighty(Who::Everybody, "".into())
}

/// A user of this host who may do everything.
pub fn local() -> Principal {
    almighty(Who::Local, "".into())
}

fn almighty(who: Who, accessor: Arc<str>) -> Principal {
    Principal { who, accessor, rights: Arc::new(Rights::everything()), expires_ms: None }
}

/// Whoever shows no token.
pub fn anonymous(snapshot: &Snapshot, datacenter: &str) -> Principal {
    let rights = match snapshot.acl().token(ANONYMOUS) {
        Some(token) => rights_of(snapshot, &token.links, datacenter),
        None => Rights::compile(&[], snapshot.acl().default_policy()),
    };
    Principal { who: Who::Anonymous, accessor: ANONYMOUS.into(), rights: Arc::new(rights), expires_ms: None }
}

/// Whoever shows the token whose secret has this hash. Looked up by its hash: how long that takes says nothing of
/// any token.
///
/// # Errors
/// [`Unknown`]. Whether a token has expired since is for the caller to ask, who has a clock.
pub fn resolve(snapshot: &Snapshot, secret: KeyHash, datacenter: &str) -> Result<Principal, Unknown> {
    if snapshot.mode() == Mode::Open {
        return Ok(everybody());
    }
    if let Some(token) = snapshot.acl().token_of_secret(secret) {
        return Ok(of_token(snapshot, token, datacenter));
    }
    match snapshot.cluster().operator(secret) {
        Some(_) => Ok(almighty(Who::Operator, "".into())),
        None => Err(Unknown),
    }
}

fn of_token(snapshot: &Snapshot, token: &AclToken, datacenter: &str) -> Principal {
    Principal {
        who: Who::Token,
        accessor: token.accessor.clone(),
        rights: Arc::new(rights_of(snapshot, &token.links, datacenter)),
        expires_ms: token.expires_ms,
    }
}

fn rights_of(snapshot: &Snapshot, links: &Links, datacenter: &str) -> Rights {
    let management = Links { policies: vec![MANAGEMENT.into()], ..Links::default() };
    if *links == management {
        return Rights::everything();
    }
    let mut rules = Vec::new();
    add_rules(snapshot, links, datacenter, &mut rules);
    for role in links.roles.iter().filter_map(|id| snapshot.acl().role(id)) {
        add_rules(snapshot, &role.links, datacenter, &mut rules);
    }
    Rights::compile(&rules, snapshot.acl().default_policy())
}

fn add_rules(snapshot: &Snapshot, links: &Links, datacenter: &str, rules: &mut Vec<Rule>) {
    let counts = |datacenters: &[Arc<str>]| {
        datacenters.is_empty() || datacenters.iter().any(|other| other.eq_ignore_ascii_case(datacenter))
    };
    let policies = links.policies.iter().filter_map(|id| snapshot.acl().policy(id));
    for policy in policies.filter(|policy| counts(&policy.datacenters)) {
        // What cannot be read was refused when it came; it grants nothing.
        rules.extend(Rules::parse(&policy.rules).unwrap_or_default().0);
    }
    for identity in links.services.iter().filter(|identity| counts(&identity.datacenters)) {
        let name = &identity.service;
        for own in [name.to_string(), format!("{name}-sidecar-proxy")] {
            rules.push(rule(Resource::Intention, &own, false, Level::Read));
            rules.push(rule(Resource::Service, &own, false, Level::Write));
        }
        rules.push(rule(Resource::Service, "", true, Level::Read));
        rules.push(rule(Resource::Intention, "", true, Level::Read));
        rules.push(rule(Resource::Node, "", true, Level::Read));
    }
    for identity in links.nodes.iter().filter(|identity| counts(std::slice::from_ref(&identity.datacenter))) {
        rules.push(rule(Resource::Node, &identity.node, false, Level::Write));
        rules.push(rule(Resource::Service, "", true, Level::Read));
        rules.push(rule(Resource::Intention, "", true, Level::Read));
    }
}

fn rule(resource: Resource, name: &str, is_prefix: bool, level: Level) -> Rule {
    Rule { resource, name: name.to_owned(), is_prefix, level }
}
