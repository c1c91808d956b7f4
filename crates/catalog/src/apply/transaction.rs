//! Several operations, all or nothing.

use std::sync::Arc;

use crate::apply::Turn;
use crate::command::{
    CheckRegistration, Deregister, InstanceRegistration, KvFound, KvOperation, NodeRegistration, Outcome,
    Refusal, Register,
};
use crate::model::{Index, InstanceDef, NodeDef};
use crate::transaction::{Found, Operation, Verb};

type Tried = Result<Option<Found>, String>;

impl Turn<'_> {
    /// Runs them in order. When any fails the rest is tried all the same, so that the answer names every
    /// failure, and then nothing of it has happened.
    pub(super) fn transaction<'o>(&mut self, operations: impl Iterator<Item = &'o Operation>) -> Outcome {
        let (state, touched) = (self.state.clone(), self.touched.clone());
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for (number, operation) in operations.enumerate() {
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

    fn operation(&mut self, operation: &Operation, found: &mut Vec<Found>) -> Result<(), String> {
        let one = match operation {
            Operation::Kv(operation) => return self.kv_operation(operation, found),
            Operation::Node { verb, def } => self.node_operation(*verb, def)?,
            Operation::Instance { verb, node, def } => self.instance_operation(*verb, node, def)?,
            Operation::Check { verb, node, check } => self.check_operation(*verb, node, check)?,
        };
        found.extend(one);
        Ok(())
    }

    fn node_operation(&mut self, verb: Verb, def: &NodeDef) -> Tried {
        let name = &def.name;
        let known = self.state.nodes.get(name).map(|entry| entry.modify_index);
        match verb {
            Verb::Get if known.is_none() => return Err(format!("node {name:?} doesn't exist")),
            Verb::Get => {}
            Verb::Set(cas) => {
                fresh(cas, known, || format!("failed to set node {name:?}, index is stale"))?;
                let node = Some(NodeRegistration { def: def.clone(), only_if_absent: false });
                self.registered(Register { node, on: name.clone(), ..Register::default() })?;
            }
            Verb::Delete(cas) => {
                fresh(cas, known, || format!("failed to delete node {name:?}, index is stale"))?;
                self.deregister(&Deregister::Node { node: name.clone() });
                return Ok(None);
            }
        }
        Ok(self.state.nodes.get(name).cloned().map(Found::Node))
    }

    fn instance_operation(&mut self, verb: Verb, node: &Arc<str>, def: &InstanceDef) -> Tried {
        let id = &def.id;
        let known = self.state.instance(node, id).map(|instance| instance.modify_index);
        match verb {
            Verb::Get if known.is_none() => {
                return Err(format!("service {id:?} on node {node:?} doesn't exist"));
            }
            Verb::Get => {}
            Verb::Set(cas) => {
                fresh(cas, known, || {
                    format!("failed to set service {id:?} on node {node:?}, index is stale")
                })?;
                let instance = Some(InstanceRegistration { def: def.clone(), replace_checks: false });
                self.registered(Register { on: node.clone(), instance, ..Register::default() })?;
            }
            Verb::Delete(cas) => {
                fresh(cas, known, || {
                    format!("failed to delete service {id:?} on node {node:?}, index is stale")
                })?;
                let (node, id) = (node.clone(), id.clone());
                self.deregister(&Deregister::Instance { node, id, registered_index: None });
                return Ok(None);
            }
        }
        Ok(self.state.instance(node, id).cloned().map(Found::Instance))
    }

    fn check_operation(&mut self, verb: Verb, node: &Arc<str>, check: &CheckRegistration) -> Tried {
        let id = &check.def.id;
        let known = self.state.check(node, id).map(|check| check.modify_index);
        match verb {
            Verb::Get if known.is_none() => {
                return Err(format!("check {id:?} on node {node:?} doesn't exist"));
            }
            Verb::Get => {}
            Verb::Set(cas) => {
                fresh(cas, known, || format!("failed to set check {id:?} on node {node:?}, index is stale"))?;
                let checks = vec![check.clone()];
                self.registered(Register { on: node.clone(), checks, ..Register::default() })?;
            }
            Verb::Delete(cas) => {
                fresh(cas, known, || {
                    format!("failed to delete check {id:?} on node {node:?}, index is stale")
                })?;
                self.deregister(&Deregister::Check { node: node.clone(), id: id.clone() });
                return Ok(None);
            }
        }
        Ok(self.state.check(node, id).cloned().map(Found::Check))
    }

    fn registered(&mut self, register: Register) -> Result<(), String> {
        match self.register(&register) {
            Outcome::Refused(Refusal::UnknownNode(_)) => Err("Missing node registration".to_owned()),
            Outcome::Refused(Refusal::UnknownInstance { .. }) => {
                Err("Missing service registration".to_owned())
            }
            Outcome::Refused(refusal) => Err(refusal.to_string()),
            _ => Ok(()),
        }
    }

    fn kv_operation(&mut self, operation: &KvOperation, found: &mut Vec<Found>) -> Result<(), String> {
        let (key, is_read) = match operation {
            KvOperation::Set { key, value, flags, cas } => {
                self.set_key(key, value, *flags, *cas).map_err(|refusal| failed("set", key, &refusal))?;
                (key, false)
            }
            // In Consul's words, like all that is said here.
            KvOperation::Lock { session, .. }
            | KvOperation::Unlock { session, .. }
            | KvOperation::CheckSession { session, .. }
                if session.is_empty() =>
            {
                return Err("missing session".to_owned());
            }
            KvOperation::Lock { key, value, flags, session } => {
                self.acquire_key(key, value, *flags, session)
                    .map_err(|refusal| failed("lock", key, &refusal))?;
                (key, false)
            }
            KvOperation::Unlock { key, value, flags, session } => {
                self.release_key(key, value, *flags, session)
                    .map_err(|refusal| failed("unlock", key, &refusal))?;
                (key, false)
            }
            KvOperation::Delete { key, cas } => {
                self.delete_key(key, *cas).map_err(|refusal| failed("delete", key, &refusal))?;
                return Ok(());
            }
            KvOperation::DeleteTree { prefix } => {
                self.delete_tree(prefix);
                return Ok(());
            }
            KvOperation::Get { key } => (key, true),
            KvOperation::GetTree { prefix } => {
                let under = self.state.keys_under(prefix);
                found.extend(under.map(|(key, entry)| {
                    Found::Key(KvFound { key: key.clone(), entry: entry.clone(), is_read: true })
                }));
                return Ok(());
            }
            KvOperation::Check { key, index } => return self.check_key(key, *index),
            KvOperation::CheckSession { key, session } => {
                self.check_holder(key, session)?;
                (key, false)
            }
        };
        let entry = self.state.kv.get(key).cloned().ok_or_else(|| format!("key {key:?} doesn't exist"))?;
        found.push(Found::Key(KvFound { key: key.clone(), entry, is_read }));
        Ok(())
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

    fn check_holder(&self, key: &Arc<str>, session: &str) -> Result<(), String> {
        let entry = self.state.kv.get(key);
        let entry = entry.ok_or_else(|| format!("failed to check session, key {key:?} doesn't exist"))?;
        match entry.session.as_deref().unwrap_or_default() {
            holder if holder == session => Ok(()),
            holder => Err(format!(
                "failed session check for key {key:?}, current session {holder:?} != {session:?}"
            )),
        }
    }
}

fn fresh(cas: Option<Index>, known: Option<Index>, stale: impl Fn() -> String) -> Result<(), String> {
    match cas {
        Some(cas) if cas != known.unwrap_or(0) => Err(stale()),
        _ => Ok(()),
    }
}

fn failed(what: &str, key: &str, refusal: &Refusal) -> String {
    match refusal {
        Refusal::CasFailed { .. } => format!("failed to {what} key {key:?}, index is stale"),
        Refusal::Locked { .. } => format!("failed to lock key {key:?}, lock is already held"),
        Refusal::LockDelay => format!("failed to lock key {key:?} due to lock delay"),
        Refusal::NotHeld => {
            format!("failed to unlock key {key:?}, lock isn't held, or is held by another session")
        }
        other => other.to_string(),
    }
}
