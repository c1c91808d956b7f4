//! Definitions as they are kept: strings that a neighbour also has are kept once. It changes no value, only
//! what it weighs; a hundred thousand instances are mostly the same words.

use std::sync::{Arc, LazyLock};

use crate::apply::Turn;
use crate::model::{CheckDef, InstanceDef, NodeEntry};

static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

/// The one empty string for an empty string; anything else unchanged.
pub(super) fn shared_text(text: Arc<str>) -> Arc<str> {
    if text.is_empty() { EMPTY.clone() } else { text }
}

fn share(text: &mut Arc<str>, with: &Arc<str>) {
    if text == with {
        *text = with.clone();
    }
}

/// A check's definition, sharing words with the instance it judges and with that instance's neighbour.
pub(super) fn compact_check(node: &NodeEntry, mut def: CheckDef) -> CheckDef {
    for text in [&mut def.name, &mut def.notes, &mut def.service_id] {
        *text = shared_text(text.clone());
    }
    if let Some(instance) = node.instances.get(&def.service_id) {
        def.service_id = instance.def.id.clone();
    }
    let neighbour = node.instances.iter().flat_map(|(_, i)| i.checks.first()).next();
    if let Some(neighbour) = neighbour {
        share(&mut def.name, &neighbour.def.name);
        share(&mut def.notes, &neighbour.def.notes);
    }
    def
}

impl Turn<'_> {
    /// An instance's definition, sharing words with its service and with its first sibling.
    pub(super) fn compact_instance(&self, mut def: InstanceDef) -> InstanceDef {
        def.address = shared_text(def.address);
        def.tags.shrink_to_fit();
        let Some(service) = self.state.services.get(&def.service) else { return def };
        def.service = service.name.clone();
        let Some((_, sibling)) = service.instances.get_min() else { return def };
        for tag in &mut def.tags {
            sibling.def.tags.iter().for_each(|other| share(tag, other));
        }
        share(&mut def.address, &sibling.def.address);
        def.meta.share_with(&sibling.def.meta);
        def.tagged_addresses.share_with(&sibling.def.tagged_addresses);
        def
    }
}
