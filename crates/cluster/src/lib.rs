//! Many hosts as one: who they are, how they join, whom they believe, which of them live.
//!
//! [`init`](init::init) begins a cluster on its first host, [`join`](join::join) brings in another: both
//! write an [`Identity`] into the data directory, and nothing else needs to be told. While a node runs, [`run`]
//! renews its certificate and keeps [`Reader`](state::Reader)s of whom to believe and whom to link with.
//! Verdicts on nodes that fell silent come from [`life`].
//!
//! What is absent, on purpose: certificate revocation lists (a leaf lives a day, and a key is denied by its
//! hash), gossip (a node beats to the servers), any private key or secret in the catalog or in a log line.

pub mod ca;
mod disk;
mod error;
pub mod identity;
pub mod init;
pub mod join;
mod keys;
pub mod life;
mod local;
pub mod renew;
pub mod rotate;
pub mod time;
pub mod token;

pub use error::Error;
pub use identity::Identity;
pub use keys::{Key, PublicKey};
pub use local::{Credentials, Local, Peers};
