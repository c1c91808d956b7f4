//! The px names: the configuration file that its nodes are started with ([`Config`]), and the records that they send
//! ([`Message`], [`Parser`], [`dialect`]).
//!
//! A dialect: it translates and decides nothing. Absent on purpose: px's own election and proposals, which it never
//! finished. Nodes of ours agree on an order by the log; a px record about it is read and not acted upon.

mod config;
pub mod dialect;
mod file;
pub mod fuzz;
mod json;
mod message;
mod parser;

pub use config::{Config, ConfigError, Retention, Server};
pub use file::{LoadError, load_trust};
pub use message::{Ballot, Content, Data, Message};
pub use parser::{BadRecord, LONGEST_RECORD, Parser};
