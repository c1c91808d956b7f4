//! Taking away. Taking away what is not there is no error: it holds already.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{Deregister, Outcome, Refusal};

impl Turn<'_> {
    pub(super) fn deregister(&mut self, what: &Deregister) -> Outcome {
        if let Some(refusal) = self.refuse_judged(what) {
            return Outcome::Refused(refusal);
        }
        match what {
            Deregister::Node { node } => self.deregister_node(node),
            Deregister::Instance { node, id, registered_index } => {
                self.deregister_instance(node, id, *registered_index)
            }
            Deregister::Check { node, id } => match self.state.check(node, id).cloned() {
                Some(check) => {
                    self.take_check(&check);
                    Outcome::Done { changed: true }
                }
                None => Outcome::Done { changed: false },
            },
        }
    }

    fn deregister_node(&mut self, name: &Arc<str>) -> Outcome {
        let Some(entry) = self.state.nodes.get(name).cloned() else {
            return Outcome::Done { changed: false };
        };
        self.end_sessions_on(&entry.def.name);
        self.adopt_sessions_of(name);
        let elsewhere = self.kept_elsewhere(&entry);
        for instance in entry.instances.values().chain(&elsewhere) {
            self.take_instance(instance);
        }
        self.state.nodes.remove(name);
        self.state.tables.nodes = self.index;
        self.touched.insert(Topic::Nodes);
        self.touched.insert(Topic::Node(name.clone()));
        if !entry.checks.is_empty() {
            self.touch_checks();
        }
        Outcome::Done { changed: true }
    }

    fn deregister_instance(&mut self, node: &Arc<str>, id: &Arc<str>, at: Option<u64>) -> Outcome {
        let Some(instance) = self.state.instance(node, id).cloned() else {
            return Outcome::Done { changed: false };
        };
        let registered_index = instance.registered_index;
        if at.is_some_and(|at| at != registered_index) {
            return Outcome::Refused(Refusal::RegisteredAgain { registered_index });
        }
        self.take_instance(&instance);
        Outcome::Done { changed: true }
    }
}
