//! SIGHUP: read the same sources again. What can change in a running node changes; what cannot is named.

use std::sync::Arc;

use crate::config::{Config, Loaded, Sources, load_over};
use crate::daemon::live::Live;
use crate::logging::LevelHandle;

/// Holds what a reload needs: where the configuration came from, and what of it is in effect.
pub(super) struct Reloader {
    sources: Sources,
    defaults: Config,
    running: Loaded,
    level: LevelHandle,
    live: Arc<Live>,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        defaults: Config,
        running: Loaded,
        level: LevelHandle,
        live: Arc<Live>,
    ) -> Reloader {
        Reloader { sources, defaults, running, level, live }
    }

    /// All or nothing: a configuration with a mistake in it changes nothing.
    ///
    /// # Errors
    /// The mistake, as it was logged.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let result = self.take();
        if let Err(cause) = &result {
            tracing::error!(error = cause, "reload failed; the former configuration stays in effect");
        }
        result
    }

    fn take(&mut self) -> Result<(), String> {
        let wanted = load_over(&self.sources, &self.defaults).map_err(|cause| cause.to_string())?;
        self.level.set(&wanted.config.logging.level).map_err(|cause| format!("{cause:#}"))?;
        self.live.publish(&wanted.config);
        let changed = self.changed(&wanted);
        let (live, later): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| Live::covers(key));
        for key in &live {
            if let Some(setting) = wanted.settings.get(key) {
                tracing::info!(key, value = %setting.value, "changed");
                self.running.settings.insert(key.clone(), setting.clone());
            }
        }
        for key in &later {
            tracing::warn!(key, "changed in the configuration; it takes effect after a restart");
        }
        tracing::info!(live = live.len(), after_restart = later.len(), "reloaded");
        Ok(())
    }

    fn changed(&self, wanted: &Loaded) -> Vec<String> {
        let value = |loaded: &Loaded, key: &String| loaded.settings.get(key).map(|s| s.value.clone());
        let keys = self.running.settings.keys().chain(wanted.settings.keys());
        let mut keys: Vec<_> =
            keys.filter(|key| value(&self.running, key) != value(wanted, key)).cloned().collect();
        keys.sort();
        keys.dedup();
        keys
    }
}
