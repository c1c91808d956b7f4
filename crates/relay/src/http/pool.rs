//! Kept connections, by endpoint. An endpoint is known by the address of its shared statistics.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connect::Http1;
use super::plain::IdlePlain;
use super::shared::{Place, Shared};
use crate::balance::Stats;
use crate::local::Local;

/// How often connections that idle for too long are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

struct Idle {
    connection: Http1,
    since: Instant,
}

#[derive(Default)]
struct Pool {
    /// Keeps the address of the statistics from being reused.
    _endpoint: Arc<Stats>,
    idle: Vec<Idle>,
    plain: Vec<IdlePlain>,
    shared: Place,
}

/// Kept connections of one thread.
#[derive(Clone)]
pub(crate) struct Pools(pub(super) Rc<Inner>);

pub(super) struct Inner {
    most: usize,
    patience: Duration,
    pools: RefCell<HashMap<usize, Pool>>,
}

/// A connection in use that may be kept afterwards.
pub(super) struct Kept {
    pub(super) connection: Http1,
    endpoint: Arc<Stats>,
    pools: Weak<Inner>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Kept {
    /// Keeps the connection for another request.
    pub(super) fn give_back(self) {
        if let Some(pools) = self.pools.upgrade()
            && !self.connection.sender.is_closed()
        {
            pools.keep(&self.endpoint, self.connection);
        }
    }
}

impl Pools {
    pub(crate) fn new(most: usize, patience: Duration) -> Pools {
        Pools(Rc::new(Inner { most, patience, pools: RefCell::default() }))
    }

    /// The connection to `endpoint` that was used last, if one stands, within `fresh` if that is asked for.
    pub(super) fn take(&self, endpoint: &Arc<Stats>, fresh: Option<Duration>) -> Option<Kept> {
        Some(self.adopt(endpoint, self.0.pop(endpoint, fresh)?))
    }

    /// A connection that will be kept when its answer has ended.
    pub(super) fn adopt(&self, endpoint: &Arc<Stats>, connection: Http1) -> Kept {
        Kept { connection, endpoint: endpoint.clone(), pools: Rc::downgrade(&self.0) }
    }

    /// The place of the shared HTTP/2 connection to `endpoint`.
    pub(super) fn shared(&self, endpoint: &Arc<Stats>) -> Place {
        self.0.with(endpoint, |pool| pool.shared.clone())
    }

    fn sweep(&self) {
        let now = Instant::now();
        let mut pools = self.0.pools.borrow_mut();
        pools.retain(|_, pool| {
            pool.idle.retain(|idle| {
                !idle.connection.sender.is_closed() && now.duration_since(idle.since) < self.0.patience
            });
            pool.plain.retain_mut(|idle| idle.is_quiet() && now.duration_since(idle.since) < self.0.patience);
            if let Ok(mut shared) = pool.shared.shared.try_lock()
                && shared.as_ref().is_some_and(Shared::is_closed)
            {
                *shared = None;
            }
            // The statistics are held by nobody else once the endpoint is gone from the routes: then an
            // HTTP/2 connection that stands idle goes too.
            let gone = Arc::strong_count(&pool._endpoint) <= 2 && Rc::strong_count(&pool.shared) == 1;
            let empty = pool.shared.shared.try_lock().is_ok_and(|shared| shared.is_none());
            !pool.idle.is_empty() || !pool.plain.is_empty() || !(empty || gone)
        });
    }
}

impl Inner {
    fn with<R>(&self, endpoint: &Arc<Stats>, with: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pools = self.pools.borrow_mut();
        let pool = pools
            .entry(Arc::as_ptr(endpoint) as usize)
            .or_insert_with(|| Pool { _endpoint: endpoint.clone(), ..Pool::default() });
        with(pool)
    }

    /// Passes over connections that are not ready: one is given back when its answer has ended, and a
    /// request's end may still be on its way out.
    fn pop(&self, endpoint: &Arc<Stats>, fresh: Option<Duration>) -> Option<Http1> {
        let mut pools = self.pools.borrow_mut();
        let idle = &mut pools.get_mut(&(Arc::as_ptr(endpoint) as usize))?.idle;
        let oldest = fresh.and_then(|fresh| Instant::now().checked_sub(fresh));
        for at in (0..idle.len()).rev() {
            if oldest.is_some_and(|oldest| idle[at].since < oldest) {
                return None;
            }
            if idle[at].connection.sender.is_closed() {
                idle.remove(at);
            } else if idle[at].connection.sender.is_ready() {
                return Some(idle.remove(at).connection);
            }
        }
        None
    }

    pub(super) fn pop_plain(&self, endpoint: &Arc<Stats>) -> Option<IdlePlain> {
        let mut pools = self.pools.borrow_mut();
        let idle = &mut pools.get_mut(&(Arc::as_ptr(endpoint) as usize))?.plain;
        while let Some(mut kept) = idle.pop() {
            if kept.is_quiet() {
                return Some(kept);
            }
        }
        None
    }

    pub(super) fn keep_plain(&self, endpoint: &Arc<Stats>, idle: IdlePlain) {
        let most = self.most;
        self.with(endpoint, |pool| {
            if pool.plain.len() < most {
                pool.plain.push(idle);
            }
        });
    }

    fn keep(&self, endpoint: &Arc<Stats>, connection: Http1) {
        let most = self.most;
        self.with(endpoint, |pool| {
            if pool.idle.len() >= most && most > 0 {
                pool.idle.remove(0);
            }
            if most > 0 {
                pool.idle.push(Idle { connection, since: Instant::now() });
            }
        });
    }
}

/// Closes what idles for too long, every few seconds, as long as the thread lives.
pub async fn sweep(local: std::rc::Weak<Local>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match local.upgrade() {
            Some(local) => local.pools.sweep(),
            None => return,
        }
    }
}
