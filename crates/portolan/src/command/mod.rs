//! One file per command.

pub(crate) mod check_config;
pub(crate) mod completions;
pub(crate) mod config;
mod daemon;
pub(crate) mod dev;
pub(crate) mod serve;
mod sources;
