//! The binary called as `consul`, and `portolan consul-agent`: Consul's command line, as scripts and test suites
//! use it. It translates and decides nothing: `agent` becomes a configuration of ours, the rest calls the API.
//!
//! Where to look: flags as Go reads them in [`flags`], the agent's settings in [`agent`] and [`settings`], its
//! files in [`files`] and [`hcl`], services that stand in them in [`definitions`], everything else in [`ask`].

mod agent;
mod ask;
mod definitions;
mod files;
mod flags;
pub(crate) mod hcl;
mod kv;
mod locked;
mod services;
mod settings;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};

pub(crate) use definitions::Definitions;
use flags::Flags;

/// True when this process was started under Consul's name.
pub(crate) fn is_meant(arguments: &[OsString]) -> bool {
    let name = arguments.first().map(Path::new).and_then(Path::file_stem);
    name.is_some_and(|name| name == "consul")
}

/// Runs one of Consul's commands; `arguments` without the program's name.
pub(crate) fn run(arguments: Vec<OsString>, global: &Global) -> Result<ExitCode> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|text| {
            Failure::new(Exit::Usage, anyhow!("an argument is no text: {}", text.to_string_lossy()))
        })
    };
    let arguments = arguments.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = |result: Result| result.map(|()| ExitCode::SUCCESS);
    match words[..] {
        [] | ["-h" | "-help" | "--help" | "help", ..] => done(ask::help()),
        ["version" | "-v" | "-version" | "--version", ..] => done(ask::version(&words[1..])),
        ["agent", ref rest @ ..] => done(agent::run(rest, global)),
        ["services", "register", ref rest @ ..] => done(services::register(rest)),
        ["services", "deregister", ref rest @ ..] => done(services::deregister(rest)),
        ["catalog", what @ ("datacenters" | "nodes" | "services"), ref rest @ ..] => {
            done(ask::catalog(what, rest))
        }
        ["members", ref rest @ ..] => done(ask::members(rest)),
        ["info", ref rest @ ..] => done(ask::info(rest)),
        ["reload", ref rest @ ..] => {
            done(ask::told("/v1/agent/reload", "Configuration reload triggered", rest))
        }
        ["leave", ref rest @ ..] => done(ask::told("/v1/agent/leave", "Graceful leave complete", rest)),
        ["force-leave", ref rest @ ..] => done(ask::force_leave(rest)),
        ["event", ref rest @ ..] => done(ask::event(rest)),
        ["kv", what @ ("get" | "put" | "delete" | "export" | "import"), ref rest @ ..] => {
            done(kv::run(what, rest))
        }
        ["snapshot", what @ ("save" | "restore" | "inspect"), ref rest @ ..] => {
            done(ask::snapshot(what, rest, global))
        }
        ["lock", ref rest @ ..] => locked::run(rest),
        ["validate", ref rest @ ..] => done(agent::validate(rest)),
        [command, ..] => Err(Failure::new(
            Exit::Usage,
            anyhow!("Consul's command `{command}` is not here; see `consul help` for those that are"),
        )),
    }
}

/// Flags that every command has which talks to an agent.
const HTTP_FLAGS: &[&str] = &[
    "http-addr",
    "token",
    "token-file",
    "datacenter",
    "ca-file",
    "ca-path",
    "client-cert",
    "client-key",
    "tls-server-name",
    "namespace",
    "partition",
];
/// The same, without a value.
const HTTP_SWITCHES: &[&str] = &["stale"];

/// Flags of a command that talks to an agent, with the agent.
fn talk(arguments: &[&str], values: &[&str], switches: &[&str]) -> Result<(Flags, crate::remote::Remote)> {
    let values: Vec<&str> = values.iter().chain(HTTP_FLAGS).copied().collect();
    let switches: Vec<&str> = switches.iter().chain(HTTP_SWITCHES).copied().collect();
    let flags = Flags::read(arguments, &values, &switches).map_err(|why| Failure::new(Exit::Usage, why))?;
    let remote = crate::remote::Remote::as_consul(flags.last("http-addr"), token(&flags)?.as_deref())?;
    Ok((flags, remote))
}

fn token(flags: &Flags) -> Result<Option<String>> {
    if let Some(token) = flags.last("token") {
        return Ok(Some(token.to_owned()));
    }
    let file =
        flags.last("token-file").map(str::to_owned).or_else(|| std::env::var("CONSUL_HTTP_TOKEN_FILE").ok());
    let Some(file) = file.filter(|file| !file.is_empty()) else { return Ok(None) };
    let text =
        std::fs::read_to_string(&file).map_err(|cause| anyhow!("read the token from {file}: {cause}"))?;
    Ok(Some(text.trim().to_owned()))
}
