//! How a host comes in, and how one that is in renews: a request, a reply, nothing in between.
//!
//! The carrier (the mesh's own ALPN) proves the server to the caller by the hash of a root's key before
//! anything is sent. The caller proves its key by a signature. A retry of what was answered already changes
//! nothing, because the keys are on disk before the first try.

mod client;
mod desk;
mod wire;

use bytes::Bytes;
use catalog::KeyHash;
use futures_util::future::BoxFuture;

pub use client::{Options, join, renew};
pub use desk::Desk;
pub(crate) use desk::{roots_of, servers_of};
pub use wire::fuzz_message;

/// Largest request and reply, in bytes: chains, roots and a list of servers.
pub const MOST_BYTES: usize = 256 * 1024;

/// Carries a request to a server that nobody has proven anything to yet.
pub trait Door: Send + Sync {
    /// Sends a request to `host:port` and returns the reply. The server must show a chain to a root whose key
    /// has one of these hashes before it is sent anything.
    fn call<'a>(
        &'a self,
        address: &'a str,
        roots: &'a [KeyHash],
        request: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, String>>;
}
