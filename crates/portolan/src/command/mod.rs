//! One file per command.

pub(crate) mod acl;
pub(crate) mod activated;
mod begin;
pub(crate) mod ca;
pub(crate) mod check_config;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod diplonat;
pub(crate) mod dns;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod expose;
pub(crate) mod exposures;
pub(crate) mod firewall;
pub(crate) mod forward;
pub(crate) mod guard;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod instances;
pub(crate) mod ipcd;
pub(crate) mod join;
pub(crate) mod kv;
pub(crate) mod leave;
mod listing;
pub(crate) mod man;
pub(crate) mod members;
pub(crate) mod nodes;
mod offered;
pub(crate) mod orphans;
pub(crate) mod psk;
pub(crate) mod publish;
pub(crate) mod recover;
pub(crate) mod redirect;
pub(crate) mod register;
pub(crate) mod resolve;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod services;
pub(crate) mod snapshot;
mod sources;
pub(crate) mod ssh_proxy;
pub(crate) mod status;
pub(crate) mod subscribe;
pub(crate) mod token;

use anyhow::Context as _;

use crate::exit::Result;

/// Runs a command that talks to a daemon: one thread is enough for it.
pub(crate) fn block_on(command: impl Future<Output = Result>) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start a runtime")?;
    let result = runtime.block_on(command);
    // A read of standard input cannot be cancelled, and nobody should have to type a line to be let go.
    runtime.shutdown_background();
    result
}
