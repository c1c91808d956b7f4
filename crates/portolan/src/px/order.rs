//! Proposals in, the agreed order out.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use log::paxos::Paxos;
use log::{BoxFuture, Checkpoint, Entry, Event, EventReceiver, Index, Log as _, LogError};
use px::Retention;

use super::kept::{Kept, Line, Placed};

/// A checkpoint is made once so many bytes of the order came after the last one, or as many lines as are kept.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// Lines between two checkpoints at least: each writes down all that is kept.
const CHECKPOINT_LINES: u64 = 256;

pub(super) struct Order {
    log: Arc<Paxos>,
    events: EventReceiver,
    id: String,
    run: u64,
    proposed: u64,
    kept: Kept,
    retention: Retention,
    /// A checkpoint under way.
    saving: Option<BoxFuture<Result<(), LogError>>>,
    saved: Index,
    /// Last place in the order that was shown, or passed over.
    shown: Index,
    /// Lines are shown from this place on; those of earlier runs only if that was asked for.
    show_from: Option<Index>,
    replayed: bool,
}

impl Order {
    pub(super) fn new(
        log: Arc<Paxos>,
        events: EventReceiver,
        id: String,
        show_from: Option<Index>,
        retention: Retention,
    ) -> Order {
        Order {
            log,
            events,
            id,
            run: fastrand::u64(..),
            proposed: 0,
            kept: Kept::default(),
            retention,
            saving: None,
            saved: 0,
            shown: show_from.unwrap_or(1).saturating_sub(1),
            show_from,
            replayed: false,
        }
    }

    /// Proposes a line; waits as long as too many wait to be decided.
    pub(super) async fn propose(&mut self, text: &str) -> Result<()> {
        self.proposed += 1;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            from: self.id.clone(),
            run: self.run,
            number: self.proposed,
            text: text.to_owned(),
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        };
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
            let event = match &mut self.saving {
                None => self.events.recv().await,
                Some(saving) => tokio::select! {
                    event = self.events.recv() => event,
                    saved = saving => {
                        self.saving = None;
                        if let Err(error) = saved {
                            tracing::warn!(%error, "what was decided cannot be summed up; everything is kept");
                        }
                        continue;
                    }
                },
            };
            match event {
                Some(Event::Entries(entries)) => {
                    self.show(entries)?;
                    self.sum_up();
                }
                Some(Event::Replayed) => self.replayed = true,
                Some(Event::Restore(checkpoint)) => self.restore(&checkpoint)?,
                Some(Event::Stopped(cause)) => return Err(anyhow!("the order stopped: {cause}")),
                None => return Err(anyhow!("the order ended")),
            }
        }
    }

    fn show(&mut self, entries: Vec<Entry>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for Entry { index, payload } in entries {
            let wanted = self.show_from.map_or(self.replayed, |first| index >= first);
            if let Some(line) = self.kept.take(index, &payload).filter(|_| wanted) {
                print(&mut out, line)?;
            }
            self.shown = self.shown.max(index);
        }
        self.kept.trim(&self.retention);
        out.flush().context("write to standard output")
    }

    /// A summary in place of what it stands for: this node was away for longer than the others keep single entries,
    /// or it begins from its own.
    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.kept = Kept::read(&checkpoint.state)
            .with_context(|| format!("read the order's state at {}", checkpoint.index))?;
        self.saved = checkpoint.index;
        if self.show_from.is_some() || self.replayed {
            let mut out = std::io::stdout().lock();
            let mut next = self.shown + 1;
            for line in self.kept.after(self.shown) {
                if line.index > next {
                    // Repeated lines have a place too, and are not shown: so much at most.
                    tracing::warn!(
                        from = next,
                        to = line.index - 1,
                        "lines up to here may be gone: they are kept no more"
                    );
                }
                next = u64::MAX;
                print(&mut out, line)?;
            }
            out.flush().context("write to standard output")?;
        }
        self.shown = self.shown.max(checkpoint.index);
        Ok(())
    }

    /// Sums up what was decided, now and then, so that the disk holds no more than is kept.
    fn sum_up(&mut self) {
        let lines = match self.retention.max_count {
            0 => u64::MAX,
            most => most.max(CHECKPOINT_LINES),
        };
        let is_due = self.log.status().bytes_since_checkpoint > CHECKPOINT_BYTES
            || self.kept.index() - self.saved >= lines;
        if self.saving.is_some() || !is_due {
            return;
        }
        let kept = self.kept.clone();
        self.saved = kept.index();
        self.saving = Some(self.log.save_checkpoint(self.saved, Box::new(move |out| kept.write(out))));
    }

    pub(super) async fn close(mut self) {
        if let Some(saving) = self.saving.take() {
            // Left undone, it is done after the next start.
            drop(tokio::time::timeout(Duration::from_secs(2), saving).await);
        }
        self.log.close().await;
    }
}

/// `index, from, text`, with tabs between them.
fn print(out: &mut impl std::io::Write, line: &Placed) -> Result<()> {
    let Placed { index, from, text, .. } = line;
    writeln!(out, "{index}\t{from}\t{text}").context("write to standard output")
}
