//! Several operations on keys, all or nothing.

use std::sync::Arc;

use crate::apply::Turn;
use crate::command::{KvFound, KvOperation, Outcome, Refusal};
use crate::model::Index;

impl Turn<'_> {
    /// Runs them in order. When any fails the rest is tried all the same, so that the answer names every
    /// failure, and then nothing of it has happened.
    pub(super) fn transaction(&mut self, operations: &[KvOperation]) -> Outcome {
        let (state, touched) = (self.state.clone(), self.touched.clone());
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for (number, operation) in operations.iter().enumerate() {
            if let Err(why) = self.operation(operation, &mut found) {
                failures.push((number, why));
            }
        }
        if failures.is_empty() {
            return Outcome::Transacted(found);
        }
        (*self.state, *self.touched) = (state, touched);
        Outcome::Refused(Refusal::RolledBack(failures))
    }

    fn operation(&mut self, operation: &KvOperation, found: &mut Vec<KvFound>) -> Result<(), String> {
        match operation {
            KvOperation::Set { key, value, flags, cas } => {
                self.set_key(key, value, *flags, *cas).map_err(|refusal| failed("set", key, &refusal))?;
                self.note(key, false, found);
            }
            KvOperation::Delete { key, cas } => {
                self.delete_key(key, *cas).map_err(|refusal| failed("delete", key, &refusal))?;
            }
            KvOperation::DeleteTree { prefix } => {
                self.delete_tree(prefix);
            }
            KvOperation::Get { key } => {
                if !self.note(key, true, found) {
                    return Err(format!("key {key:?} doesn't exist"));
                }
            }
            KvOperation::GetTree { prefix } => {
                let under = self.state.keys_under(prefix);
                found.extend(under.map(|(key, entry)| KvFound {
                    key: key.clone(),
                    entry: entry.clone(),
                    is_read: true,
                }));
            }
            KvOperation::Check { key, index } => self.check_key(key, *index)?,
        }
        Ok(())
    }

    /// Adds a key as it is now; false when there is none.
    fn note(&self, key: &Arc<str>, is_read: bool, found: &mut Vec<KvFound>) -> bool {
        let entry = self.state.kv.get(key).cloned();
        let exists = entry.is_some();
        found.extend(entry.map(|entry| KvFound { key: key.clone(), entry, is_read }));
        exists
    }

    fn check_key(&self, key: &Arc<str>, expected: Index) -> Result<(), String> {
        match (self.state.kv.get(key).map(|entry| entry.modify_index), expected) {
            (None, 0) => Ok(()),
            (Some(_), 0) => Err(format!("key {key:?} exists")),
            (None, _) => Err(format!("key {key:?} doesn't exist")),
            (Some(actual), expected) if actual == expected => Ok(()),
            (Some(actual), expected) => {
                Err(format!("key {key:?}: current modify index {actual} is not {expected}"))
            }
        }
    }
}

fn failed(what: &str, key: &str, refusal: &Refusal) -> String {
    match refusal {
        Refusal::CasFailed { .. } => format!("failed to {what} key {key:?}, index is stale"),
        other => other.to_string(),
    }
}
