//! What is counted.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Counters of health checking. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Checks that run here.
    pub checks: Gauge,
    /// Probes under way.
    pub running: Gauge,
    /// Probes that are due and wait because too many are under way.
    pub waiting: Gauge,
    /// Checks that damping holds critical.
    pub held: Gauge,
    /// Probes run.
    pub probes: Counter,
    /// Runs left out because the one before was still under way.
    pub skipped: Counter,
    /// Changes of status that were proposed.
    pub transitions: Counter,
    /// Instances whose lease ran out, or that were critical for too long.
    pub expired: Counter,
    /// Commands that could not be submitted.
    pub failed_commands: Counter,
    /// How much later than due a probe started, in seconds.
    pub lateness: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let lateness = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
        Metrics {
            checks: Gauge::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            held: Gauge::default(),
            probes: Counter::default(),
            skipped: Counter::default(),
            transitions: Counter::default(),
            expired: Counter::default(),
            failed_commands: Counter::default(),
            lateness: Histogram::new(lateness),
        }
    }
}

impl Metrics {
    /// Shows them under `health_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("health");
        registry.register("checks", "Checks that run here", self.checks.clone());
        registry.register("probes_running", "Probes under way", self.running.clone());
        registry.register("probes_waiting", "Probes due that wait for others to end", self.waiting.clone());
        registry.register("checks_held", "Checks held critical because they flap", self.held.clone());
        registry.register("probes", "Probes run", self.probes.clone());
        registry.register(
            "probes_skipped",
            "Runs left out because the one before was under way",
            self.skipped.clone(),
        );
        registry.register("transitions", "Changes of status proposed", self.transitions.clone());
        registry.register(
            "instances_expired",
            "Instances taken away by lease or by a critical check",
            self.expired.clone(),
        );
        registry.register(
            "commands_failed",
            "Commands that could not be submitted",
            self.failed_commands.clone(),
        );
        registry.register(
            "probe_lateness_seconds",
            "How much later than due a probe started",
            self.lateness.clone(),
        );
    }
}
