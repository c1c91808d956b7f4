//! The proxy with real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod change;
mod crowd;
mod echo;
mod extended;
mod fuzz;
mod harness;
mod http;
mod malformed;
mod patience;
mod peer;
mod preface;
mod repeat;
mod routes;
mod smuggling;
mod streams;
mod tcp;
mod tls;
mod two;
mod udp;
