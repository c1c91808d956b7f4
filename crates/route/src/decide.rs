//! One decision for every face.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use catalog::Mode;
use serde::Serialize;

use crate::caller::{Caller, PeerHost, Principal};
use crate::policy::{End, Hop, Lead, RuleShown, Ruling};
use crate::policy::{Found, Turn};
use crate::routes::{Backend, Routes};

/// Proof that a decision allowed one connection. Only [`Routes`] makes them. It holds what was asked about, so
/// that a connection that lives on can be judged again when the rules change ([`Routes::still_permits`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    service: Arc<str>,
    principal: Principal,
    from: Option<IpAddr>,
    scheme: Cow<'static, str>,
    /// The other side: apart, because few connections have one that rules ask about.
    host: Option<Box<Other>>,
    is_outward: bool,
    /// Only a rule that names the host lets it be reached.
    is_named: bool,
    index: u64,
}

/// The host at the other side, by its name and by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    host: PeerHost,
    resolved: Option<PeerHost>,
}

impl Permit {
    fn new(caller: &Caller<'_>, service: Arc<str>, index: u64) -> Permit {
        Permit {
            service,
            principal: caller.principal.clone(),
            from: caller.from,
            scheme: caller.scheme.clone(),
            host: caller
                .host
                .map(|host| Box::new(Other { host: host.clone(), resolved: caller.resolved.cloned() })),
            is_outward: caller.is_outward,
            is_named: false,
            index,
        }
    }

    /// Service that it leads to.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// For whom.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// By what.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Index of the state that it was decided on.
    pub fn index(&self) -> u64 {
        self.index
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            principal: &self.principal,
            from: self.from,
            scheme: &self.scheme,
            host: self.host.as_ref().map(|other| &other.host),
            resolved: self.host.as_ref().and_then(|other| other.resolved.as_ref()),
            is_outward: self.is_outward,
        }
    }
}

/// One step of a decision, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The name leads elsewhere.
    Redirection(Hop),
    /// The name was looked up.
    Lookup {
        /// Name asked for.
        name: Arc<str>,
        /// Instances found, and how many of them may get traffic.
        registered: usize,
        /// See `registered`.
        usable: usize,
    },
    /// The rules were asked.
    Rule {
        /// How strictly they are used.
        mode: Mode,
        /// The rule that matched; nothing where none did.
        rule: Option<RuleShown>,
        /// What they say, whatever the mode.
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
    /// A rule denies it, or none allows it.
    #[error("{principal} may not reach \"{service}\": {}", said(.rule.as_deref()))]
    Forbidden {
        /// Who asked.
        principal: Box<Principal>,
        /// Service that the name led to.
        service: Arc<str>,
        /// The rule; nothing where none matched.
        rule: Option<Box<RuleShown>>,
    },
    /// Redirections lead in a circle.
    #[error("redirections lead in a circle: {}", .chain.join(" → "))]
    Circle {
        /// Names in order; the last occurs before.
        chain: Vec<Arc<str>>,
    },
    /// The name leads to a URI that this kind of connection cannot follow.
    #[error("\"{name}\" leads to {}://…, which only the broker can reach", scheme(.uri))]
    OtherScheme {
        /// The name.
        name: Arc<str>,
        /// Where it leads.
        uri: Arc<str>,
    },
}

/// Of a URI, what may be told to anybody: the rest may hold a secret.
fn scheme(uri: &str) -> &str {
    uri.split("://").next().unwrap_or_default()
}

