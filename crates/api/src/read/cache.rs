//! Answers that many ask for are rendered once.
//!
//! One entry per query, at the index that it was rendered for: a newer one takes its place. Bounded by
//! number and by bytes; the newest entry always stays, also when it alone is over the bound, so that ten
//! thousand watchers of one large answer still share it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::http::{Answer, Failure};

/// Most queries remembered.
const MAX_ENTRIES: usize = 256;
/// Most bytes of bodies remembered.
const MAX_BYTES: usize = 4 << 20;

type Cell = Arc<OnceLock<Result<Answer, Failure>>>;

#[derive(Default)]
pub(crate) struct Cache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_query: HashMap<Arc<str>, Entry>,
    /// Oldest first; may name entries that were replaced since.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    last_id: u64,
}

struct Entry {
    id: u64,
    index: u64,
    cell: Cell,
    bytes: usize,
}

impl Cache {
    /// The answer of `query` at `index`, rendered by whoever comes first; the others wait for it.
    pub(crate) fn get(
        &self,
        query: &str,
        index: u64,
        render: impl FnOnce() -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let Some((id, cell)) = self.cell(query, index) else { return render() };
        if let Some(done) = cell.get() {
            return done.clone();
        }
        let answer = cell.get_or_init(render).clone();
        let bytes = answer.as_ref().map_or(0, |answer| answer.body.len());
        self.entries().account(query, id, bytes);
        answer
    }

    /// Where the answer is or will be; `None` when a newer one has taken its place.
    fn cell(&self, query: &str, index: u64) -> Option<(u64, Cell)> {
        let mut entries = self.entries();
        match entries.by_query.get(query) {
            Some(entry) if entry.index == index => return Some((entry.id, entry.cell.clone())),
            Some(entry) if entry.index > index => return None,
            _ => {}
        }
        Some(entries.insert(query, index))
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn insert(&mut self, query: &str, index: u64) -> (u64, Cell) {
        self.last_id += 1;
        let id = self.last_id;
        let cell = Cell::default();
        let key = match self.by_query.remove_entry(query) {
            Some((key, old)) => {
                self.bytes -= old.bytes;
                key
            }
            None => query.into(),
        };
        self.order.push_back((id, key.clone()));
        self.by_query.insert(key, Entry { id, index, cell: cell.clone(), bytes: 0 });
        self.shrink();
        (id, cell)
    }

    /// Counts what an entry holds, once.
    fn account(&mut self, query: &str, id: u64, bytes: usize) {
        if let Some(entry) = self.by_query.get_mut(query)
            && entry.id == id
            && entry.bytes == 0
        {
            entry.bytes = bytes;
            self.bytes += bytes;
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        while self.by_query.len() > 1 && (self.by_query.len() > MAX_ENTRIES || self.bytes > MAX_BYTES) {
            let Some((id, query)) = self.order.pop_front() else { break };
            if self.by_query.get(&query).is_some_and(|entry| entry.id == id)
                && let Some(gone) = self.by_query.remove(&query)
            {
                self.bytes -= gone.bytes;
            }
        }
        if self.order.len() > 4 * MAX_ENTRIES {
            let by_query = &self.by_query;
            self.order.retain(|(id, query)| by_query.get(query).is_some_and(|entry| entry.id == *id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(size: usize) -> Result<Answer, Failure> {
        Ok(Answer::text(vec![b'x'; size]))
    }

    #[test]
    fn one_query_at_one_index_is_rendered_once() {
        let cache = Cache::default();
        let first = cache.get("a", 1, || answer(3)).expect("renders");
        let again = cache.get("a", 1, || unreachable!("rendered before")).expect("shared");
        assert_eq!(first.body.as_ptr(), again.body.as_ptr(), "the bytes are shared");
        assert_eq!(cache.get("a", 2, || answer(5)).expect("renders").body.len(), 5);
        assert_eq!(cache.get("a", 1, || answer(7)).expect("an old reader renders alone").body.len(), 7);
        assert_eq!(cache.get("a", 2, || unreachable!("kept")).expect("shared").body.len(), 5);
    }

    #[test]
    fn it_stays_small() {
        let cache = Cache::default();
        for number in 0..2000 {
            cache.get(&format!("q{number}"), 1, || answer(64 << 10)).expect("renders");
            cache.get("changing", number + 1, || answer(1)).expect("renders");
        }
        let entries = cache.entries();
        assert!(entries.bytes <= MAX_BYTES && entries.by_query.len() <= MAX_ENTRIES);
        assert!(entries.order.len() <= 4 * MAX_ENTRIES + 1);
        drop(entries);
        cache.get("large", 1, || answer(2 * MAX_BYTES)).expect("renders");
        cache.get("large", 1, || unreachable!("also a large one is shared")).expect("shared");
    }
}
