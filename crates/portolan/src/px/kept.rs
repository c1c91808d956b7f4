//! What a node remembers of the order: the newest lines, and whose lines it has seen. It is what a checkpoint holds.
//!
//! How much is kept is each node's own choice; the order is the same all the same. Age is counted by the time in the
//! order, the newest that any line brought, so a clock that is wrong on one node makes nothing younger than it is.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Write};

use log::Index;
use px::Retention;
use serde::{Deserialize, Serialize};

/// Runs of nodes that are remembered, the latest: a line of one that is forgotten and decided once more is shown twice.
const MOST_RUNS: usize = 4096;

/// A line as it is proposed. Whoever proposed it, the run and the number tell it apart: the log may decide one twice.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) from: String,
    pub(super) run: u64,
    pub(super) number: u64,
    pub(super) text: String,
    /// The proposer's clock, Unix milliseconds; 0 in lines of earlier versions.
    #[serde(default)]
    pub(super) time_ms: u64,
}

/// A line in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) index: Index,
    pub(super) from: String,
    pub(super) text: String,
    time_ms: u64,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Last index that it contains.
    index: Index,
    time_ms: u64,
    lines: VecDeque<Placed>,
    bytes: u64,
    runs: Vec<Run>,
    #[serde(skip)]
    place: HashMap<(String, u64), usize>,
}

/// Numbers of one run of one node that were decided: all up to `all`, and these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    from: String,
    run: u64,
    all: u64,
    beyond: BTreeSet<u64>,
    /// Index of the newest.
    last: Index,
}

impl Run {
    /// True the first time.
    fn note(&mut self, number: u64) -> bool {
        if number <= self.all || !self.beyond.insert(number) {
            return false;
        }
        while self.beyond.remove(&(self.all + 1)) {
            self.all += 1;
        }
        true
    }
}

impl Kept {
    /// Takes what was decided at `index`; answers it if it is a line that was not there before.
    pub(super) fn take(&mut self, index: Index, payload: &[u8]) -> Option<&Placed> {
        self.index = index;
        let Ok(line) = serde_json::from_slice::<Line>(payload) else {
            tracing::debug!(index, "an entry of the order is no line");
            return None;
        };
        self.time_ms = self.time_ms.max(line.time_ms);
        let run = self.run_of(&line);
        run.last = index;
        if !run.note(line.number) {
            return None;
        }
        let Line { from, text, .. } = line;
        self.bytes += text.len() as u64;
        self.lines.push_back(Placed { index, from, text, time_ms: self.time_ms });
        self.lines.back()
    }

    fn run_of(&mut self, line: &Line) -> &mut Run {
        let (key, next) = ((line.from.clone(), line.run), self.runs.len());
        let at = *self.place.entry(key).or_insert(next);
        if at == next {
            self.runs.push(Run { from: line.from.clone(), run: line.run, ..Run::default() });
        }
        &mut self.runs[at]
    }

    /// Lets go of what is too much, too large together, or too old.
    pub(super) fn trim(&mut self, retention: &Retention) {
        let over = |most: u64, is: u64| most > 0 && is > most;
        while let Some(oldest) = self.lines.front() {
            let age_ms = self.time_ms - oldest.time_ms;
            let goes = over(retention.max_count, self.lines.len() as u64)
                || (over(retention.max_bytes, self.bytes) && self.lines.len() > 1)
                || over(u64::try_from(retention.max_age.as_millis()).unwrap_or(u64::MAX), age_ms);
            if !goes {
                break;
            }
            self.bytes -= oldest.text.len() as u64;
            self.lines.pop_front();
        }
        if self.runs.len() > MOST_RUNS {
            self.runs.sort_by_key(|run| std::cmp::Reverse(run.last));
            self.runs.truncate(MOST_RUNS / 2);
            self.index_runs();
        }
    }

    fn index_runs(&mut self) {
        let keys = self.runs.iter().map(|run| (run.from.clone(), run.run));
        self.place = keys.zip(0..).collect();
    }

    /// Last index that it contains.
    pub(super) fn index(&self) -> Index {
        self.index
    }

    /// Lines after a place in the order, oldest first.
    pub(super) fn after(&self, index: Index) -> impl Iterator<Item = &Placed> {
        self.lines.iter().skip_while(move |line| line.index <= index)
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::other)
    }

    pub(super) fn read(bytes: &[u8]) -> serde_json::Result<Kept> {
        let mut kept: Kept = serde_json::from_slice(bytes)?;
        kept.index_runs();
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(number: u64, time_ms: u64) -> Vec<u8> {
        let line = Line { from: "a".into(), run: 7, number, text: format!("line {number}"), time_ms };
        serde_json::to_vec(&line).unwrap()
    }

    fn texts(kept: &Kept) -> Vec<&str> {
        kept.after(0).map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn each_number_counts_once_in_whatever_order() {
        let mut kept = Kept::default();
        let numbers = [1, 3, 3, 2, 1, 4, 2];
        let fresh: Vec<bool> =
            (1..).zip(numbers).map(|(index, number)| kept.take(index, &line(number, 0)).is_some()).collect();
        assert_eq!(fresh, [true, true, false, true, false, true, false]);
        assert_eq!((kept.runs[0].all, kept.runs[0].beyond.len()), (4, 0));
        assert_eq!(kept.take(8, b"no line"), None);
        assert_eq!(kept.index(), 8);
    }

    #[test]
    fn count_bytes_and_age_each_bound_what_is_kept() {
        let full = || {
            let mut kept = Kept::default();
            for number in 1..=5 {
                kept.take(number, &line(number, number * 1_000));
            }
            kept
        };
        let none = Retention { max_count: 0, max_bytes: 0, max_age: Duration::ZERO };
        let trimmed = |retention| {
            let mut kept = full();
            kept.trim(&retention);
            texts(&kept).len()
        };
        assert_eq!(trimmed(none), 5);
        assert_eq!(trimmed(Retention { max_count: 2, ..none }), 2);
        assert_eq!(trimmed(Retention { max_bytes: 18, ..none }), 3);
        assert_eq!(trimmed(Retention { max_bytes: 1, ..none }), 1, "the newest stays");
        assert_eq!(trimmed(Retention { max_age: Duration::from_millis(1_500), ..none }), 2);
    }

    #[test]
    fn a_checkpoint_brings_everything_back() {
        let mut kept = Kept::default();
        (1..=3).for_each(|number| drop(kept.take(number, &line(number, number)).cloned()));
        let mut bytes = Vec::new();
        kept.write(&mut bytes).unwrap();
        let mut back = Kept::read(&bytes).unwrap();
        assert_eq!(back, kept);
        assert_eq!(back.after(1).map(|line| line.index).collect::<Vec<_>>(), [2, 3]);
        assert!(back.take(4, &line(2, 4)).is_none(), "it was seen before");
        assert!(back.take(5, &line(4, 5)).is_some());
    }
}