fn said(rule: Option<&RuleShown>) -> String {
    rule.map_or_else(|| "no rule allows it".to_owned(), |rule| format!("{rule} denies it"))
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
    /// Decides whether `caller` may reach what the name `name` leads to, and where that is.
    ///
    /// # Errors
    /// See [`Denial`].
    pub fn permit<'a>(
        &self,
        caller: impl Into<Caller<'a>>,
        name: &str,
    ) -> Result<(Arc<Backend>, Permit), Denial> {
        let caller = caller.into();
        match self.policy().redirects().follow(name, Turn::Take, |_, _| {})? {
            Found::Service(name) => {
                let Some(backend) = self.backend(name) else {
                    return Err(Denial::UnknownService { name: name.into() });
                };
                self.allow(&caller, &backend.service)?;
                usable(backend)?;
                Ok((backend.clone(), Permit::new(&caller, backend.service.clone(), self.index())))
            }
            Found::Uri { name, uri, backend } => {
                self.allow(&caller, name)?;
                let Some(backend) = backend else {
                    return Err(Denial::OtherScheme { name: name.clone(), uri: uri.clone() });
                };
                Ok((backend.clone(), Permit::new(&caller, name.clone(), self.index())))
            }
        }
    }

    /// Where a name leads in the end. Shares of a name that leads to several places are dealt in turn, so ask
    /// once for each connection.
    ///
    /// # Errors
    /// [`Denial::Circle`].
    pub fn lead(&self, name: &str) -> Result<Lead, Denial> {
        self.policy().redirects().lead(name, Turn::Take)
    }

    /// The same for whoever only wishes to know: nothing is dealt.
    ///
    /// # Errors
    /// [`Denial::Circle`].
    pub fn look(&self, name: &str) -> Result<Lead, Denial> {
        self.policy().redirects().lead(name, Turn::Look)
    }

    /// A permit for a service that need not be registered, whose place the caller knows otherwise: what another
    /// program offers on this host, or a URI. The name is not followed any further.
    ///
    /// # Errors
    /// [`Denial::Forbidden`].
    pub fn permit_to<'a>(&self, caller: impl Into<Caller<'a>>, service: &str) -> Result<Permit, Denial> {
        let caller = caller.into();
        self.allow(&caller, service)?;
        Ok(Permit::new(&caller, service.into(), self.index()))
    }

    /// A permit for a host that is none of the catalog's, as far as a rule allows this very host by its name or address
    /// (`host:…`), in every mode. What the other rules say of whoever asks counts as well, about the service of no name.
    ///
    /// # Errors
    /// [`Denial::Forbidden`].
    pub fn permit_host<'a>(
        &self,
        caller: impl Into<Caller<'a>>,
        host: &'a PeerHost,
    ) -> Result<Permit, Denial> {
        let caller = Caller { host: Some(host), ..caller.into() };
        if !self.policy().rules().names_host(host) {
            return Err(self.forbidden(&caller, &host.name, Ruling { allowed: false, rule: None }));
        }
        self.allow(&caller, &host.name)?;
        Ok(Permit { is_named: true, ..Permit::new(&caller, host.name.clone(), self.index()) })
    }

    /// Whether a connection that was allowed before may go on under the rules of now.
    pub fn still_permits(&self, permit: &Permit) -> bool {
        let policy = self.policy();
        if permit.is_named
            && !permit.host.as_ref().is_some_and(|other| policy.rules().names_host(&other.host))
        {
            return false;
        }
        policy.mode() != Mode::Enforce || policy.ruling(&permit.caller(), &permit.service).allowed
    }

    /// Asks the rules, counts, and tells the witness.
    fn allow(&self, caller: &Caller<'_>, service: &str) -> Result<(), Denial> {
        let policy = self.policy();
        if policy.mode() == Mode::Open {
            return Ok(());
        }
        let ruling = policy.ruling(caller, service);
        policy.rules().hit(ruling);
        if ruling.allowed {
            return Ok(());
        }
        if policy.mode() == Mode::Enforce {
            return Err(self.forbidden(caller, service, ruling));
        }
        if let Some(witness) = &policy.here().witness {
            let rule = ruling.rule.and_then(|at| policy.rules().rule(at));
            witness.would_deny(caller.principal, caller.scheme, service, rule.map(|rule| &**rule));
        }
        Ok(())
    }

    fn forbidden(&self, caller: &Caller<'_>, service: &str, ruling: Ruling) -> Denial {
        let rule = ruling.rule.and_then(|at| self.policy().rules().shown(at)).map(Box::new);
        Denial::Forbidden { principal: Box::new(caller.principal.clone()), service: service.into(), rule }
    }

    /// What [`Routes::permit`] would say now, with every step written down. Nothing is counted.
    pub fn decide<'a>(&self, caller: impl Into<Caller<'a>>, name: &str) -> Decision {
        let caller = caller.into();
        let mut steps = Vec::new();
        let verdict = self.steps(&caller, name, &mut steps);
        Decision { steps, verdict }
    }

    fn steps(
        &self,
        caller: &Caller<'_>,
        name: &str,
        steps: &mut Vec<Step>,
    ) -> Result<(Arc<Backend>, Permit), Denial> {
        let redirects = self.policy().redirects();
        let Lead { hops, end } = redirects.lead(name, Turn::Look)?;
        steps.extend(hops.into_iter().map(Step::Redirection));
        let (service, backend) = match &end {
            End::Service(service) => {
                let found = self.backend(service);
                steps.push(Step::Lookup {
                    name: service.clone(),
                    registered: found.map_or(0, |backend| backend.registered),
                    usable: found.map_or(0, |backend| backend.endpoints.len()),
                });
                let found = found.ok_or_else(|| Denial::UnknownService { name: service.clone() })?;
                (found.service.clone(), Ok(found.clone()))
            }
            End::Uri { name: last, uri } => {
                let found = redirects.follow(name, Turn::Look, |_, _| {})?;
                let backend = if let Found::Uri { backend, .. } = found { backend.cloned() } else { None };
                let other = || Denial::OtherScheme { name: last.clone(), uri: uri.clone() };
                (last.clone(), backend.ok_or_else(other))
            }
        };
        let policy = self.policy();
        let ruling = policy.ruling(caller, &service);
        let rule = ruling.rule.and_then(|at| policy.rules().shown(at));
        steps.push(Step::Rule { mode: policy.mode(), rule, allowed: ruling.allowed });
        if policy.mode() == Mode::Enforce && !ruling.allowed {
            return Err(self.forbidden(caller, &service, ruling));
        }
        let backend = backend?;
        usable(&backend)?;
        Ok((backend, Permit::new(caller, service, self.index())))
    }
}

fn usable(backend: &Backend) -> Result<(), Denial> {
    match backend.endpoints.is_empty() {
        true => Err(Denial::NoEndpoint { name: backend.service.clone(), registered: backend.registered }),
        false => Ok(()),
    }
}
