//! The broker against programs that ask it, good ones and others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod connect;
mod cut;
mod gateway;
mod harness;
mod hostile;
mod libipc;
mod offers;
mod schemes;
mod websocket;
