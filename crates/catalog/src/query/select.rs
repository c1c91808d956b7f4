//! Which instances a prepared query selects.

use std::sync::Arc;

use crate::model::{Instance, NodeEntry, Service, Status};
use crate::query::QueryDef;
use crate::snapshot::Snapshot;

/// An instance with its service and its node.
pub type Selected<'s> = (&'s Arc<NodeEntry>, &'s Arc<Service>, &'s Arc<Instance>);

impl Snapshot {
    /// Instances that a query selects, in the stable order (node, id). A template must be rendered first.
    pub fn select<'s>(&'s self, query: &'s QueryDef) -> impl Iterator<Item = Selected<'s>> {
        let service = self.service(&query.service).filter(|_| !query.connect);
        service.into_iter().flat_map(move |service| {
            service.iter().filter_map(move |instance| {
                let node = self.node(&instance.node)?;
                let wanted = query.has_labels(node, instance) && query.has_tags(instance);
                (wanted && query.is_usable(self, instance)).then_some((node, service, instance))
            })
        })
    }
}

impl QueryDef {
    fn has_labels(&self, node: &NodeEntry, instance: &Instance) -> bool {
        let all = |wanted: &crate::Labels, have: &crate::Labels| {
            wanted.iter().all(|(name, value)| have.get(name).is_some_and(|found| found == value))
        };
        all(&self.node_meta, &node.def.meta) && all(&self.service_meta, &instance.def.meta)
    }

    fn has_tags(&self, instance: &Instance) -> bool {
        let has = |wanted: &str| instance.def.tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted));
        self.tags.iter().all(|tag| match tag.strip_prefix('!') {
            Some(unwanted) => !has(unwanted),
            None => has(tag),
        })
    }

    /// Verdict on an instance by the checks that the query looks at.
    pub fn verdict(&self, snapshot: &Snapshot, instance: &Instance) -> Status {
        let looked_at = |id: &Arc<str>| !self.ignored_checks.contains(id);
        let checks = snapshot.checks_of(instance).filter(|check| looked_at(&check.def.id));
        checks.map(|check| check.status).max().unwrap_or(Status::Passing)
    }

    fn is_usable(&self, snapshot: &Snapshot, instance: &Instance) -> bool {
        match self.verdict(snapshot, instance) {
            Status::Passing => true,
            Status::Warning => !self.only_passing,
            Status::Critical => false,
        }
    }
}
