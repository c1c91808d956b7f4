//! From what is shown at the door to what may be done. Rights are compiled once for each token and change of the
//! rules; a request costs one hash of its token and one look into a table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use acl::{Principal, Who};
use catalog::{KeyHash, Mode, Snapshot};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use crate::access::{Caller, Shown};
use crate::http::{Failure, Peer, Query};

/// Most tokens whose rights are kept compiled.
const MAX_KNOWN: usize = 10_000;

/// Where callers are told apart.
pub(crate) struct Desk {
    datacenter: Arc<str>,
    /// Users that may do everything through the Unix socket, beside root and the daemon's own.
    operators: Vec<u32>,
    /// What counts for whoever shows no token.
    default_token: Mutex<Option<KeyHash>>,
    known: Mutex<Known>,
    everybody: Arc<Principal>,
    local: Arc<Principal>,
    last_id: AtomicU64,
}

/// Rights as of one state of the rules.
#[derive(Default)]
struct Known {
    rules_index: u64,
    by_secret: HashMap<KeyHash, Standing>,
    anonymous: Option<Standing>,
}

#[derive(Clone)]
struct Standing {
    principal: Arc<Principal>,
    rights_id: u64,
}

impl Desk {
    pub(crate) fn new(datacenter: &Arc<str>, operators: &[u32]) -> Desk {
        Desk {
            datacenter: datacenter.clone(),
            operators: operators.to_vec(),
            default_token: Mutex::default(),
            known: Mutex::default(),
            everybody: Arc::new(acl::everybody()),
            local: Arc::new(acl::local()),
            last_id: AtomicU64::new(0),
        }
    }

    /// Sets what counts for whoever shows no token, or unsets it.
    pub(crate) fn set_default_token(&self, secret: Option<KeyHash>) {
        *self.default_token.lock().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    /// Who asks.
    ///
    /// # Errors
    /// 403 with Consul's words for a token that nobody knows.
    pub(crate) fn caller(
        &self,
        now: &Snapshot,
        peer: Peer,
        headers: &HeaderMap,
        query: Option<&Query>,
    ) -> Result<Caller, Failure> {
        if now.mode() == Mode::Open {
            return Ok(self.open());
        }
        self.holder(now, self.shown(peer, headers, query))
    }

    /// The same again, as the rules are now.
    ///
    /// # Errors
    /// As [`Desk::caller`].
    pub(crate) fn again(&self, now: &Snapshot, caller: &Caller) -> Result<Option<Caller>, Failure> {
        let is_same = caller.rules_index == now.acl_index();
        let renewed = match is_same && !is_expired(&caller.principal, now) {
            true => return Ok(None),
            false if now.mode() == Mode::Open => self.open(),
            false => self.holder(now, caller.shown)?,
        };
        // Whoever looks at whether anything is asked looks at this one, too.
        Ok(Some(Caller { asked: caller.asked.clone(), ..renewed }))
    }

    /// Whoever shows this secret, in the name of whom something is done.
    ///
    /// # Errors
    /// As [`Desk::caller`].
    pub(crate) fn holder_of(&self, now: &Snapshot, secret: &str) -> Result<Caller, Failure> {
        match now.mode() {
            Mode::Open => Ok(self.open()),
            _ => self.holder(now, Shown::Secret(acl::hash(secret))),
        }
    }

    /// Whoever asks where nothing is needed: without any right, so that nothing slips out.
    pub(crate) fn nobody(&self, now: &Snapshot) -> Caller {
        if now.mode() == Mode::Open {
            return self.open();
        }
        let rights = Arc::new(acl::Rights::compile(&[], catalog::acl::DefaultPolicy::Deny));
        let principal = Principal { who: Who::Anonymous, accessor: "".into(), rights, expires_ms: None };
        let standing = Standing { principal: Arc::new(principal), rights_id: u64::MAX };
        seat(now, Shown::Nothing, standing)
    }

    fn open(&self) -> Caller {
        let standing = Standing { principal: self.everybody.clone(), rights_id: 0 };
        Caller {
            shown: Shown::Nothing,
            principal: standing.principal,
            rights_id: 0,
            rules_index: 0,
            observes: false,
            asked: None,
        }
    }

    fn shown(&self, peer: Peer, headers: &HeaderMap, query: Option<&Query>) -> Shown {
        match shown_token(headers, query) {
            // Whoever says so shows nothing.
            Some("anonymous") => Shown::Nothing,
            Some(token) => Shown::Secret(acl::hash(token)),
            None => match peer {
                Peer::Unix { uid: Some(uid) } if self.is_local_operator(uid) => Shown::Local,
                _ => match *self.default_token.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some(secret) => Shown::Secret(secret),
                    None => Shown::Nothing,
                },
            },
        }
    }

