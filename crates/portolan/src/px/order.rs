//! Proposals in, the agreed order out.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use log::paxos::Paxos;
use log::{Entry, Event, EventReceiver, Log as _, LogError};
use serde::{Deserialize, Serialize};

/// A line in the order. Whoever proposed it, the run and the number tell it apart: the log may decide one twice.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    from: String,
    run: u64,
    number: u64,
    text: String,
}

pub(super) struct Order {
    log: Arc<Paxos>,
    events: EventReceiver,
    id: String,
    run: u64,
    proposed: u64,
    seen: HashMap<(String, u64), Seen>,
    /// Lines are shown from this place on; those of earlier runs only if that was asked for.
    show_from: Option<u64>,
    replayed: bool,
}

/// Numbers of one run of one node that were decided: all up to `all`, and these.
#[derive(Debug, Default)]
struct Seen {
    all: u64,
    beyond: BTreeSet<u64>,
}

impl Seen {
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

impl Order {
    pub(super) fn new(log: Arc<Paxos>, events: EventReceiver, id: String, show_from: Option<u64>) -> Order {
        let run = fastrand::u64(..);
        Order { log, events, id, run, proposed: 0, seen: HashMap::new(), show_from, replayed: false }
    }

    /// Proposes a line; waits as long as too many wait to be decided.
    pub(super) async fn propose(&mut self, text: &str) -> Result<()> {
        self.proposed += 1;
        let line =
            Line { from: self.id.clone(), run: self.run, number: self.proposed, text: text.to_owned() };
        let payload = bytes::Bytes::from(serde_json::to_vec(&line).context("write a line")?);
        loop {
            match self.log.append(payload.clone()) {
                Ok(()) => return Ok(()),
                Err(LogError::Full { .. }) => {
                    // What is decided must go on being taken, or nothing ever fits.
                    tokio::select! {
                        stopped = self.turn() => return stopped,
                        () = tokio::time::sleep(Duration::from_millis(10)) => {}
                    }
                }
                Err(LogError::TooLarge { bytes, limit }) => {
                    tracing::warn!(bytes, limit, "a line is too long for the order and was dropped");
                    return Ok(());
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Shows what is decided, until the log stops. Cancel safe.
    pub(super) async fn turn(&mut self) -> Result<()> {
        loop {
            match self.events.recv().await {
                Some(Event::Entries(entries)) => self.show(entries)?,
                Some(Event::Replayed) => self.replayed = true,
                Some(Event::Restore(_)) => {}
                Some(Event::Stopped(cause)) => return Err(anyhow!("the order stopped: {cause}")),
                None => return Err(anyhow!("the order ended")),
            }
        }
    }

    /// Prints `index, from, text`, with tabs between them.
    fn show(&mut self, entries: Vec<Entry>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for Entry { index, payload } in entries {
            let Ok(Line { from, run, number, text }) = serde_json::from_slice(&payload) else {
                tracing::debug!(index, "an entry of the order is no line");
                continue;
            };
            let wanted = self.show_from.map_or(self.replayed, |first| index >= first);
            let key = (from, run);
            let first_time = match self.seen.get_mut(&key) {
                Some(seen) => seen.note(number),
                None => self.seen.entry(key.clone()).or_default().note(number),
            };
            if first_time && wanted {
                writeln!(out, "{index}\t{}\t{text}", key.0).context("write to standard output")?;
            }
        }
        out.flush().context("write to standard output")
    }

    pub(super) async fn close(self) {
        self.log.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_in_whatever_order() {
        let mut seen = Seen::default();
        let fresh: Vec<bool> = [1, 3, 3, 2, 1, 4, 2].into_iter().map(|number| seen.note(number)).collect();
        assert_eq!(fresh, [true, true, false, true, false, true, false]);
        assert_eq!((seen.all, seen.beyond.len()), (4, 0));
    }
}
