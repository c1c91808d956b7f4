//! The daemon and its command line, as an operator meets them: real processes on free ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activation;
mod broker;
mod client;
mod commands;
mod config;
mod containers;
mod crash;
mod daemon;
mod demo;
mod documents;
mod full_disk;
mod ipcd;
mod many;
mod px;
mod rules;
mod support;
mod topics;
