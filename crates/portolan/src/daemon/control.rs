//! What may be asked of a running node as a whole, by a signal or by its API.

use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

/// Reads the configuration again.
pub(crate) type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The node's handle for those who are not the node.
pub(crate) struct Control {
    reload: Reload,
    leave: Notify,
    /// Why the last reload failed, if it did.
    failed_reload: Mutex<Option<String>>,
    reload_success: Gauge,
}

impl Control {
    pub(crate) fn new(reload: Reload) -> Control {
        let reload_success = Gauge::default();
        reload_success.set(1);
        Control { reload, leave: Notify::new(), failed_reload: Mutex::default(), reload_success }
    }

    /// A node inside another program, which has no sources to read again.
    pub(crate) fn embedded() -> Control {
        Control::new(Box::new(|| Err("this node was started by a program, not from a configuration".into())))
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "1 when the last reload of the configuration was taken";
        registry.register("config_last_reload_success", help, self.reload_success.clone());
    }

    /// Resolves when somebody asked the node to leave.
    pub(crate) async fn leaving(&self) {
        self.leave.notified().await;
    }
}

impl api::Control for Control {
    fn reload(&self) -> Result<(), String> {
        let result = (self.reload)();
        self.reload_success.set(i64::from(result.is_ok()));
        *self.failed_reload.lock().unwrap_or_else(PoisonError::into_inner) = result.clone().err();
        result
    }

    fn leave(&self) {
        self.leave.notify_one();
    }

    fn conditions(&self) -> Vec<api::Condition> {
        let failed = self.failed_reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        vec![api::Condition { name: "config", problem: failed }]
    }
}
