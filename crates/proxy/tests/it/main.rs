//! The proxy with real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod change;
mod echo;
mod harness;
mod http;
mod tcp;
mod two;
mod udp;
