//! The rules about one source and one service, in order, each with what else it asks.

use std::sync::Arc;

use catalog::{Direction, Intention, Source};

use super::Facets;

/// One rule as far as it is left to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its place among all rules.
    pub(super) at: u32,
    scheme: Option<Arc<str>>,
    direction: Option<Direction>,
    port: Option<u16>,
}

impl Slot {
    pub(super) fn new(at: u32, rule: &Intention) -> Slot {
        let port = match &rule.source {
            Source::Host { port, .. } => *port,
            _ => None,
        };
        Slot { at, scheme: rule.scheme.clone(), direction: rule.direction, port }
    }

    fn matches(&self, facets: &Facets<'_>) -> bool {
        self.scheme.as_ref().is_none_or(|scheme| **scheme == *facets.scheme)
            && self.direction.is_none_or(|direction| direction == facets.direction)
            && (self.port.is_none() || self.port == facets.host.and_then(|host| host.port))
    }

    /// True when whatever `later` matches, this one matches too.
    fn hides(&self, later: &Slot) -> bool {
        (self.scheme.is_none() || self.scheme == later.scheme)
            && (self.direction.is_none() || self.direction == later.direction)
            && (self.port.is_none() || self.port == later.port)
    }
}

/// Rules by their place, without those that an earlier one hides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leaf(Vec<Slot>);

impl Leaf {
    /// Adds a rule that stands behind all that were added.
    pub(super) fn push(&mut self, slot: Slot) {
        if !self.0.iter().any(|earlier| earlier.hides(&slot)) {
            self.0.push(slot);
        }
    }

    /// Both, in order.
    pub(super) fn with(&self, other: &Leaf) -> Leaf {
        let mut slots: Vec<&Slot> = self.0.iter().chain(&other.0).collect();
        slots.sort_by_key(|slot| slot.at);
        let mut both = Leaf::default();
        slots.into_iter().for_each(|slot| both.push(slot.clone()));
        both
    }

    /// Sets `best` to the place of the first rule that matches, if that is before it.
    #[inline]
    pub(super) fn ask(&self, facets: &Facets<'_>, best: &mut u32) {
        for slot in &self.0 {
            if slot.at >= *best {
                return;
            }
            if slot.matches(facets) {
                *best = slot.at;
                return;
            }
        }
    }
}
