//! HTTP toward endpoints, with a pool of our own on every thread.
//!
//! A request without a body to an HTTP/1.1 endpoint is written, and its answer read, by hand; one to an HTTP/2 endpoint is
//! h2's; everything else is hyper's.
//!
//! HTTP/1.1 connections wait in a last-in-first-out stack per endpoint; HTTP/2 has one connection per
//! endpoint and thread that all requests share. Requests are sent again only when nothing was sent, or when
//! a kept connection died under a request that may be repeated.

mod arriving;
mod attempt;
mod body;
pub mod chunks;
mod connect;
mod frames;
pub mod framing;
mod head;
mod outgoing;
pub mod plain;
mod pool;
mod send;
mod shared;
pub mod websocket;

pub use body::{Body, BodyError, Fault, Reached};
pub use connect::{LocalExecutor, Protocol, Upgraded};
pub use frames::pipe;
pub use outgoing::Outgoing;
pub use pool::sweep;
pub use send::{Answer, SendError, send};

pub(crate) use pool::Pools;

/// An entry for fuzzing: what an endpoint answers. It must not panic, and what is made of it does not depend on how it is
/// cut.
pub fn fuzz_answer(bytes: &[u8]) {
    let whole = arriving::followed(&[bytes]);
    for cut in [1, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        assert_eq!(arriving::followed(&[first, second]), whole, "cut at {cut}");
    }
}
