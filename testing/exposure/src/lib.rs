//! A home and the world: a client host behind a router that is a real miniupnpd, and a host outside, each in
//! a network namespace of its own. In the client's run a real Consul and the real daemon, as the role or as itself.
//!
//! Namespaces have names with this process's id in them, go with the value, and those of runs that were killed
//! are swept by the next. What cannot be had is told as [`peers::Missing`] or as a `skipped: ` line.

mod authority;
mod daemon;
mod guest;
mod home;
mod misbehaving;
mod names;
mod role;
mod router;
mod second;
mod stun;
mod web;

pub use authority::Authority;
pub use daemon::Daemon;
pub use guest::Guest;
pub use home::{CLIENT_V6, Fallible, Guard, Home, LAN_CLIENT, WAN_ROUTER};
pub use misbehaving::Misbehaving;
pub use role::{Consul, NameServer, Role};
pub use second::Second;
pub use stun::Stun;
pub use web::{REGISTER, REGISTER_INSIDE};

use std::time::Duration;

/// How long anything may take to come about before a test fails.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Ends a test that cannot run here, in the words that are counted.
#[macro_export]
macro_rules! need {
    ($what:expr) => {
        match $what {
            Ok(found) => found,
            Err(missing) => return println!("{missing}"),
        }
    };
}
