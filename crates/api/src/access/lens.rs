//! A snapshot as one caller may see it. Whoever shows the catalog is handed this and not the snapshot, so that
//! nobody can forget to leave out what is not to be seen.

use std::cell::Cell;
use std::sync::Arc;

use acl::{Resource, Right};
use catalog::{
    Acl, Check, Event, Instance, Intention, KvEntry, NodeEntry, PreparedQuery, Service, Session, Snapshot,
    Source, Status, TopicEntry,
};

use catalog::intention::ANY_SERVICE;

use crate::access::Caller;

/// Part of a snapshot.
pub(crate) struct Lens<'a> {
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    is_clear: bool,
    hides: Cell<bool>,
}

impl<'a> Lens<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, caller: &'a Caller) -> Lens<'a> {
        Lens { snapshot, caller, is_clear: caller.sees_everything(), hides: Cell::new(false) }
    }

    /// True as soon as something was left out.
    pub(crate) fn hides(&self) -> bool {
        self.hides.get()
    }

    /// Whether something may be shown.
    pub(crate) fn sees(&self, resource: Resource, name: &str) -> bool {
        let sees = self.is_clear || self.caller.sees(resource, name);
        if !sees {
            self.hides.set(true);
        }
        sees
    }

    /// Nodes, by name.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'a Arc<NodeEntry>> {
        self.snapshot.nodes().filter(|entry| self.sees(Resource::Node, &entry.def.name))
    }

    /// One node.
    pub(crate) fn node(&self, name: &str) -> Option<&'a Arc<NodeEntry>> {
        self.snapshot.node(name).filter(|entry| self.sees(Resource::Node, &entry.def.name))
    }

    /// Services, by name, whatever may be seen of their instances.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a Arc<Service>> {
        self.snapshot.services().filter(|service| self.sees(Resource::Service, &service.name))
    }

    /// One service, whatever may be seen of its instances.
    pub(crate) fn service(&self, name: &str) -> Option<&'a Arc<Service>> {
        self.snapshot.service(name).filter(|service| self.sees(Resource::Service, &service.name))
    }

    /// Instances of a service with their nodes, in the one stable order (node, id).
    pub(crate) fn instances(
        &self,
        name: &str,
    ) -> impl Iterator<Item = (&'a Arc<NodeEntry>, &'a Arc<Service>, &'a Arc<Instance>)> {
        let service = self.service(name);
        service.into_iter().flat_map(move |service| {
            let with_node =
                move |instance: &'a Arc<Instance>| Some((self.node(&instance.node)?, service, instance));
            service.iter().filter_map(with_node)
        })
    }

    /// Instances on a node that may be seen, by id.
    pub(crate) fn instances_on(&self, entry: &'a NodeEntry) -> impl Iterator<Item = &'a Arc<Instance>> {
        entry.instances.values().filter(|instance| self.sees(Resource::Service, &instance.def.service))
    }

    /// Every check on a node with the instance that it judges: the node's own first. The node may be seen; its own
    /// checks go with it.
    pub(crate) fn checks_on(
        &self,
        entry: &'a NodeEntry,
    ) -> impl Iterator<Item = (&'a Arc<Check>, Option<&'a Arc<Instance>>)> {
        let own = entry.checks.iter().map(|check| (check, None));
        let of_instances = self
            .instances_on(entry)
            .flat_map(|instance| instance.checks.iter().map(move |check| (check, Some(instance))));
        own.chain(of_instances)
    }

    /// Every check that judges an instance. Who may see it may see those of its node.
    pub(crate) fn checks_of(&self, instance: &'a Instance) -> impl Iterator<Item = &'a Arc<Check>> {
        self.snapshot.checks_of(instance)
    }

    /// Verdict on an instance.
    pub(crate) fn health(&self, instance: &Instance) -> Status {
        self.snapshot.health(instance)
    }

    /// One session.
    pub(crate) fn session(&self, id: &str) -> Option<&'a Arc<Session>> {
        self.snapshot.session(id).filter(|session| self.sees(Resource::Session, &session.def.node))
    }

    /// Sessions, by id.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &'a Arc<Session>> {
        self.snapshot.sessions().filter(|session| self.sees(Resource::Session, &session.def.node))
    }

    /// Sessions on one node, by id.
    pub(crate) fn sessions_on(&self, node: &str) -> impl Iterator<Item = &'a Arc<Session>> {
        self.snapshot.sessions_on(node).filter(|session| self.sees(Resource::Session, &session.def.node))
    }

    /// One key.
    pub(crate) fn key(&self, key: &str) -> Option<&'a Arc<KvEntry>> {
        self.snapshot.key(key).filter(|_| self.sees(Resource::Key, key))
    }

    /// Keys that start with `prefix`, in byte order.
    pub(crate) fn keys_under(
        &self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<KvEntry>)> {
        self.snapshot.keys_under(prefix).filter(|(key, _)| self.sees(Resource::Key, key))
    }

    /// Topics, by name.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'a Arc<TopicEntry>> {
        self.snapshot.topics().filter(|topic| self.sees(Resource::Topic, &topic.name))
    }

    /// Rules in the order in which they are asked: those of which either end may be seen, as in Consul. Who names no
    /// service at either end is for whoever may see them all.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &'a Arc<Intention>> {
        self.snapshot.rules().intentions().filter(|rule| {
            let source = match &rule.source {
                Source::Identity(name) => Some(name),
                _ => None,
            };
            self.sees_intentions_of(&rule.service) || source.is_some_and(|name| self.sees_intentions_of(name))
        })
    }

    /// Those of every service are seen by whoever sees any.
    fn sees_intentions_of(&self, name: &str) -> bool {
        let is_any = name == ANY_SERVICE && self.caller.may_some(Resource::Intention, Right::Read);
        is_any || self.sees(Resource::Intention, name)
    }

    /// Prepared queries, by id; those without a name are for whoever may see every token.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &'a Arc<PreparedQuery>> {
        let told = self.may_be_told_secrets();
        self.snapshot.queries().filter(move |query| match query.def.name.is_empty() {
            true => told || query.def.template.is_some() && self.sees(Resource::Query, ""),
            false => self.sees(Resource::Query, &query.def.name),
        })
    }

    /// Whether secrets that the catalog keeps for others may be shown.
    pub(crate) fn may_be_told_secrets(&self) -> bool {
        self.is_clear || self.caller.principal().rights.allows(Resource::Acl, Right::Write, "")
    }

    /// Tokens, policies and roles: for endpoints that nobody reaches without the right to them.
    pub(crate) fn acl(&self) -> &'a Acl {
        self.snapshot.acl()
    }

    /// The cluster itself: likewise.
    pub(crate) fn cluster(&self) -> &'a catalog::Cluster {
        self.snapshot.cluster()
    }

    /// The newest time in the agreed order, in Unix milliseconds.
    pub(crate) fn time_ms(&self) -> u64 {
        self.snapshot.time_ms()
    }

    /// The last events, oldest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &'a Arc<Event>> {
        self.snapshot.events().filter(|event| self.sees(Resource::Event, &event.name))
    }
}
