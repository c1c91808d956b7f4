//! Somebody who asks for something.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acl::{Principal, Resource, Right, Who};
use catalog::{KeyHash, Snapshot};
use http::StatusCode;

use crate::access::Lens;
use crate::http::Failure;

/// What was shown at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing.
    Nothing,
    /// A secret with this hash.
    Secret(KeyHash),
    /// That it runs on this host as a user who may do everything, by the kernel's word.
    Local,
}

/// Somebody who asks for something, and what they may do.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(super) shown: Shown,
    pub(super) principal: Arc<Principal>,
    /// Number of these rights: who has the same may share answers. 0 is everything.
    pub(super) rights_id: u64,
    /// Index of the rules that they were compiled from.
    pub(super) rules_index: u64,
    /// What would be refused is told to the log, and done.
    pub(super) observes: bool,
    /// Set as soon as anything is asked; where somebody looks at it.
    pub(super) asked: Option<Arc<AtomicBool>>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("who", &self.principal.who)
            .field("accessor", &self.principal.accessor)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// The token's holder, or whoever else it is.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Hash of the secret that was shown.
    pub(crate) fn secret(&self) -> Option<KeyHash> {
        match self.shown {
            Shown::Secret(hash) => Some(hash),
            Shown::Nothing | Shown::Local => None,
        }
    }

    /// Number of the rights that an answer is made for: 0 where nothing is left out.
    pub(crate) fn sight_id(&self) -> u64 {
        if self.observes { 0 } else { self.rights_id }
    }

    /// Whether one thing may be done.
    ///
    /// # Errors
    /// 403, in Consul's words.
    pub(crate) fn may(&self, resource: Resource, right: Right, name: &str) -> Result<(), Failure> {
        self.note();
        match self.principal.rights.allows(resource, right, name) {
            true => Ok(()),
            false => self.refused(resource, right, name),
        }
    }

    /// Whether one thing may be done to every name that begins with `prefix`.
    ///
    /// # Errors
    /// 403, in Consul's words.
    pub(crate) fn may_under(&self, resource: Resource, right: Right, prefix: &str) -> Result<(), Failure> {
        self.note();
        match self.principal.rights.allows_under(resource, right, prefix) {
            true => Ok(()),
            false => self.refused(resource, right, prefix),
        }
    }

    /// Whether one thing may be done to any name at all.
    pub(crate) fn may_some(&self, resource: Resource, right: Right) -> bool {
        self.note();
        self.observes || self.principal.rights.allows_some(resource, right)
    }

    /// Whether one thing may be shown.
    pub(crate) fn sees(&self, resource: Resource, name: &str) -> bool {
        self.note();
        self.observes || self.principal.rights.allows(resource, Right::Read, name)
    }

    /// Whether nothing is hidden.
    pub(crate) fn sees_everything(&self) -> bool {
        self.note();
        self.observes || self.principal.rights.is_everything()
    }

    /// The snapshot as this one may see it.
    pub(crate) fn lens<'a>(&'a self, snapshot: &'a Snapshot) -> Lens<'a> {
        Lens::new(snapshot, self)
    }

    /// Looks at whether anything is asked from now on.
    pub(crate) fn watch(&mut self) -> Arc<AtomicBool> {
        self.asked.get_or_insert_default().clone()
    }

    /// Says that there was nothing to ask: what is named is not there.
    pub(crate) fn has_asked(&self) {
        self.note();
    }

    fn note(&self) {
        if let Some(asked) = &self.asked {
            asked.store(true, Ordering::Relaxed);
        }
    }

    fn refused(&self, resource: Resource, right: Right, name: &str) -> Result<(), Failure> {
        let why = self.lacks(resource, right, name);
        if self.observes {
            tracing::info!(caller = ?self, why, "would be refused if the rules were enforced");
            return Ok(());
        }
        Err(Failure::new(StatusCode::FORBIDDEN, why))
    }

    fn lacks(&self, resource: Resource, right: Right, name: &str) -> String {
        let on = if resource.is_named() { format!(" on {name:?}") } else { String::new() };
        let permission = format!("lacks permission '{resource}:{}'{on}", right.as_str());
        match self.principal.who {
            Who::Anonymous => format!(
                "Permission denied: anonymous token {permission}. The anonymous token is used implicitly when a \
                 request does not specify a token: show one (X-Consul-Token, or PORTOLAN_TOKEN for the command \
                 line), or ask through the Unix socket as root, the daemon's user, or one of api.operators"
            ),
            _ => {
                format!("Permission denied: token with AccessorID '{}' {permission}", self.principal.accessor)
            }
        }
    }
}
