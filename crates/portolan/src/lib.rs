//! The daemon as a library: [`Server`] starts a whole node inside a program, [`config`] is what it can be
//! told, and [`cli`] is the command line that the binary runs.
//!
//! Where to look: how a node is put together in `compose`, every command in a file of `command/`, what goes
//! to the terminal in `output`.

pub mod cli;
mod command;
mod compose;
pub mod config;
mod consul_cli;
mod daemon;
mod exit;
mod listeners;
mod logging;
mod many;
mod output;
mod progress;
mod px;
mod remote;
mod secret;
mod server;
mod signals;

pub use consul_cli::hcl::fuzz_hcl;
pub use listeners::Addresses;
pub use server::{Running, Server};
