//! NetSel's own names over a Portolan node: [`NetSelServer`], [`NetSelConfig`] and
//! [`client::ServiceClient`]. Programs written against them compile unchanged, and what was a stub there
//! (DNS, the HTTP proxy, virtual addresses) is real here.
//!
//! ```no_run
//! use netsel::NetSelServer;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = NetSelServer::new();
//! server.start().await?;
//! // It serves for as long as the runtime lives.
//! tokio::signal::ctrl_c().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is different from the original, on purpose: a program that registers again takes its own place at
//! once instead of being refused for 90 s; port 9000 is never assigned; a heartbeat that is refused is an
//! error and not silence; the server keeps nothing on disk (`portolan serve --netsel` does).

pub mod client;
mod config;
mod server;

pub use config::NetSelConfig;
pub use server::{NetSelServer, StartError};
