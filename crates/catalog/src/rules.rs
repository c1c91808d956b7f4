//! Every rule and every redirection, as a snapshot holds them.

use std::sync::Arc;

use imbl::{OrdMap, Vector};

use crate::intention::Intention;
use crate::model::Index;
use crate::redirection::Redirection;
use crate::snapshot::Snapshot;

/// Who may reach what, and which names lead elsewhere. One reference count in a snapshot: it changes seldom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub(crate) intentions: Vector<Arc<Intention>>,
    pub(crate) redirections: OrdMap<Arc<str>, Arc<Redirection>>,
    pub(crate) index: Index,
}

impl Rules {
    /// As if all had come about at `index`.
    pub(crate) fn stamp(&mut self, index: Index) {
        self.index = index;
        for intention in self.intentions.iter_mut() {
            let stamped = Arc::make_mut(intention);
            (stamped.create_index, stamped.modify_index) = (stamped.create_index.min(index), index);
        }
        let redirections = self.redirections.iter().map(|(name, redirection)| {
            let mut stamped = (**redirection).clone();
            (stamped.create_index, stamped.modify_index) = (stamped.create_index.min(index), index);
            (name.clone(), Arc::new(stamped))
        });
        self.redirections = redirections.collect();
    }

    /// Rules in the order in which they are asked.
    pub fn intentions(&self) -> impl ExactSizeIterator<Item = &Arc<Intention>> {
        self.intentions.iter()
    }

    /// One rule.
    pub fn intention(&self, id: &str) -> Option<&Arc<Intention>> {
        self.intentions.iter().find(|intention| &*intention.id == id)
    }

    /// Redirections by name.
    pub fn redirections(&self) -> impl Iterator<Item = &Arc<Redirection>> {
        self.redirections.values()
    }

    /// Where a name in lower case is redirected to.
    pub fn redirection(&self, name: &str) -> Option<&Arc<Redirection>> {
        self.redirections.get(name)
    }

    /// Index of the last change of any of them; for watchers.
    pub fn index(&self) -> Index {
        self.index
    }
}

impl Snapshot {
    /// Who may reach what, and which names lead elsewhere.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}
