//! Keys, with Consul's compare-and-set: 0 means "only if absent".

use std::sync::Arc;

use bytes::Bytes;

use crate::apply::{Topic, Turn};
use crate::command::{KvCommand, Outcome, Refusal};
use crate::model::{Index, KvEntry};
use crate::transaction::Operation;
use crate::validate;

impl Turn<'_> {
    pub(super) fn kv(&mut self, command: &KvCommand) -> Outcome {
        let result = match command {
            KvCommand::Set { key, value, flags, cas } => self.set_key(key, value, *flags, *cas),
            KvCommand::Delete { key, cas } => self.delete_key(key, *cas),
            KvCommand::DeleteTree { prefix } => Ok(self.delete_tree(prefix)),
            KvCommand::Acquire { key, value, flags, session } => {
                self.acquire_key(key, value, *flags, session)
            }
            KvCommand::Release { key, value, flags, session } => {
                self.release_key(key, value, *flags, session)
            }
            KvCommand::Transaction { operations } => {
                let operations: Vec<_> = operations.iter().cloned().map(Operation::Kv).collect();
                return self.transaction(operations.iter());
            }
        };
        match result {
            Ok(changed) => Outcome::Done { changed },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    pub(super) fn set_key(
        &mut self,
        key: &Arc<str>,
        value: &Bytes,
        flags: u64,
        cas: Option<Index>,
    ) -> Result<bool, Refusal> {
        validate::pair(key, value)?;
        let previous = self.state.kv.get(key).cloned();
        let actual = previous.as_ref().map_or(0, |entry| entry.modify_index);
        check_cas(cas, actual)?;
        if previous.as_ref().is_some_and(|entry| entry.value == *value && entry.flags == flags) {
            return Ok(false);
        }
        let entry = KvEntry {
            value: value.clone(),
            flags,
            lock_index: previous.as_ref().map_or(0, |entry| entry.lock_index),
            session: previous.as_ref().and_then(|entry| entry.session.clone()),
            create_index: previous.as_ref().map_or(self.index, |entry| entry.create_index),
            modify_index: self.index,
        };
        self.put_key(key, entry);
        Ok(true)
    }

    pub(super) fn delete_key(&mut self, key: &Arc<str>, cas: Option<Index>) -> Result<bool, Refusal> {
        let Some(previous) = self.state.kv.get(key) else { return Ok(false) };
        check_cas(cas, previous.modify_index)?;
        self.bury_key(key);
        Ok(true)
    }

    pub(super) fn delete_tree(&mut self, prefix: &str) -> bool {
        let keys: Vec<_> = self.state.keys_under(prefix).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.bury_key(key));
        !keys.is_empty()
    }

    pub(super) fn bury_key(&mut self, key: &Arc<str>) {
        self.forget_holder(key);
        self.state.kv.remove(key);
        self.state.gone_keys.bury(key, self.index);
        self.touch_key(key);
    }

    pub(super) fn touch_key(&mut self, key: &Arc<str>) {
        self.state.tables.kv = self.index;
        self.touched.insert(Topic::Key(key.clone()));
    }
}

fn check_cas(expected: Option<Index>, actual: Index) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != actual => Err(Refusal::CasFailed { expected, actual }),
        _ => Ok(()),
    }
}
