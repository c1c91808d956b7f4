//! Lines of a kind are few: what others do to this host must not fill its disk.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines that one place in the code may write in a [`WINDOW`].
const MOST: u64 = 200;
const WINDOW: Duration = Duration::from_secs(10);

/// Lets lines of each place pass until they are too many, and says afterwards how many were left out. Whoever asks for
/// `debug` or `trace` gets all of it.
#[derive(Debug, Default)]
pub(super) struct Limit(Arc<Mutex<Kinds>>);

#[derive(Debug, Default)]
struct Kinds {
    all: HashMap<Identifier, Kind>,
    /// A thread waits for the end of the window. There is none while nothing is left out: a daemon gives up rights before
    /// it has threads.
    telling: bool,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    lines: u64,
    /// The words of the first line that was left out, and how many there are of them.
    left_out: Option<(String, u64)>,
}

impl Limit {
    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Kind { since: now, lines: 0, left_out: None };
        let kind = kinds.all.entry(event.metadata().callsite()).or_insert(fresh);
        if now.duration_since(kind.since) >= WINDOW && kind.left_out.is_none() {
            (kind.since, kind.lines) = (now, 0);
        }
        kind.lines += 1;
        if kind.lines <= MOST {
            return true;
        }
        match &mut kind.left_out {
            Some((_, more)) => *more += 1,
            none => *none = Some((words(event), 1)),
        }
        if !kinds.telling {
            kinds.telling = self.tell_later().is_ok();
        }
        false
    }

    fn tell_later(&self) -> io::Result<()> {
        let kinds = self.0.clone();
        let tell = move || {
            std::thread::sleep(WINDOW);
            for (line, count) in left_out(&kinds, Instant::now()) {
                tracing::warn!(count, line, "lines were left out, as there were too many of a kind");
            }
        };
        std::thread::Builder::new().name("log-limit".to_owned()).spawn(tell).map(drop)
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        *event.metadata().level() > Level::INFO || self.passes(event, Instant::now())
    }
}

/// What was left out of each kind, which may write again.
fn left_out(kinds: &Mutex<Kinds>, now: Instant) -> Vec<(String, u64)> {
    let mut kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
    kinds.telling = false;
    let reopened = kinds.all.values_mut().filter_map(|kind| {
        let told = kind.left_out.take()?;
        (kind.since, kind.lines) = (now, 0);
        Some(told)
    });
    reopened.collect()
}

/// The message of an event without its fields.
fn words(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Count(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_kind_has_its_share_and_what_is_left_out_is_counted() {
        let limit = Limit::default();
        let (kinds, seen) = (limit.0.clone(), Arc::new(AtomicUsize::new(0)));
        let subscriber = tracing_subscriber::registry().with(Count(seen.clone()).with_filter(limit));
        tracing::subscriber::with_default(subscriber, || {
            let refuse = || tracing::info!(client = "192.0.2.1", "refused");
            (0..MOST + 7).for_each(|_| refuse());
            assert_eq!(seen.swap(0, Ordering::Relaxed) as u64, MOST);
            // Others have shares of their own, and what was asked for in detail has no limit.
            tracing::info!("another");
            (0..MOST + 7).for_each(|_| tracing::debug!("detail"));
            assert_eq!(seen.swap(0, Ordering::Relaxed) as u64, MOST + 8);
            assert_eq!(left_out(&kinds, Instant::now()), [("refused".to_owned(), 7)]);
            refuse();
            assert_eq!(seen.load(Ordering::Relaxed), 1, "after it was told, a new window");
        });
    }
}
