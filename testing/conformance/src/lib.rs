//! The real daemon for clients that no one here wrote.
//!
//! Each test starts a `portolan dev` of its own on ports of its own, and an unmodified client beside it.
//! What a client needs said is said over `curl`, so that nothing of ours stands between it and the daemon.

mod browser;
mod consul;
mod daemon;
pub mod score;
mod web;

pub use browser::Browser;
pub use consul::Consul;
pub use daemon::Daemon;
pub use web::Web;

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
