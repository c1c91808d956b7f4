//! The face with real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod common;
mod forward;
mod serve;
