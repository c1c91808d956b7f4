//! Real daemons on hosts of their own, and everything that can go wrong between them.
//!
//! A [`Lab`] is a few [`Host`]s, each a network namespace with one Ethernet interface, on a [`Switch`] that runs
//! inside the test. The switch is where networks fail: every direction between two hosts can be cut, made to
//! lose frames, or delayed. It needs nothing of the kernel but TAP interfaces, since many kernels come without
//! `netem` and many hosts without `nft`. Disks fail in [`Disk`], clocks in [`Clock`], processes by signals.
//!
//! Every fault here has a test that measures it (`tests/faults.rs`): a fault that silently does not apply makes
//! every test above it worthless.
//!
//! Nothing is left behind: namespaces and mounts go with their values, processes with the thread that started
//! them, and what an earlier run that was killed has left is swept by the next. A test that cannot run here
//! prints `skipped: why` ([`Missing`]).

mod clock;
mod cluster;
mod daemon;
mod disk;
pub mod dns;
mod error;
mod host;
pub mod http;
mod lab;
mod leftovers;
mod load;
mod sshd;
mod switch;

pub use clock::Clock;
pub use cluster::Cluster;
pub use daemon::{Daemon, Start};
pub use disk::Disk;
pub use error::{Failure, Missing};
pub use host::{Door, Host};
pub use lab::Lab;
pub use load::{History, Load};
pub use sshd::{SshTools, Sshd};
pub use switch::{Link, Switch};

use std::time::Duration;

/// How long anything may take to come about before a test fails.
pub const LIMIT: Duration = Duration::from_secs(60);

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
