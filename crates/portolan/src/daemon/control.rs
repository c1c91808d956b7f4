//! What may be asked of a running node as a whole, by a signal or by its API.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::daemon::rounds::Rounds;

/// Reads the configuration again.
pub(crate) type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How a node comes to its end when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is no longer wanted.
    Leave,
    /// What it is has changed: the same process starts it again.
    Again,
}

/// The node's handle for those who are not the node.
pub(crate) struct Control {
    reload: Reload,
    /// Where files say what is registered.
    rounds: Option<Arc<Rounds>>,
    end: watch::Sender<Option<End>>,
    /// Why the last reload failed, if it did.
    failed_reload: Mutex<Option<String>>,
    reload_success: Gauge,
}

impl Control {
    pub(crate) fn new(reload: Reload, rounds: Option<Arc<Rounds>>) -> Control {
        let reload_success = Gauge::default();
        reload_success.set(1);
        let end = watch::channel(None).0;
        Control { reload, rounds, end, failed_reload: Mutex::default(), reload_success }
    }

    /// A node inside another program, which has no sources to read again.
    pub(crate) fn embedded() -> Control {
        let reload = || Err("this node was started by a program, not from a configuration".into());
        Control::new(Box::new(reload), None)
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "1 when the last reload of the configuration was taken";
        registry.register("config_last_reload_success", help, self.reload_success.clone());
    }

    /// Resolves when somebody asked the node to end, with how, and forgets it.
    pub(crate) async fn ended(&self) -> End {
        let mut asked = self.end.subscribe();
        match asked.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => {
                self.end.send_replace(None);
                end
            }
            // The sender is ours.
            _ => std::future::pending().await,
        }
    }

    /// Asks the node to end. To leave for good is not taken back.
    pub(crate) fn end(&self, end: End) {
        self.end.send_if_modified(|asked| {
            let is_news = *asked != Some(End::Leave);
            if is_news {
                *asked = Some(end);
            }
            is_news
        });
    }
}

impl api::Control for Control {
    fn reload(&self) -> Result<(), String> {
        let result = (self.reload)();
        self.reload_success.set(i64::from(result.is_ok()));
        *self.failed_reload.lock().unwrap_or_else(PoisonError::into_inner) = result.clone().err();
        self.rounds.iter().filter(|_| result.is_ok()).for_each(|rounds| rounds.ask());
        result
    }

    fn settled(&self) -> api::Answering<'_, ()> {
        Box::pin(async {
            if let Some(rounds) = &self.rounds {
                rounds.over().await;
            }
        })
    }

    fn leave(&self) {
        self.end(End::Leave);
    }

    fn conditions(&self) -> Vec<api::Condition> {
        let failed = self.failed_reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        vec![api::Condition { name: "config", problem: failed }]
    }
}
