//! Prepared queries: run when they are first asked for, on the state that the zone was projected from. A template has an
//! answer for any name, so nothing of this can be in the zone before.

use std::sync::Arc;

use crate::config::seconds;
use crate::lookup::Selection;
use crate::names::Apex;
use crate::plan::service::project_some;
use crate::zone::Zone;
use crate::zone::entry::{ServiceEntry, Which};

/// What a query found.
pub(super) struct Prepared {
    entry: Arc<ServiceEntry>,
    ttl_s: Option<u32>,
}

impl Prepared {
    pub(super) fn selection(&self) -> Selection<'_> {
        let (which, apex) = (Which::Usable, Apex::Consul);
        Selection { entry: &self.entry, which, tag: None, apex, ttl_s: self.ttl_s }
    }
}

/// Runs the query that is called `name` (labels with their length bytes). `None` when there is none, or when it
/// finds nothing: Consul says "no such name" to both.
pub(super) fn run(zone: &Zone, name: &[u8]) -> Option<Prepared> {
    let name = text(name)?;
    let snapshot = &zone.snapshot;
    let query = snapshot.query_called(&name)?.def.rendered(&name).ok()?;
    let service = snapshot.service(&query.service)?;
    let entry = zone.kept.get_or(&query, || {
        let selected = snapshot.select(&query);
        let found = selected.map(|(_, _, instance)| (instance, query.verdict(snapshot, instance)));
        project_some(snapshot, service, found).filter(|entry| !entry.endpoints.is_empty())
    })?;
    let ttl_s = state::units::parse_duration(&query.ttl).ok().map(seconds);
    Some(Prepared { entry, ttl_s })
}

/// Labels joined by dots; `None` when they are no text.
fn text(mut labels: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((length, rest)) = labels.split_first() {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(std::str::from_utf8(label).ok()?);
        labels = rest;
    }
    Some(text)
}
