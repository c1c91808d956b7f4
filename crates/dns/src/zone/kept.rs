//! What prepared queries found, kept for as long as it is true: one that is asked again costs no walk over the service.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use catalog::QueryDef;

use crate::zone::entry::ServiceEntry;
use crate::zone::lower;

/// Most that are kept. Names of a template may be many, and those that lead to nothing are not counted.
const MOST: usize = 64;

/// Queries that were run on one zone, or on those before it, from which it does not differ in what they look at.
#[derive(Default)]
pub(crate) struct Kept(ArcSwap<Vec<Arc<Run>>>);

/// One query, its template filled in, and what it found.
struct Run {
    query: QueryDef,
    found: Option<Arc<ServiceEntry>>,
}

/// What is kept follows from the rest of a zone.
impl PartialEq for Kept {
    fn eq(&self, _: &Kept) -> bool {
        true
    }
}

impl Kept {
    /// What `query` finds; `run` finds it out. Two threads that ask for the first time at the same instant may both.
    pub(crate) fn get_or(
        &self,
        query: &QueryDef,
        run: impl FnOnce() -> Option<ServiceEntry>,
    ) -> Option<Arc<ServiceEntry>> {
        if let Some(run) = self.0.load().iter().find(|run| run.query == *query) {
            return run.found.clone();
        }
        let found = run().map(Arc::new);
        let run = Arc::new(Run { query: query.clone(), found: found.clone() });
        self.0.rcu(|runs| {
            let from = (runs.len() + 1).saturating_sub(MOST);
            runs[from..].iter().chain([&run]).cloned().collect::<Vec<_>>()
        });
        found
    }

    /// Those that are true where `touched` services (in lower case) differ, and no node does.
    pub(crate) fn without(&self, touched: &BTreeSet<Arc<str>>) -> Kept {
        let is_true = |run: &&Arc<Run>| !touched.contains(&lower(&run.query.service));
        Kept(ArcSwap::from_pointee(self.0.load().iter().filter(is_true).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_what_changed_is_forgotten() {
        let kept = Kept::default();
        let query =
            |service: usize| QueryDef { service: format!("S{service}").into(), ..QueryDef::default() };
        let is_kept = |kept: &Kept, service| {
            let mut ran = false;
            kept.get_or(&query(service), || {
                ran = true;
                None
            });
            !ran
        };
        assert!((0..=MOST).all(|service| !is_kept(&kept, service)));
        assert!((1..=MOST).all(|service| is_kept(&kept, service)));
        let next = kept.without(&["s1".into(), "s2".into()].into());
        assert!((3..=MOST).all(|service| is_kept(&next, service)));
        assert!(!is_kept(&next, 1) && !is_kept(&next, 2));
    }
}
