//! Several keepers of public names, each with zones of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{BoxFuture, Key, NameError, Owner, Provider, Rdata};

/// Leads every name to whoever keeps its zone: of several, the longest.
#[derive(Default)]
pub struct Several(Vec<(String, Arc<dyn Provider>)>);

impl Several {
    /// Adds somebody who keeps these zones.
    #[must_use]
    pub fn with(mut self, zones: &[String], provider: Arc<dyn Provider>) -> Several {
        let plain = |zone: &String| (zone.trim_end_matches('.').to_ascii_lowercase(), provider.clone());
        self.0.extend(zones.iter().map(plain));
        self
    }

    /// True when nobody keeps anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, key: &Key) -> Result<&Arc<dyn Provider>, NameError> {
        let fits = self.0.iter().filter(|(zone, _)| is_in(&key.0, zone));
        fits.max_by_key(|(zone, _)| zone.len()).map(|(_, provider)| provider).ok_or(NameError::Outside)
    }
}

/// True when a name lies in a zone, or is its top.
pub(super) fn is_in(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

impl Provider for Several {
    fn set<'a>(&'a self, key: &'a Key, values: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move { self.of(key)?.set(key, values).await })
    }

    fn adopt<'a>(
        &'a self,
        key: &'a Key,
        values: &'a BTreeSet<Rdata>,
        from: &'a Owner,
    ) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move { self.of(key)?.adopt(key, values, from).await })
    }

    fn keeper(&self, key: &Key) -> usize {
        let same = |found: &Arc<dyn Provider>| self.0.iter().position(|(_, one)| Arc::ptr_eq(one, found));
        self.of(key).ok().and_then(same).unwrap_or(usize::MAX)
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(async move { self.of(key)?.remove(key).await })
    }
}
