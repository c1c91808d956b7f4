//! Checks: registered, judged, taken away.

use std::sync::Arc;

use crate::apply::compact::{compact_check, shared_text};
use crate::apply::{Topic, Turn};
use crate::command::{CheckRegistration, InitialStatus, Outcome, Refusal};
use crate::members::ClusterRefusal;
use crate::model::{Check, NodeEntry, Status};
use crate::validate::MAX_OUTPUT;

impl Turn<'_> {
    /// Creates or replaces a check; true when that changed anything.
    pub(super) fn register_check(&mut self, node: &Arc<str>, registration: &CheckRegistration) -> bool {
        let Some(entry) = self.state.nodes.get(node).cloned() else { return false };
        if self.is_judged(node, &registration.def.id) {
            return false;
        }
        let previous = self.state.check(node, &registration.def.id).cloned();
        let check = self.judged(&entry, registration, previous.as_deref());
        if let Some(previous) = &previous {
            let is_same = Check { modify_index: previous.modify_index, ..check.clone() } == **previous;
            if is_same {
                return false;
            }
            if previous.def.service_id != check.def.service_id {
                self.take_check(previous);
            }
        }
        self.put_check(Arc::new(check));
        true
    }

    /// The check that a registration asks for, with the verdict that it starts from.
    fn judged(&self, node: &NodeEntry, wanted: &CheckRegistration, previous: Option<&Check>) -> Check {
        let service = node.instances.get(&wanted.def.service_id).map(|i| i.def.service.clone());
        let (status, output) = match (wanted.status, previous) {
            (InitialStatus::Keep(_), Some(previous)) => (previous.status, previous.output.clone()),
            (InitialStatus::Keep(status) | InitialStatus::Set(status), _) => (status, cut(&wanted.output)),
        };
        let since_ms = match previous {
            Some(previous) if previous.status == status => previous.since_ms,
            _ => self.envelope.time_ms,
        };
        Check {
            node: node.def.name.clone(),
            def: Arc::new(compact_check(node, wanted.def.clone())),
            service: service.unwrap_or_default(),
            status,
            output,
            since_ms,
            create_index: previous.map_or(self.index, |previous| previous.create_index),
            modify_index: self.index,
        }
    }

    pub(super) fn set_status(
        &mut self,
        node: &Arc<str>,
        id: &Arc<str>,
        status: Status,
        output: &Arc<str>,
    ) -> Outcome {
        let Some(previous) = self.state.check(node, id) else {
            return Outcome::Refused(Refusal::UnknownCheck { node: node.clone(), id: id.clone() });
        };
        if self.is_judged(node, id) {
            return Outcome::Refused(ClusterRefusal::Down(node.clone()).into());
        }
        if previous.status == status && previous.output == *output {
            return Outcome::Done { changed: false };
        }
        let mut check = (**previous).clone();
        if check.status != status {
            check.since_ms = self.envelope.time_ms;
        }
        check.status = status;
        check.output = cut(output);
        check.modify_index = self.index;
        self.put_check(Arc::new(check));
        Outcome::Done { changed: true }
    }

    /// Puts a check in its place and wakes whom it concerns.
    fn put_check(&mut self, check: Arc<Check>) {
        let node = check.node.clone();
        if check.status == Status::Critical {
            self.end_sessions_of_check(&node, &check.def.id);
        }
        let instance = self.state.instance(&node, &check.def.service_id).cloned();
        match instance {
            Some(instance) => {
                let mut instance = (*instance).clone();
                put_by_id(&mut instance.checks, check.clone());
                let service = instance.def.service.clone();
                self.put_instance(instance);
                if let Some(entry) = self.state.nodes.get_mut(&node) {
                    let id = (check.def.id.clone(), check.def.service_id.clone());
                    Arc::make_mut(entry).instance_checks.insert(id.0, id.1);
                }
                self.touch_service(&service);
                self.touch_checks();
                self.touch_node(&node);
            }
            None => self.change_node_checks(&node, |checks| put_by_id(checks, check)),
        }
    }

    /// Takes a check from where it is.
    pub(super) fn take_check(&mut self, check: &Check) {
        self.end_sessions_of_check(&check.node, &check.def.id);
        let instance = self.state.instance(&check.node, &check.def.service_id).cloned();
        match instance {
            Some(instance) => {
                let mut instance = (*instance).clone();
                instance.checks.retain(|other| other.def.id != check.def.id);
                let service = instance.def.service.clone();
                self.put_instance(instance);
                self.forget_checks(&check.node, &[Arc::new(check.clone())]);
                self.touch_service(&service);
                self.touch_node(&check.node);
            }
            None => {
                self.change_node_checks(&check.node, |checks| checks.retain(|c| c.def.id != check.def.id));
            }
        }
    }

    /// Drops ids of instance checks that are gone.
    pub(super) fn forget_checks(&mut self, node: &Arc<str>, gone: &[Arc<Check>]) {
        gone.iter().for_each(|check| self.end_sessions_of_check(node, &check.def.id));
        if let Some(entry) = self.state.nodes.get_mut(node) {
            let entry = Arc::make_mut(entry);
            for check in gone {
                entry.instance_checks.remove(&check.def.id);
            }
        }
        self.touch_checks();
    }

    /// A node's own checks judge every service on it.
    fn change_node_checks(&mut self, node: &Arc<str>, change: impl FnOnce(&mut Vec<Arc<Check>>)) {
        let Some(entry) = self.state.nodes.get_mut(node) else { return };
        let entry = Arc::make_mut(entry);
        change(&mut entry.checks);
        let entry = entry.clone();
        self.touch_services_of(&entry);
        self.touch_checks();
        self.touch_node(node);
        self.touched.insert(Topic::Node(node.clone()));
    }
}

fn put_by_id(checks: &mut Vec<Arc<Check>>, check: Arc<Check>) {
    match checks.binary_search_by(|other| other.def.id.cmp(&check.def.id)) {
        Ok(at) => checks[at] = check,
        Err(at) => {
            checks.reserve_exact(1);
            checks.insert(at, check);
        }
    }
}

/// Output as it is kept: at most 4 KiB, cut at a character.
fn cut(output: &Arc<str>) -> Arc<str> {
    if output.len() <= MAX_OUTPUT {
        return shared_text(output.clone());
    }
    output[..output.floor_char_boundary(MAX_OUTPUT)].into()
}
