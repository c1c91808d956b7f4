//! Locks on keys: a key is held by one living session, and by nobody for a while after that session ended.

use std::sync::Arc;

use bytes::Bytes;

use crate::apply::Turn;
use crate::command::Refusal;
use crate::model::KvEntry;
use crate::validate;

impl Turn<'_> {
    /// Sets a key and locks it for `session`; whoever holds it already sets it again.
    pub(super) fn acquire_key(
        &mut self,
        key: &Arc<str>,
        value: &Bytes,
        flags: u64,
        session: &Arc<str>,
    ) -> Result<bool, Refusal> {
        validate::pair(key, value)?;
        let known = self.state.session(session).ok_or_else(|| Refusal::UnknownSession(session.clone()))?;
        let session = known.def.id.clone();
        let previous = self.state.kv.get(key).cloned();
        let holder = previous.as_ref().and_then(|entry| entry.session.clone());
        if let Some(holder) = &holder
            && *holder != session
        {
            return Err(Refusal::Locked { by: holder.clone() });
        }
        let is_delayed = self.state.sessions.delays.get(key).is_some_and(|until| *until > self.state.time_ms);
        if holder.is_none() && is_delayed {
            return Err(Refusal::LockDelay);
        }
        let lock_index = previous.as_ref().map_or(0, |entry| entry.lock_index) + u64::from(holder.is_none());
        self.put_key(
            key,
            KvEntry {
                value: value.clone(),
                flags,
                lock_index,
                session: Some(session),
                create_index: previous.as_ref().map_or(self.index, |entry| entry.create_index),
                modify_index: self.index,
            },
        );
        Ok(true)
    }

    /// Sets a key that `session` holds and unlocks it, without any delay: it was given back.
    pub(super) fn release_key(
        &mut self,
        key: &Arc<str>,
        value: &Bytes,
        flags: u64,
        session: &str,
    ) -> Result<bool, Refusal> {
        validate::pair(key, value)?;
        let previous = self.state.kv.get(key).filter(|entry| entry.session.as_deref() == Some(session));
        let previous = previous.cloned().ok_or(Refusal::NotHeld)?;
        let entry = KvEntry {
            value: value.clone(),
            flags,
            session: None,
            modify_index: self.index,
            ..(*previous).clone()
        };
        self.put_key(key, entry);
        Ok(true)
    }

    /// Puts a key in its place, keeps up who holds what, and wakes whom it concerns.
    pub(super) fn put_key(&mut self, key: &Arc<str>, entry: KvEntry) {
        self.forget_holder(key);
        if let Some(session) = &entry.session {
            self.state.sessions.held.insert((session.clone(), key.clone()));
        }
        self.state.gone_keys.unearth(key);
        self.state.kv.insert(key.clone(), Arc::new(entry));
        self.touch_key(key);
    }

    pub(super) fn forget_holder(&mut self, key: &Arc<str>) {
        let holder = self.state.kv.get(key).and_then(|entry| entry.session.clone());
        if let Some(session) = holder {
            self.state.sessions.held.remove(&(session, key.clone()));
        }
    }
}
