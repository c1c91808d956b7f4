//! Waking by topic: ten thousand watchers of one service are not woken by another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::Topic;
use futures_util::future::select_all;
use tokio::sync::watch;

/// What one can wait on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Watched {
    /// A scope of the catalog.
    Topic(Topic),
    /// Any key that starts with this.
    Prefix(Arc<str>),
}

/// Interest in some scopes.
pub struct Watch(Vec<watch::Receiver<()>>);

impl Watch {
    /// Resolves when any of the scopes changed after this watch was made or last resolved; never when the
    /// store is gone, so bound it with a timeout.
    pub async fn changed(&mut self) {
        // Most wait for one scope, and there may be ten thousand of them: no boxes for those.
        if let [only] = &mut self.0[..] {
            return match only.changed().await {
                Ok(()) => (),
                Err(_) => std::future::pending().await,
            };
        }
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let changes = self.0.iter_mut().map(|receiver| {
            Box::pin(async move {
                if receiver.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        select_all(changes).await;
    }
}

#[derive(Default)]
pub(crate) struct Topics(Mutex<Registry>);

#[derive(Default)]
struct Registry {
    senders: HashMap<Watched, watch::Sender<()>>,
    /// Sweep out scopes that nobody watches when the map has grown to this size.
    sweep_at: usize,
}

impl Topics {
    pub(crate) fn watch(&self, scopes: impl IntoIterator<Item = Watched>) -> Watch {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let receivers = scopes.into_iter().map(|scope| registry.receiver(scope)).collect();
        Watch(receivers)
    }

    /// Wakes whoever watches one of these.
    pub(crate) fn wake(&self, touched: &[Topic]) {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.contains(&Topic::Everything) {
            drop(registry);
            return self.wake_all();
        }
        for topic in touched {
            registry.wake(&Watched::Topic(topic.clone()));
            if let Topic::Key(key) = topic {
                registry.wake_prefixes(key);
            }
        }
    }

    /// Wakes everybody: the whole state was replaced.
    pub(crate) fn wake_all(&self) {
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in registry.senders.values() {
            sender.send_replace(());
        }
    }
}

impl Registry {
    fn receiver(&mut self, scope: Watched) -> watch::Receiver<()> {
        if self.senders.len() >= self.sweep_at {
            self.senders.retain(|_, sender| sender.receiver_count() > 0);
            self.sweep_at = (self.senders.len() * 2).max(64);
        }
        self.senders.entry(scope).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    fn wake(&self, scope: &Watched) {
        if let Some(sender) = self.senders.get(scope) {
            sender.send_replace(());
        }
    }

    /// Prefixes end at character boundaries, so a key of n characters has n + 1 of them.
    fn wake_prefixes(&self, key: &str) {
        for end in (0..=key.len()).filter(|end| key.is_char_boundary(*end)) {
            self.wake(&Watched::Prefix(key[..end].into()));
        }
    }
}
