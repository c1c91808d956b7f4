//! How many ports are reachable, for whoever counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use consul::exposure::Exposures;

/// Chains by their state: `open`, `broken`, `waiting`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    chains: Family<State, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Ports that shall be reachable from outside, by how they stand";
        registry.register("exposures", help, self.chains.clone());
    }

    pub(crate) fn show(&self, shown: &Exposures) {
        for state in ["open", "broken", "waiting"] {
            let count = shown.chains.iter().filter(|chain| &*chain.state == state).count();
            self.chains.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
