//! Services come with their first instance and go with their last; every change leaves its index.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::model::{Instance, InstanceDef, Kind, NodeEntry, Service};
use crate::virtual_ip::{self, Slot, VirtualIp};

impl Turn<'_> {
    /// Creates the service of `def` unless it exists.
    pub(super) fn ensure_service(&mut self, def: &InstanceDef) {
        if self.state.services.contains_key(&def.service) {
            return;
        }
        if let Some(buried) = self.state.gone_services.unearth(&def.service) {
            self.state.changed_services.remove(&(buried, def.service.clone()));
        }
        let service = Service {
            name: def.service.clone(),
            kind: def.kind,
            instances: imbl::OrdMap::new(),
            virtual_ip: None,
            port: def.port,
            create_index: self.index,
            touched_index: 0,
        };
        self.state.services.insert(def.service.clone(), Arc::new(service));
        if def.kind != Kind::Tunnel {
            self.assign_virtual_ip(&def.service);
        }
        self.touch_service_names();
    }

    /// Gives a service a free address, or none when the range is exhausted.
    pub(super) fn assign_virtual_ip(&mut self, name: &Arc<str>) {
        let chosen =
            virtual_ip::choose(&self.state.slots, &self.state.settings.virtual_ips, name, self.state.time_ms);
        if let Some(address) = chosen {
            self.state.slots.insert(address, Slot::Taken { service: name.clone() });
        }
        if let Some(service) = self.state.services.get_mut(name) {
            Arc::make_mut(service).virtual_ip = chosen.map(VirtualIp);
        }
    }

    /// Puts an instance where both readers look: under its service and under its node.
    pub(super) fn put_instance(&mut self, instance: Instance) {
        let instance = Arc::new(instance);
        let key = (instance.node.clone(), instance.def.id.clone());
        if let Some(service) = self.state.services.get_mut(&instance.def.service) {
            Arc::make_mut(service).instances.insert(key, instance.clone());
        }
        if let Some(node) = self.state.nodes.get_mut(&instance.node) {
            let previous = Arc::make_mut(node).instances.insert(instance.def.id.clone(), instance.clone());
            self.follow_life(previous.as_deref(), Some(&instance));
        }
    }

    /// Takes an instance and its checks from both places; buries the service if it was the last.
    pub(super) fn take_instance(&mut self, instance: &Instance) {
        for check in &instance.checks {
            self.end_sessions_of_check(&instance.node, &check.def.id);
        }
        if let Some(node) = self.state.nodes.get_mut(&instance.node) {
            let node = Arc::make_mut(node);
            node.instances.remove(&instance.def.id);
            for check in &instance.checks {
                node.instance_checks.remove(&check.def.id);
            }
        }
        self.follow_life(Some(instance), None);
        let name = &instance.def.service;
        let Some(service) = self.state.services.get_mut(name) else { return };
        let service = Arc::make_mut(service);
        service.instances.remove(&(instance.node.clone(), instance.def.id.clone()));
        let is_empty = service.instances.is_empty();
        if is_empty || !instance.def.tags.is_empty() {
            self.touch_service_names();
        }
        self.touch_service(name);
        self.touch_node(&instance.node);
        if !instance.checks.is_empty() {
            self.touch_checks();
        }
        if is_empty {
            self.bury_service(name);
        }
    }

    fn bury_service(&mut self, name: &Arc<str>) {
        let Some(service) = self.state.services.remove(name) else { return };
        if let Some(VirtualIp(address)) = service.virtual_ip {
            let until_ms = self.state.time_ms + self.state.settings.quarantine_ms;
            self.state.slots.insert(address, Slot::Resting { service: name.clone(), until_ms });
        }
        for (index, forgotten) in self.state.gone_services.bury(name, self.index) {
            self.state.changed_services.remove(&(index, forgotten));
        }
    }

    /// Records that something of a service changed.
    pub(super) fn touch_service(&mut self, name: &Arc<str>) {
        let Some(service) = self.state.services.get_mut(name) else { return };
        let service = Arc::make_mut(service);
        self.state.changed_services.remove(&(service.touched_index, name.clone()));
        service.touched_index = self.index;
        self.state.changed_services.insert((self.index, name.clone()));
        self.touched.insert(Topic::Service(name.clone()));
    }

    /// Records that the set of names or tags changed.
    pub(super) fn touch_service_names(&mut self) {
        self.state.tables.services = self.index;
        self.touched.insert(Topic::ServiceNames);
    }

    /// Records that some check changed.
    pub(super) fn touch_checks(&mut self) {
        self.state.tables.checks = self.index;
        self.touched.insert(Topic::Checks);
    }

    /// Records that something on a node changed.
    pub(super) fn touch_node(&mut self, name: &Arc<str>) {
        if let Some(node) = self.state.nodes.get_mut(name) {
            Arc::make_mut(node).touched_index = self.index;
        }
        self.touched.insert(Topic::Node(name.clone()));
    }

    /// Records that a node itself changed, which changes every service on it.
    pub(super) fn touch_services_of(&mut self, node: &NodeEntry) {
        let elsewhere = self.kept_elsewhere(node);
        let instances = node.instances.values().chain(&elsewhere);
        let mut names: Vec<_> = instances.map(|i| i.def.service.clone()).collect();
        names.sort();
        names.dedup();
        names.iter().for_each(|name| self.touch_service(name));
    }
}
