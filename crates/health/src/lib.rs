//! Which checks run on this node, running them, and what follows from them and from leases.
//!
//! [`plan`] picks the checks, [`schedule`] says when each is due, `probe` runs one once, [`verdict`] turns
//! results into a status, and the runner in `reconcile` proposes the changes. Most things are pure; the
//! runner alone holds a clock and sockets.
//!
//! What is absent: no command while nothing changes, however many checks run; no redirect is followed; no
//! program is run unless the operator allowed it; no heartbeat enters the log.

pub mod config;
mod metrics;
pub mod node;
mod outbox;
pub mod plan;
mod probe;
mod reconcile;
pub mod schedule;
pub mod verdict;

pub use config::{Config, Damping};
pub use metrics::Metrics;
pub use node::{default_address, node_def, register_node};
pub use probe::{Prober, fuzz_health_response};
pub use reconcile::run;
