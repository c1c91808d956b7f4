//! Terms of sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalog::{Change, Index, Session, Snapshot};

use crate::table::Tick;
use crate::{Leases, RenewError, Tables};

/// Sessions have names of their own and no node: they stand in the table under this one.
pub(crate) const SESSIONS: &str = "";

/// A session's term is a lower bound, and Consul waits twice as long before it ends one; clients that renew
/// late (Patroni halves its own term for that) rely on it.
const PATIENCE: u64 = 2;

/// A session that must be renewed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionLease {
    pub(crate) claimed_index: Index,
    pub(crate) ttl_ms: u64,
}

impl Leases {
    /// Renews a session: it lasts a full term from `now`. `snapshot` is the caller's latest.
    ///
    /// # Errors
    /// [`RenewError`]: it has ended, or another node keeps it, which the caller may change by a claim.
    pub fn renew_session(&self, snapshot: &Snapshot, id: &str, now: Instant) -> Result<Duration, RenewError> {
        let tick = self.tick(now);
        let session = snapshot
            .session(id)
            .ok_or_else(|| RenewError::Unknown { node: self.node.clone(), id: id.into() })?;
        if session.owner.node != self.node {
            return Err(RenewError::Elsewhere { id: id.into(), owner: session.owner.node.clone() });
        }
        let Some(ttl_ms) = session.def.ttl_ms else { return Ok(Duration::ZERO) };
        let renewed = {
            let tables = self.tables();
            tables.sessions.find(SESSIONS, id).is_some_and(|at| tables.sessions.renew(at, tick))
        };
        if !renewed {
            let mut tables = self.tables_mut();
            tables.admit_session(session, tick);
            if !tables.sessions.find(SESSIONS, id).is_some_and(|at| tables.sessions.renew(at, tick)) {
                return Err(RenewError::Expired { id: id.into(), ttl_ms });
            }
        }
        self.renewed.fetch_add(1, Ordering::Relaxed);
        Ok(Duration::from_millis(ttl_ms))
    }

    pub(crate) fn follow_session(&self, tables: &mut Tables, change: Change<'_, Session>, tick: Tick) {
        match change.new.filter(|new| new.owner.node == self.node) {
            Some(session) => tables.admit_session(session, tick),
            None => {
                if let Some(old) = change.old {
                    tables.sessions.remove(SESSIONS, &old.def.id);
                }
            }
        }
    }
}

impl Tables {
    /// Makes sure that a session of ours has its lease: a full term from now if it is new here.
    fn admit_session(&mut self, session: &Session, tick: Tick) {
        let (id, Some(ttl_ms)) = (&session.def.id, session.def.ttl_ms) else { return };
        let claimed_index = session.claimed_index;
        let known = self.sessions.find(SESSIONS, id).and_then(|at| self.sessions.slot(at));
        if known.is_some_and(|slot| slot.entry.claimed_index >= claimed_index) {
            return;
        }
        let lease = SessionLease { claimed_index, ttl_ms };
        let at = self.sessions.put(&Arc::from(SESSIONS), id, ttl_ms.saturating_mul(PATIENCE), lease);
        self.sessions.arm(at, tick);
    }
}

#[cfg(test)]
mod tests {
    use catalog::{
        Behavior, Catalog, Command, Envelope, NodeDef, NodeRegistration, Register, SessionCommand, SessionDef,
    };

    use super::*;
    use crate::{Config, Expired};

    fn apply(catalog: &mut Catalog, index: u64, node: &str, command: Command) {
        let envelope = Envelope { node: node.into(), epoch: 1, sequence: index, time_ms: 0, command };
        let outcome = catalog.apply(index, &envelope).outcome;
        assert!(outcome.is_done(), "{outcome:?}");
    }

    fn with_session() -> Catalog {
        let mut catalog = Catalog::default();
        let def = NodeDef::new("n1".into(), "127.0.0.1".into());
        let node = Some(NodeRegistration { def, only_if_absent: false });
        let register = Register { node, on: "n1".into(), ..Register::default() };
        apply(&mut catalog, 1, "n1", Command::Register(Box::new(register)));
        let def = SessionDef {
            id: "s".into(),
            name: "".into(),
            node: "n1".into(),
            node_checks: vec![],
            service_checks: vec![],
            behavior: Behavior::Release,
            ttl_ms: Some(10_000),
            lock_delay_ms: 0,
        };
        apply(&mut catalog, 2, "n1", Command::Session(SessionCommand::Create(Box::new(def))));
        catalog
    }

    #[test]
    fn it_ends_when_it_is_not_renewed_and_not_before_its_term() {
        let (catalog, origin) = (with_session(), Instant::now());
        let config = Config { late_sweep: Duration::from_secs(3600), ..Config::default() };
        let leases = Leases::new("n1", config, origin);
        let at = |ms| origin + Duration::from_millis(ms);
        let now = catalog.snapshot();
        assert_eq!(leases.sweep(&now, at(0)), []);
        assert_eq!(leases.sweep(&now, at(10_001)), [], "the term is a lower bound");
        assert_eq!(leases.renew_session(&now, "s", at(11_000)), Ok(Duration::from_secs(10)));
        assert_eq!(leases.sweep(&now, at(30_999)), []);
        let expired = Expired::Session { id: "s".into(), claimed_index: 2, ttl_ms: 10_000 };
        assert_eq!(leases.sweep(&now, at(31_000)), [expired]);
        let late = leases.renew_session(&now, "s", at(31_001));
        assert!(matches!(late, Err(RenewError::Expired { .. })), "{late:?}");
        let unknown = leases.renew_session(&now, "t", at(31_001));
        assert!(matches!(unknown, Err(RenewError::Unknown { .. })), "{unknown:?}");
    }

    #[test]
    fn whoever_takes_it_over_gives_it_a_full_term() {
        let (mut catalog, origin) = (with_session(), Instant::now());
        let config = || Config { late_sweep: Duration::from_secs(3600), ..Config::default() };
        let (ours, theirs) = (Leases::new("n1", config(), origin), Leases::new("n2", config(), origin));
        let at = |ms| origin + Duration::from_millis(ms);
        ours.sweep(&catalog.snapshot(), at(0));
        theirs.sweep(&catalog.snapshot(), at(0));
        let elsewhere = theirs.renew_session(&catalog.snapshot(), "s", at(19_000));
        assert!(matches!(elsewhere, Err(RenewError::Elsewhere { .. })), "{elsewhere:?}");
        apply(&mut catalog, 3, "n2", Command::Session(SessionCommand::Claim { id: "s".into() }));
        let now = catalog.snapshot();
        assert_eq!(theirs.renew_session(&now, "s", at(19_500)), Ok(Duration::from_secs(10)));
        assert_eq!(ours.sweep(&now, at(25_000)), [], "it is not ours any more");
        assert_eq!(theirs.sweep(&now, at(39_000)), []);
        assert_eq!(theirs.sweep(&now, at(39_500)).len(), 1);
    }
}
