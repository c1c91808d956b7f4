//! HTTP toward endpoints: hyper's connection API with a pool of our own on every thread.
//!
//! HTTP/1.1 connections wait in a last-in-first-out stack per endpoint; HTTP/2 has one connection per
//! endpoint and thread that all requests share. Requests are sent again only when nothing was sent, or when
//! a kept connection died under a request that may be repeated.

mod body;
mod connect;
mod outgoing;
pub mod plain;
mod pool;
mod send;
pub mod websocket;

pub use body::{Body, BodyError, Fault};
pub use connect::{LocalExecutor, Protocol, Upgraded};
pub use outgoing::Outgoing;
pub use pool::sweep;
pub use send::{Answer, SendError, send};

pub(crate) use pool::Pools;
