//! Who may do what: rules in Consul's language, and what they add up to.
//!
//! [`Rules`] is one policy's text, read. [`Rights`] is what the policies, roles and identities of one token come
//! to: compiled once for each change of the lists, asked with every request. [`resolve`] finds the token that was
//! shown in a snapshot and compiles what it may do.
//!
//! What is absent: no clock, no I/O, no state. A policy that cannot be read grants nothing.

mod resolve;
mod resource;
mod rights;
mod rules;
mod secret;

pub use resolve::{Principal, Unknown, Who, anonymous, everybody, local, resolve};
pub use resource::{Level, Resource, Right};
pub use rights::Rights;
pub use rules::{MAX_RULES, Refused, Rule, Rules, fuzz_rules};
pub use secret::{content_hash, hash};
