//! Registration: a node, an instance, checks, all or nothing. What is already as wished leaves no index.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{InstanceRegistration, NodeRegistration, Outcome, Refusal, Register};
use crate::model::{Instance, NodeEntry, Owner};
use crate::validate;

impl Turn<'_> {
    pub(super) fn register(&mut self, register: &Register) -> Outcome {
        if let Err(refusal) = self.may_register(register) {
            return Outcome::Refused(refusal);
        }
        let mut changed = false;
        if let Some(node) = &register.node {
            changed |= self.register_node(node);
        }
        if let Some(instance) = &register.instance {
            changed |= self.register_instance(&register.on, instance, register);
        }
        for check in &register.checks {
            changed |= self.register_check(&register.on, check);
        }
        Outcome::Done { changed }
    }

    fn may_register(&self, register: &Register) -> Result<(), Refusal> {
        validate::registration(register)?;
        let node = self.state.nodes.get(&register.on);
        if register.node.is_none() && node.is_none() {
            return Err(Refusal::UnknownNode(register.on.clone()));
        }
        for check in &register.checks {
            let id = &check.def.service_id;
            let is_new = register.instance.as_ref().is_some_and(|instance| instance.def.id == *id);
            let is_known = node.is_some_and(|node| node.instances.contains_key(id));
            if !id.is_empty() && !is_new && !is_known {
                return Err(Refusal::UnknownInstance { node: register.on.clone(), id: id.clone() });
            }
        }
        Ok(())
    }

    fn register_node(&mut self, registration: &NodeRegistration) -> bool {
        let def = &registration.def;
        let existing = self.state.nodes.get(&def.name).cloned();
        let entry = match &existing {
            Some(entry) if registration.only_if_absent || *entry.def == *def => return false,
            Some(entry) => {
                NodeEntry { def: Arc::new(def.clone()), modify_index: self.index, ..(**entry).clone() }
            }
            None => NodeEntry {
                def: Arc::new(def.clone()),
                checks: Vec::new(),
                instances: imbl::OrdMap::new(),
                instance_checks: imbl::OrdMap::new(),
                down: None,
                create_index: self.index,
                modify_index: self.index,
                touched_index: self.index,
            },
        };
        self.state.nodes.insert(def.name.clone(), Arc::new(entry));
        self.state.tables.nodes = self.index;
        self.touched.insert(Topic::Nodes);
        self.touch_node(&def.name);
        if let Some(existing) = existing {
            self.touch_services_of(&existing);
        }
        true
    }

    fn register_instance(
        &mut self,
        node: &Arc<str>,
        registration: &InstanceRegistration,
        register: &Register,
    ) -> bool {
        let Some(entry) = self.state.nodes.get(node) else { return false };
        let node = entry.def.name.clone();
        let def = &registration.def;
        let owner = self.owner();
        let mut existing = entry.instances.get(&def.id).cloned();
        if let Some(previous) = existing.take_if(|previous| previous.def.service != def.service) {
            self.take_instance(&previous);
        }
        let Some(previous) = existing else {
            self.ensure_service(def);
            self.put_new_instance(node, registration, owner);
            return true;
        };
        let keeps = |id: &Arc<str>| register.checks.iter().any(|check| check.def.id == *id);
        let dropped: Vec<_> = previous.checks.iter().filter(|c| !keeps(&c.def.id)).cloned().collect();
        let drops = registration.replace_checks && !dropped.is_empty();
        let is_same = *previous.def == *def;
        let mut instance = (*previous).clone();
        instance.registered_index = self.index;
        instance.owner = owner;
        if !is_same {
            instance.def = Arc::new(self.compact_instance(def.clone()));
            instance.modify_index = self.index;
        }
        if drops {
            instance.checks.retain(|check| keeps(&check.def.id));
        }
        let lives_by_another = instance.life() != previous.life();
        self.put_instance(instance);
        if drops {
            self.forget_checks(&node, &dropped);
        }
        if !is_same || drops || lives_by_another {
            self.touch_service(&def.service);
            self.touch_node(&node);
        }
        if previous.def.tags != def.tags {
            self.touch_service_names();
        }
        !is_same || drops
    }

    fn put_new_instance(&mut self, node: Arc<str>, registration: &InstanceRegistration, owner: Owner) {
        let def = self.compact_instance(registration.def.clone());
        let service = def.service.clone();
        if !def.tags.is_empty() {
            self.touch_service_names();
        }
        self.put_instance(Instance {
            node: node.clone(),
            def: Arc::new(def),
            owner,
            checks: Vec::new(),
            registered_index: self.index,
            create_index: self.index,
            modify_index: self.index,
        });
        self.touch_service(&service);
        self.touch_node(&node);
    }

    /// The proposer, sharing the memory of its name.
    pub(super) fn owner(&self) -> Owner {
        let name = &self.envelope.node;
        let node = self.state.proposers.get_key_value(name).map_or(name, |(known, _)| known).clone();
        Owner { node, epoch: self.envelope.epoch }
    }
}
