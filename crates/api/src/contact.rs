//! How long ago this node was last in contact with whoever decides: `X-Consul-KnownLeader` and
//! `X-Consul-LastContact`.
//!
//! Asked of the log twice a second and not with every request: the answer goes on every read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use state::Drain;
use store::Store;

const EVERY: Duration = Duration::from_millis(500);

/// Shared by all requests.
#[derive(Debug)]
pub(crate) struct Contact {
    origin: Instant,
    /// Milliseconds after the origin at which contact was lost, plus one; 0 while there is contact.
    lost: AtomicU64,
    /// Others decide, too: other servers, or an etcd.
    shared: AtomicBool,
}

/// Contact at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    lost_for_ms: Option<u64>,
}

impl Contact {
    pub(crate) fn new() -> Contact {
        Contact { origin: Instant::now(), lost: AtomicU64::new(0), shared: AtomicBool::new(false) }
    }

    pub(crate) fn now(&self) -> Seen {
        let lost_for_ms = match self.lost.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.ms().saturating_sub(at - 1)),
        };
        Seen { lost_for_ms }
    }

    /// Whether others decide, too, so that this node's state may be behind theirs.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Nobody answered just now.
    pub(crate) fn was_lost(&self) {
        self.observe(false);
    }

    fn observe(&self, has_contact: bool) {
        match has_contact {
            true => self.lost.store(0, Ordering::Relaxed),
            false => {
                let now = self.ms() + 1;
                // The first moment counts: a later one would make the state look fresher than it is.
                let _ = self.lost.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Keeps asking until it is time to leave.
    pub(crate) async fn follow(&self, store: &Store, drain: &Drain) {
        let asking = async {
            loop {
                let log = store.log_status();
                self.observe(log.stopped.is_none() && !log.cut_off);
                let is_shared = !matches!(log.engine, "solo" | "memory" | "");
                self.shared.store(is_shared, Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = asking => {}
            () = drain.started() => {}
        }
    }
}

impl Seen {
    pub(crate) fn is_lost(self) -> bool {
        self.lost_for_ms.is_some()
    }

    pub(crate) fn known_leader(self) -> &'static str {
        if self.lost_for_ms.is_none() { "true" } else { "false" }
    }

    pub(crate) fn last_contact_ms(self) -> u64 {
        self.lost_for_ms.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_counts_until_contact_is_back() {
        let contact = Contact::new();
        assert_eq!((contact.now().known_leader(), contact.now().last_contact_ms()), ("true", 0));
        contact.observe(false);
        let first = contact.lost.load(Ordering::Relaxed);
        contact.observe(false);
        assert_eq!(contact.lost.load(Ordering::Relaxed), first);
        assert_eq!(contact.now().known_leader(), "false");
        contact.observe(true);
        assert_eq!(contact.now().known_leader(), "true");
    }
}
