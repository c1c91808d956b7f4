//! Connections that were handed over, and end when the rules no longer allow them.
//!
//! The program has the socket, so the kernel has to end it. What is kept here is the socket's name and never the socket: a
//! copy would hold it open behind the program's back. Names of what has ended by itself are swept out whenever their number
//! has doubled. A connection over a Unix socket has no such name, and nobody can end it.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay::Local;
use route::{Permit, Routes};
use state::{Drain, Reader};
use sys::host::{Connection, Ends, Transport, standing};
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// Names that are kept before it is looked which of them still stand for something.
const FEWEST: usize = 4096;

/// What was handed over and may still be there.
pub(crate) struct Revocable {
    ends: Arc<dyn Ends>,
    held: Mutex<Held>,
    /// There are many.
    full: Notify,
}

#[derive(Default)]
struct Held {
    all: Vec<(Connection, Permit)>,
    /// As many as there were when they were last swept.
    swept: usize,
}

impl Held {
    fn is_full(&self) -> bool {
        self.all.len() >= FEWEST.max(self.swept * 2)
    }
}

impl Revocable {
    pub(crate) fn new(ends: Arc<dyn Ends>) -> Arc<Revocable> {
        Arc::new(Revocable { ends, held: Mutex::default(), full: Notify::new() })
    }

    /// Keeps the name of a connection that is about to be handed over. False when the rules forbid it by now: it is
    /// named first and judged then, so that no change of theirs falls between.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn keep(
        &self,
        local: &Rc<Local>,
        permit: Permit,
        transport: Transport,
        socket: &OwnedFd,
    ) -> io::Result<bool> {
        let connection = Connection::of(socket, transport)?;
        let may = permit.clone();
        let is_full = {
            let mut held = self.held();
            held.all.push((connection, permit));
            held.is_full()
        };
        if is_full {
            self.full.notify_one();
        }
        Ok(local.with_routes(|routes| routes.still_permits(&may)))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what `routes` do not allow any more; how many there were.
    fn judge(&self, routes: &Routes) -> usize {
        let forbidden: Vec<_> =
            self.held().all.extract_if(.., |(_, permit)| !routes.still_permits(permit)).collect();
        if forbidden.is_empty() {
            return 0;
        }
        for (connection, permit) in &forbidden {
            let (principal, to) = (permit.principal(), connection.peer);
            tracing::debug!(%principal, service = &**permit.service(), %to, "the rules forbid what was handed over");
        }
        let names: Vec<_> = forbidden.iter().map(|(connection, _)| *connection).collect();
        self.ends.end(&names).unwrap_or_else(|cause| {
            tracing::error!(%cause, "connections that the rules forbid go on: the kernel does not end them");
            0
        })
    }

    /// Forgets what has ended by itself. Nothing is taken aside meanwhile, so all of it can be judged.
    fn sweep(&self) {
        let names: Vec<_> = {
            let held = self.held();
            if !held.is_full() {
                return;
            }
            held.all.iter().map(|(connection, _)| *connection).collect()
        };
        let stands = standing(&names).unwrap_or_else(|cause| {
            tracing::warn!(%cause, "cannot tell which of the connections that were handed over have ended");
            vec![true; names.len()]
        });
        let gone = names.iter().zip(stands).filter(|(_, stands)| !stands);
        let gone: HashSet<u64> = gone.map(|(connection, _)| connection.cookie).collect();
        let mut held = self.held();
        held.all.retain(|(connection, _)| !gone.contains(&connection.cookie));
        held.swept = held.all.len();
    }
}

/// Judges what was handed over again whenever the rules change, until the drain starts. From then on nobody does.
pub(crate) async fn follow(
    revocable: Arc<Revocable>,
    routes: Reader<Routes>,
    metrics: Metrics,
    drain: Drain,
) {
    let sweeping = async {
        loop {
            revocable.full.notified().await;
            blocking(&revocable, Revocable::sweep).await;
        }
    };
    tokio::select! {
        () = judging(&revocable, routes, &metrics) => {}
        () = sweeping => {}
        () = drain.started() => {}
    }
}

async fn judging(revocable: &Arc<Revocable>, mut routes: Reader<Routes>, metrics: &Metrics) {
    let mut judged: Option<Arc<Routes>> = None;
    while let Some(now) = routes.next().await {
        if judged.as_ref().is_some_and(|judged| Arc::ptr_eq(judged.policy(), now.policy())) {
            continue;
        }
        judged = Some(now.clone());
        let ended = blocking(revocable, move |revocable| revocable.judge(&now)).await.unwrap_or_default();
        metrics.ended.inc_by(u64::try_from(ended).unwrap_or_default());
    }
}

/// The kernel is asked about thousands: not on a thread that others wait for.
async fn blocking<T: Send + 'static>(
    revocable: &Arc<Revocable>,
    work: impl FnOnce(&Revocable) -> T + Send + 'static,
) -> Option<T> {
    let revocable = revocable.clone();
    tokio::task::spawn_blocking(move || work(&revocable)).await.ok()
}
