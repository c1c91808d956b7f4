//! Sessions begin and end; with their end their keys are free, some time later.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::model::{Index, KvEntry, Status};
use crate::session::{Behavior, Session, SessionCommand, SessionDef};

impl Turn<'_> {
    pub(super) fn session(&mut self, command: &SessionCommand) -> Outcome {
        let result = match command {
            SessionCommand::Create(def) => self.create_session(def),
            SessionCommand::End { id, claimed_index } => self.end_if_claimed_at(id, *claimed_index),
            SessionCommand::Claim { id } => self.claim_session(id),
        };
        match result {
            Ok(changed) => Outcome::Done { changed },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn create_session(&mut self, def: &SessionDef) -> Result<bool, Refusal> {
        def.validate()?;
        let node = self.state.nodes.get(&def.node).ok_or_else(|| Refusal::UnknownNode(def.node.clone()))?;
        let mut def = def.clone();
        def.node = node.def.name.clone();
        for check in def.checks() {
            match self.state.check(&def.node, check).map(|check| check.status) {
                Some(Status::Critical) => return Err(Refusal::CriticalCheck { id: check.clone() }),
                Some(_) => {}
                None => {
                    return Err(Refusal::UnknownCheck { node: def.node.clone(), id: check.clone() });
                }
            }
        }
        // An id is random; the same again is the same wish again.
        if self.state.session(&def.id).is_some() {
            return Ok(false);
        }
        let session = Session {
            def: Arc::new(def),
            owner: self.owner(),
            claimed_index: self.index,
            create_index: self.index,
        };
        self.state.sessions.insert(Arc::new(session));
        self.touch_sessions();
        Ok(true)
    }

    fn end_if_claimed_at(&mut self, id: &Arc<str>, at: Option<Index>) -> Result<bool, Refusal> {
        let Some(session) = self.state.session(id) else { return Ok(false) };
        if at.is_some_and(|at| at != session.claimed_index) {
            return Err(Refusal::ClaimedAgain { claimed_index: session.claimed_index });
        }
        self.end_session(id);
        Ok(true)
    }

    fn claim_session(&mut self, id: &Arc<str>) -> Result<bool, Refusal> {
        let session = self.state.session(id).ok_or_else(|| Refusal::UnknownSession(id.clone()))?;
        let owner = self.owner();
        if session.owner == owner {
            return Ok(false);
        }
        let claimed = Session { owner, claimed_index: self.index, ..(**session).clone() };
        self.state.sessions.by_id.insert(id.clone(), Arc::new(claimed));
        Ok(true)
    }

    /// The proposer keeps the leases that a node kept which is dead or gone: each gets a full term there.
    pub(super) fn adopt_sessions_of(&mut self, gone: &str) {
        let orphans = self.state.sessions().filter(|session| *session.owner.node == *gone);
        for session in orphans.cloned().collect::<Vec<_>>() {
            let adopted = Session { owner: self.owner(), claimed_index: self.index, ..(*session).clone() };
            self.state.sessions.by_id.insert(session.def.id.clone(), Arc::new(adopted));
        }
    }

    /// Ends every session that is bound to a check: it turned critical, or went.
    pub(super) fn end_sessions_of_check(&mut self, node: &Arc<str>, check: &Arc<str>) {
        for id in self.state.sessions.bound_to(node, check) {
            self.end_session(&id);
        }
    }

    /// Ends every session on a node.
    pub(super) fn end_sessions_on(&mut self, node: &Arc<str>) {
        let ids: Vec<_> = self.state.sessions.on(node).cloned().collect();
        ids.iter().for_each(|id| self.end_session(id));
    }

    fn end_session(&mut self, id: &Arc<str>) {
        let Some(session) = self.state.sessions.remove(id) else { return };
        let def = &session.def;
        let now_ms = self.state.time_ms;
        self.state.sessions.forget_delays(now_ms);
        for key in self.state.sessions.keys_of(&def.id) {
            match def.behavior {
                Behavior::Delete => self.bury_key(&key),
                Behavior::Release => self.unlock(&key),
            }
            if def.lock_delay_ms > 0 {
                self.state.sessions.delay(&key, now_ms.saturating_add(def.lock_delay_ms));
            }
        }
        self.end_queries_of(&def.id);
        self.touch_sessions();
    }

    fn unlock(&mut self, key: &Arc<str>) {
        if let Some(entry) = self.state.kv.get(key) {
            let free = KvEntry { session: None, modify_index: self.index, ..(**entry).clone() };
            self.put_key(key, free);
        }
    }

    fn touch_sessions(&mut self) {
        self.state.tables.sessions = self.index;
        self.touched.insert(Topic::Sessions);
    }
}
