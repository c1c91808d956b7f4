//! Verdicts on nodes that fell silent, and who keeps what they kept.

use std::sync::Arc;

use crate::apply::Turn;
use crate::command::{CheckRegistration, Deregister, InitialStatus, Refusal};
use crate::members::{ClusterRefusal, Down, LIVENESS_CHECK};
use crate::model::{CheckDef, Instance, NodeEntry, Probe, Status};

type Result = std::result::Result<bool, Refusal>;

const ALIVE: &str = "Agent alive and reachable";
const SILENT: &str = "Agent not live or unreachable";

/// The check that says whether a node lives, by the words that Consul's clients know.
pub fn liveness_check() -> CheckDef {
    CheckDef {
        id: LIVENESS_CHECK.into(),
        name: "Serf Health Status".into(),
        notes: "".into(),
        service_id: "".into(),
        probe: Probe::External,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    }
}

impl Turn<'_> {
    /// The life that was watched must still be the node's: a verdict that comes late says nothing about the
    /// next.
    pub(super) fn node_down(&mut self, node: &Arc<str>, epoch: u64) -> Result {
        let Some(entry) = self.state.nodes.get(node) else {
            return Err(Refusal::UnknownNode(node.clone()));
        };
        let now = self.state.epoch_of(node);
        if now != epoch {
            return Err(ClusterRefusal::OtherEpoch { node: node.clone(), was: epoch, now }.into());
        }
        if entry.down.is_some() {
            return Ok(false);
        }
        self.judge(node, Some(Down { epoch, since_ms: self.envelope.time_ms }));
        self.adopt_sessions_of(node);
        Ok(true)
    }

    pub(super) fn node_up(&mut self, node: &Arc<str>, epoch: u64) -> Result {
        let is_down = self.state.down(node).is_some_and(|down| down.epoch == epoch);
        if is_down {
            self.judge(node, None);
        }
        Ok(is_down)
    }

    /// A node that speaks in another boot epoch than the one that was declared down is back.
    pub(super) fn lift_if_back(&mut self) {
        let node = &self.envelope.node;
        if self.state.down(node).is_some_and(|down| down.epoch < self.envelope.epoch) {
            self.judge(node, None);
        }
    }

    fn judge(&mut self, node: &Arc<str>, down: Option<Down>) {
        self.set_down(node, None);
        let (status, output) = match down {
            Some(_) => (Status::Critical, SILENT),
            None => (Status::Passing, ALIVE),
        };
        let registration = CheckRegistration {
            def: self.state.check(node, LIVENESS_CHECK).map_or_else(liveness_check, |c| (*c.def).clone()),
            status: InitialStatus::Set(status),
            output: output.into(),
        };
        self.register_check(node, &registration);
        self.set_down(node, down);
        self.touch_node(node);
    }

    fn set_down(&mut self, node: &Arc<str>, down: Option<Down>) {
        if let Some(entry) = self.state.nodes.get_mut(node) {
            Arc::make_mut(entry).down = down;
        }
    }

    /// Whether a check may not be changed, because a verdict stands on it.
    pub(super) fn is_judged(&self, node: &str, check: &str) -> bool {
        check == LIVENESS_CHECK && self.state.down(node).is_some()
    }

    pub(super) fn refuse_judged(&self, deregister: &Deregister) -> Option<Refusal> {
        match deregister {
            Deregister::Check { node, id } if self.is_judged(node, id) => {
                Some(ClusterRefusal::Down(node.clone()).into())
            }
            _ => None,
        }
    }

    /// Its registration counts as new: what the former keeper decided about the old one is refused.
    pub(super) fn claim(&mut self, node: &Arc<str>, id: &Arc<str>) -> Result {
        let Some(instance) = self.state.instance(node, id).cloned() else {
            return Err(Refusal::UnknownInstance { node: node.clone(), id: id.clone() });
        };
        let owner = self.owner();
        if instance.owner == owner {
            return Ok(false);
        }
        if owner.node != instance.owner.node && self.state.down(&instance.owner.node).is_none() {
            return Err(ClusterRefusal::OwnerLives(instance.owner.node.clone()).into());
        }
        self.put_instance(Instance { owner, registered_index: self.index, ..(*instance).clone() });
        self.touch_service(&instance.def.service);
        self.touch_node(node);
        self.touch_checks();
        Ok(true)
    }

    /// Notes by whom an instance lives, where that is not the node that it is registered on.
    pub(super) fn follow_life(&mut self, old: Option<&Instance>, new: Option<&Instance>) {
        let elsewhere = |instance: &&Instance| *instance.life() != instance.node;
        let key = |instance: &Instance| (instance.node.clone(), instance.def.id.clone());
        let map = &mut self.state.elsewhere;
        if !map.is_empty()
            && let Some(old) = old.filter(elsewhere)
            && let Some(set) = map.get_mut(old.life())
        {
            set.remove(&key(old));
            if set.is_empty() {
                map.remove(old.life());
            }
        }
        if let Some(new) = new.filter(elsewhere) {
            map.entry(new.life().clone()).or_default().insert(key(new));
        }
    }

    /// Instances that live by this node and are registered on others.
    pub(super) fn kept_elsewhere(&self, node: &NodeEntry) -> Vec<Arc<Instance>> {
        let keys = self.state.elsewhere.get(&node.def.name).into_iter().flatten();
        keys.filter_map(|(node, id)| self.state.instance(node, id).cloned()).collect()
    }
}
