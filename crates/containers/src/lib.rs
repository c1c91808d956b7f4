//! Containers of this host as services: whoever runs them writes registrator's names (`SERVICE_NAME`,
//! `SERVICE_8080_TAGS`, `SERVICE_CHECK_HTTP`, …) into their labels or environment, and what they publish is
//! registered for as long as they run. Docker's and Podman's engines speak the same API.
//!
//! [`labels`] reads the names, [`plan`] says what shall be registered, [`run`] brings it about through a
//! [`Registrar`]. The engine's events are hints to look again and nothing else: the whole list is what counts.
//!
//! What is absent: trust. Labels come from whoever made the image. They name services only as
//! [`Config::services`] allows, replace no instance that is not a container's, and run no command on this host.

mod config;
mod engine;
pub mod fuzz;
pub mod labels;
pub mod plan;
mod reconcile;

pub use config::Config;
pub use engine::{Container, Engine, EngineError};
pub use plan::{Plan, Problem};
pub use reconcile::{Registrar, run};
