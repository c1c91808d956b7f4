//! How exposure stands, for those who ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use state::Failure;

use crate::plan::Plan;
use crate::wish::{Complaint, Port, Wishes};

/// How exposure stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Ports with what holds of them.
    pub doors: Vec<Door>,
    /// What does not hold, and why.
    pub failures: Vec<Failure>,
    /// Tags that cannot be read.
    pub complaints: Vec<Complaint>,
    /// Wishes that cannot be met together.
    pub conflicts: Vec<String>,
    /// Why the source is not heard now.
    pub trouble: Option<String>,
}

/// One exposed port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// At the router.
    pub external: Port,
    /// On this host.
    pub internal: u16,
    /// Who asked.
    pub service: Arc<str>,
    /// The router holds a mapping.
    pub is_mapped: bool,
    /// The router holds a pinhole of IPv6.
    pub is_pinholed: bool,
}

pub(crate) fn status(
    wishes: &Wishes,
    plan: &Plan,
    mapped: &BTreeSet<Port>,
    pinholed: &BTreeSet<Port>,
    failures: Vec<Failure>,
    trouble: Option<String>,
) -> Status {
    let door = |(external, internal): (&Port, &u16)| {
        let inner = Port { number: *internal, ..*external };
        Door {
            external: *external,
            internal: *internal,
            service: plan.openings.get(&inner).cloned().unwrap_or_default(),
            is_mapped: mapped.contains(external),
            is_pinholed: pinholed.contains(&inner),
        }
    };
    Status {
        doors: plan.mappings.iter().map(door).collect(),
        failures,
        complaints: wishes.complaints.clone(),
        conflicts: plan.conflicts.clone(),
        trouble,
    }
}
