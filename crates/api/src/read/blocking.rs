//! Blocking queries: register interest, look, wait, look again.

use std::sync::Arc;

use catalog::acl::DefaultPolicy;
use catalog::{Mode, Snapshot};
use http::{HeaderName, HeaderValue, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, timeout_at};

use crate::Api;
use crate::access::{self, Caller, Demand};
use crate::http::{Answer, Failure};
use crate::read::{Consistency, ReadOptions, Scope, View};

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const DEFAULT_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");

/// Counts the blocking queries that wait, and refuses too many.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    waiting: Gauge,
}

/// One of them; leaves when dropped.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    /// Lets `limit` wait at a time and shows how many do.
    pub(crate) fn new(limit: usize, waiting: Gauge) -> Gate {
        Gate { limit, waiting }
    }

    /// # Errors
    /// 429 when as many wait as may.
    pub(crate) fn enter(&self) -> Result<Pass<'_>, Failure> {
        let before = self.waiting.inc();
        let pass = Pass(self);
        match usize::try_from(before).is_ok_and(|before| before < self.limit) {
            true => Ok(pass),
            false => Err(Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{} blocking queries wait already, which is the limit; ask without index, or later",
                    self.limit
                ),
            )),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}

/// Answers a view: at once, or when its index is above the one asked for, or when its time is over. Who asks
/// the same at the same index shares the answer, by `query`.
///
/// # Errors
/// As [`settle`].
pub(crate) async fn answer(
    api: &Api,
    query: &str,
    view: &View,
    options: &ReadOptions,
    asked: &Asked,
) -> Result<Answer, Failure> {
    let (snapshot, index) = settle(api, &view.scope, options).await?;
    // Whoever waited is judged again, when the rules changed meanwhile.
    let again = asked.again(api, &snapshot)?;
    let caller = again.as_ref().unwrap_or(&asked.caller);
    let render = || view.render(&api.context, &caller.lens(&snapshot), options.pretty);
    let answer = match caller.sight_id() {
        0 => api.cache.get(query, index, render)?,
        rights => api.cache.get(&format!("{rights}\0{query}"), index, render)?,
    };
    Ok(with_fields(api, answer, index, options))
}

/// Who asks for what: all that is kept of a request that waits.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    pub(crate) demand: Demand,
}

impl Asked {
    /// The caller as the rules are now, when they are others.
    ///
    /// # Errors
    /// 403 when it may not ask this any more.
    pub(crate) fn again(&self, api: &Api, now: &Snapshot) -> Result<Option<Caller>, Failure> {
        let again = api.desk.again(now, &self.caller)?;
        if let Some(caller) = &again {
            access::judge(&self.demand, caller, &api.node.name)?;
        }
        Ok(again)
    }
}

/// Waits until this node has everything that was decided before the request, unless it may be stale. By default
/// a node that is cut off answers with what it has and says so, because names must go on leading somewhere; who
/// asked for consistency gets the error.
async fn be_as_fresh(api: &Api, consistency: Consistency) -> Result<(), Failure> {
    match consistency {
        Consistency::Stale => Ok(()),
        Consistency::Consistent => Ok(api.store.barrier().await.map(drop)?),
        // Where one node decides alone, what it has applied is all there is.
        Consistency::Default if !api.contact.is_shared() || api.contact.now().is_lost() => Ok(()),
        Consistency::Default => {
            if api.store.barrier().await.is_err() {
                api.contact.was_lost();
            }
            Ok(())
        }
    }
}

/// The state to answer from, with the index of `scope` in it.
///
/// # Errors
/// 429 when too many wait; 500 and 503 when a consistent read is asked for and the log stopped.
pub(crate) async fn settle(
    api: &Api,
    scope: &Scope,
    options: &ReadOptions,
) -> Result<(Arc<store::View>, u64), Failure> {
    be_as_fresh(api, options.consistency).await?;
    let look = || {
        let snapshot = api.store.now();
        let index = scope.index(&snapshot);
        (snapshot, index)
    };
    let (snapshot, index) = look();
    if options.index == 0 || index > options.index {
        return Ok((snapshot, index));
    }
    drop(snapshot);
    let _pass = api.gate.enter()?;
    let deadline = Instant::now() + options.jittered_wait();
    let mut watch = api.store.watch(scope.watched(&api.store.now()));
    loop {
        let (snapshot, index) = look();
        // Whoever watches is woken when it is time to leave, so this is the only place to ask.
        if index > options.index || api.drain.is_started() {
            return Ok((snapshot, index));
        }
        // Whoever waits must not keep an old state alive.
        drop(snapshot);
        if timeout_at(deadline, watch.changed()).await.is_err() {
            return Ok(look());
        }
        if scope.is_fluid() {
            watch = api.store.watch(scope.watched(&api.store.now()));
        }
    }
}

/// Adds the fields that every answer about the catalog carries.
pub(crate) fn with_fields(api: &Api, mut answer: Answer, index: u64, options: &ReadOptions) -> Answer {
    let contact = api.contact.now();
    let effective = match options.consistency {
        Consistency::Default if contact.is_lost() => Consistency::Stale,
        asked => asked,
    };
    // Six with the content type: one more and the map takes twice the memory, from beyond the allocator's quick
    // lists, ten thousand times over when a service with that many watchers changes.
    answer.fields.reserve(6);
    answer.fields.insert(INDEX, HeaderValue::from(index));
    answer.fields.insert(KNOWN_LEADER, HeaderValue::from_static(contact.known_leader()));
    answer.fields.insert(LAST_CONTACT, HeaderValue::from(contact.last_contact_ms()));
    answer.fields.insert(CONSISTENCY, HeaderValue::from_static(effective.as_str()));
    answer.fields.insert(DEFAULT_POLICY, HeaderValue::from_static(default_policy(&api.store.now())));
    if options.cached {
        answer = answer
            .with_field("x-cache", HeaderValue::from_static("HIT"))
            .with_field("age", HeaderValue::from(contact.last_contact_ms() / 1000));
    }
    answer
}

/// Consul knows two words.
fn default_policy(now: &Snapshot) -> &'static str {
    match now.mode() == Mode::Open || now.acl().default_policy() == DefaultPolicy::Allow {
        true => "allow",
        false => "deny",
    }
}