    fn is_local_operator(&self, uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw() || self.operators.contains(&uid)
    }

    fn holder(&self, now: &Snapshot, shown: Shown) -> Result<Caller, Failure> {
        let standing = match shown {
            Shown::Local => Some(Standing { principal: self.local.clone(), rights_id: 0 }),
            Shown::Nothing => Some(self.anonymous(now)),
            Shown::Secret(secret) => self.of_secret(now, secret),
        };
        match standing {
            Some(standing) => Ok(seat(now, shown, standing)),
            None if now.mode() == Mode::Observe => {
                tracing::info!("a token that nobody knows would be refused if the rules were enforced");
                Ok(seat(now, Shown::Nothing, self.anonymous(now)))
            }
            None => Err(Failure::new(StatusCode::FORBIDDEN, "ACL not found")),
        }
    }

    fn anonymous(&self, now: &Snapshot) -> Standing {
        if let Some(known) = &self.known(now).anonymous {
            return known.clone();
        }
        let standing = self.standing(acl::anonymous(now, &self.datacenter));
        self.known(now).anonymous = Some(standing.clone());
        standing
    }

    fn of_secret(&self, now: &Snapshot, secret: KeyHash) -> Option<Standing> {
        let known = self.known(now).by_secret.get(&secret).cloned();
        let standing = match known {
            Some(standing) => standing,
            None => {
                let standing = self.standing(acl::resolve(now, secret, &self.datacenter).ok()?);
                let mut known = self.known(now);
                if known.by_secret.len() >= MAX_KNOWN {
                    known.by_secret.clear();
                }
                known.by_secret.insert(secret, standing.clone());
                standing
            }
        };
        (!is_expired(&standing.principal, now)).then_some(standing)
    }

    fn standing(&self, principal: Principal) -> Standing {
        let rights_id = match principal.rights.is_everything() {
            true => 0,
            false => self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
        };
        Standing { principal: Arc::new(principal), rights_id }
    }

    /// What is known of the rules as they are in this snapshot; all that is older is forgotten.
    fn known(&self, now: &Snapshot) -> std::sync::MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let rules_index = now.acl_index();
        if known.rules_index != rules_index {
            *known = Known { rules_index, ..Known::default() };
        }
        known
    }
}

fn seat(now: &Snapshot, shown: Shown, standing: Standing) -> Caller {
    Caller {
        shown,
        principal: standing.principal,
        rights_id: standing.rights_id,
        rules_index: now.acl_index(),
        observes: now.mode() == Mode::Observe,
        asked: None,
    }
}

fn is_expired(principal: &Principal, now: &Snapshot) -> bool {
    let Some(end) = principal.expires_ms else { return false };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    end <= u64::try_from(clock.as_millis()).unwrap_or(u64::MAX).max(now.time_ms())
}

/// The token that was shown: Consul's parameter, its field, else a bearer's (RFC 6750 section 2.1). An empty one
/// is none, as clients with an unset variable send it.
pub(crate) fn shown_token<'a>(headers: &'a HeaderMap, query: Option<&'a Query>) -> Option<&'a str> {
    let parameter = query.and_then(|query| query.get("token"));
    let field = || headers.get("x-consul-token").and_then(|value| value.to_str().ok());
    let bearer = || {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    };
    let given = |token: &&str| !token.trim().is_empty();
    parameter.filter(given).or_else(|| field().filter(given)).or_else(bearer).map(str::trim).filter(given)
}
