//! The state replaced by an archive's.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::checkpoint;
use crate::command::{Outcome, Refusal};
use crate::model::{Check, Index, Instance, NodeEntry, Service};
use crate::restore::{MAX_PART, MAX_STAGED, RestoreCommand, Staged};
use crate::session::{Session, Sessions};
use crate::snapshot::{Snapshot, Tables};
use crate::tombstones::Tombstones;

impl Turn<'_> {
    pub(super) fn restore(&mut self, command: &RestoreCommand) -> Outcome {
        let result = match command {
            RestoreCommand::Part { id, number, bytes } => self.stage(id, *number, bytes),
            RestoreCommand::Commit { id, parts } => self.commit(id, *parts),
            RestoreCommand::Abandon { id } => {
                let is_staged = self.state.staged.as_ref().is_some_and(|staged| staged.id == *id);
                if is_staged {
                    self.state.staged = None;
                }
                Ok(is_staged)
            }
        };
        match result {
            Ok(changed) => Outcome::Done { changed },
            Err(why) => Outcome::Refused(Refusal::Archive(why)),
        }
    }

    fn stage(&mut self, id: &Arc<str>, number: u64, bytes: &bytes::Bytes) -> Result<bool, String> {
        if bytes.len() > MAX_PART {
            return Err(format!("a part of {} bytes is longer than {MAX_PART}", bytes.len()));
        }
        let begun = self.state.staged.take().filter(|staged| staged.id == *id && number > 0);
        let mut staged = begun.map_or_else(|| Staged::new(id.clone()), |staged| (*staged).clone());
        if number != staged.parts.len() as u64 {
            return Err(format!("part {number} came after {} parts; begin again", staged.parts.len()));
        }
        if staged.bytes + bytes.len() > MAX_STAGED {
            return Err(format!("it is larger than {MAX_STAGED} bytes"));
        }
        staged.push(bytes.clone());
        self.state.staged = Some(Arc::new(staged));
        Ok(true)
    }

    fn commit(&mut self, id: &Arc<str>, parts: u64) -> Result<bool, String> {
        let staged = self.state.staged.take().filter(|staged| staged.id == *id);
        let staged = staged.ok_or("another archive came between, or none was brought; begin again")?;
        if staged.parts.len() as u64 != parts {
            return Err(format!("{} of {parts} parts came; begin again", staged.parts.len()));
        }
        let archived = checkpoint::read(staged.reader()).map_err(|why| {
            let cause = std::error::Error::source(&why).map(|cause| format!(": {cause}"));
            format!("{why}{}", cause.unwrap_or_default())
        })?;
        let (index, owner) = (self.index, self.owner());
        let mut state = stamped(archived, index);
        for session in state.sessions.by_id.values().cloned().collect::<Vec<_>>() {
            let kept = Session { owner: owner.clone(), claimed_index: index, ..(*session).clone() };
            state.sessions.by_id.insert(session.def.id.clone(), Arc::new(kept));
        }
        state.time_ms = self.state.time_ms;
        state.settings = self.state.settings.clone();
        state.proposers = std::mem::take(&mut self.state.proposers);
        state.cluster = self.state.cluster.clone();
        *self.state = state;
        self.touched.insert(Topic::Everything);
        Ok(true)
    }
}

/// A state as if all of it had come about at `index`: whoever watches anything sees a newer index and looks again,
/// and no index is ever above the log's.
fn stamped(mut state: Snapshot, index: Index) -> Snapshot {
    state.index = index;
    state.tables = Tables {
        nodes: index,
        services: index,
        checks: index,
        kv: index,
        sessions: index,
        topics: index,
        events: index,
        queries: index,
        exposures: index,
    };
    // Whatever is not in the archive vanished just now.
    (state.gone_services, state.gone_keys) = (Tombstones::from(index), Tombstones::from(index));
    state.staged = None;
    state.changed_services = state.services.keys().map(|name| (index, name.clone())).collect();
    let nodes = state.nodes.iter().map(|(name, node)| (name.clone(), Arc::new(node_at(node, index))));
    state.nodes = nodes.collect();
    let services = state.services.iter().map(|(name, service)| {
        let instances = service.instances.keys().filter_map(|key| {
            // One value is in both places.
            let instance = state.nodes.get(&key.0)?.instances.get(&key.1)?;
            Some((key.clone(), instance.clone()))
        });
        let instances = instances.collect();
        let (create_index, touched_index) = (service.create_index.min(index), index);
        (name.clone(), Arc::new(Service { instances, create_index, touched_index, ..(**service).clone() }))
    });
    state.services = services.collect();
    state.sessions = sessions_at(&state.sessions, index);
    state.kv = state
        .kv
        .iter()
        .map(|(key, entry)| {
            let mut entry = (**entry).clone();
            (entry.create_index, entry.modify_index) = (entry.create_index.min(index), index);
            (key.clone(), Arc::new(entry))
        })
        .collect();
    state.exposures = state
        .exposures
        .iter()
        .map(|(name, exposure)| {
            let mut stamped = (**exposure).clone();
            (stamped.create_index, stamped.modify_index) = (stamped.create_index.min(index), index);
            (name.clone(), Arc::new(stamped))
        })
        .collect();
    state.queries.stamp(index);
    state.topics.stamp(index);
    Arc::make_mut(&mut state.rules).stamp(index);
    Arc::make_mut(&mut state.acl).stamp(index);
    state
}

fn node_at(node: &NodeEntry, index: Index) -> NodeEntry {
    let instances = node.instances.iter().map(|(id, instance)| {
        let checks = instance.checks.iter().map(|check| check_at(check, index)).collect();
        let stamped = Instance {
            checks,
            registered_index: index,
            create_index: instance.create_index.min(index),
            modify_index: index,
            ..(**instance).clone()
        };
        (id.clone(), Arc::new(stamped))
    });
    NodeEntry {
        checks: node.checks.iter().map(|check| check_at(check, index)).collect(),
        instances: instances.collect(),
        create_index: node.create_index.min(index),
        modify_index: index,
        touched_index: index,
        ..node.clone()
    }
}

fn check_at(check: &Check, index: Index) -> Arc<Check> {
    Arc::new(Check { create_index: check.create_index.min(index), modify_index: index, ..check.clone() })
}

fn sessions_at(sessions: &Sessions, index: Index) -> Sessions {
    let mut stamped = sessions.clone();
    for (id, session) in &sessions.by_id {
        let create_index = session.create_index.min(index);
        stamped.by_id.insert(id.clone(), Arc::new(Session { create_index, ..(**session).clone() }));
    }
    stamped
}
