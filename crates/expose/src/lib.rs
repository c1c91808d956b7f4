//! Reachability from outside: a service that asks for it gets a port in the host's firewall, a mapping in
//! the router, a pinhole for IPv6 and a public name; when it goes, they go, in the opposite order.
//!
//! [`source`] says what is wished, [`plan`] what that means, [`run`] brings it about and publishes how it
//! stands as a [`Status`]. The firewall is somebody else's: this crate publishes
//! [`catalog::exposure::Openings`] and waits for the report.
//!
//! What is absent: privilege. Nothing here needs any.

pub mod acme;
mod again;
mod answer;
mod causes;
mod config;
mod disk;
mod doors;
pub mod fuzz;
pub mod http;
mod inside;
mod metrics;
pub mod names;
pub mod nat;
mod outlook;
mod outside;
pub mod plan;
mod reconcile;
pub mod router;
mod settings;
mod shown;
pub mod source;
mod status;
pub mod stun;
pub mod tags;
mod ways;
pub mod wish;

pub use config::Config;
pub use doors::OpenDoors;
pub use metrics::Metrics;
pub use outside::{Lookout, Sight};
pub use reconcile::{Https, Inputs, run, run_with};
pub use settings::{ExecSettings, HttpSettings, NameSettings, Rfc2136Settings, Settings, Site, Wish};
pub use status::{Grant, Grants, Status};
pub use ways::direct;
