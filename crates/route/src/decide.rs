//! One decision for every face.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::routes::{Backend, Routes};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A program on this host, known by the kernel's word.
    Local {
        /// Its user id.
        uid: u32,
    },
    /// A program on this host that the kernel does not name (loopback TCP).
    Node {
        /// This node's name.
        name: Arc<str>,
    },
    /// A name proven by certificate.
    Identity {
        /// SPIFFE id.
        id: Arc<str>,
    },
    /// Nobody we know, from there.
    Anonymous {
        /// Source address.
        from: IpAddr,
    },
}

/// How rules are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everything is allowed: a node before `init`.
    #[default]
    Open,
}

/// Proof that a decision allowed one connection. Only [`Routes::decide`] makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    service: Arc<str>,
    principal: Principal,
    index: u64,
}

impl Permit {
    /// Service that it leads to.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// For whom.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Index of the state that it was decided on.
    pub fn index(&self) -> u64 {
        self.index
    }
}

/// One step of a decision, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The name was looked up.
    Lookup {
        /// Name asked for.
        name: Arc<str>,
        /// Instances found, and how many of them may get traffic.
        registered: usize,
        /// See `registered`.
        usable: usize,
    },
    /// A rule was applied.
    Rule {
        /// Which one.
        rule: String,
        /// What it said.
        allowed: bool,
    },
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "denial", rename_all = "snake_case")]
pub enum Denial {
    /// Nobody registered that name.
    #[error("no service named \"{name}\" is registered")]
    UnknownService {
        /// Name asked for.
        name: Arc<str>,
    },
    /// Registered, but nothing may get traffic.
    #[error("service \"{name}\" has no healthy instance with a port ({registered} registered)")]
    NoEndpoint {
        /// Service name.
        name: Arc<str>,
        /// How many are registered.
        registered: usize,
    },
}

/// The decision with how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was looked at, in order.
    pub steps: Vec<Step>,
    /// Where to and the permit, or why not.
    pub verdict: Result<(Arc<Backend>, Permit), Denial>,
}

impl Routes {
    /// Decides whether `principal` may reach the service `name`, and where that is.
    ///
    /// # Errors
    /// See [`Denial`].
    pub fn permit(&self, principal: &Principal, name: &str) -> Result<(Arc<Backend>, Permit), Denial> {
        let Some(backend) = self.backend(name) else {
            return Err(Denial::UnknownService { name: name.into() });
        };
        if backend.endpoints.is_empty() {
            let name = backend.service.clone();
            return Err(Denial::NoEndpoint { name, registered: backend.registered });
        }
        let permit =
            Permit { service: backend.service.clone(), principal: principal.clone(), index: self.index() };
        Ok((backend.clone(), permit))
    }

    /// The same with every step written down.
    pub fn decide(&self, principal: &Principal, name: &str, mode: Mode) -> Decision {
        let found = self.backend(name);
        let lookup = Step::Lookup {
            name: name.into(),
            registered: found.map_or(0, |backend| backend.registered),
            usable: found.map_or(0, |backend| backend.endpoints.len()),
        };
        let Mode::Open = mode;
        let rule = Step::Rule { rule: "mode open allows everything".into(), allowed: true };
        Decision { steps: vec![lookup, rule], verdict: self.permit(principal, name) }
    }
}
