//! The command line: what can be asked, and how an answer ends.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::command as commands;
use crate::config::LoadError;
use crate::consul_cli;
use crate::exit::{Failure, Result};
use crate::output::{ColorChoice, Format, Output};

/// Every service a name, an address and a route: one daemon per host.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 denied, 5 unreachable, 6 only
/// partly done.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// HTTP API of the daemon to talk to, like 127.0.0.1:8500 or unix:///run/portolan.sock; else as
    /// PORTOLAN_ADDR or CONSUL_HTTP_ADDR says
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) api: Option<String>,
    /// How answers are shown
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// Say nothing but the answer
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Longest wait for the daemon
    #[arg(long, global = true, default_value = "10s", value_parser = state::units::parse_duration)]
    pub(crate) timeout: Duration,
}

impl Global {
    /// Where the command line is somebody else's: Consul's, or ipcd's.
    fn as_others() -> Global {
        let timeout = Duration::from_secs(60);
        Global { api: None, output: Format::Table, color: ColorChoice::Auto, quiet: false, timeout }
    }

    pub(crate) fn out(&self) -> Output {
        Output { format: self.output, color: self.color, quiet: self.quiet }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in memory on loopback, to try things out
    Dev(commands::dev::Args),
    /// Run a node
    Serve(commands::serve::Args),
    /// Show what a node does, with real services, in a few seconds
    Demo(commands::demo::Args),
    /// Register an instance of a service
    Register(commands::register::Args),
    /// Run a command that is registered for as long as it runs
    Run(commands::run::Args),
    /// Deregister instances
    Deregister(commands::register::Deregister),
    /// List services with their addresses and health
    Services(commands::services::Args),
    /// List instances with their health
    Instances(commands::instances::Args),
    /// List nodes
    Nodes(commands::nodes::Args),
    /// Show where a service's name leads
    Resolve(commands::resolve::Args),
    /// Read and write keys
    #[command(subcommand)]
    Kv(commands::kv::Kv),
    /// Save and restore the whole state
    #[command(subcommand)]
    Snapshot(commands::snapshot::Snapshot),
    /// Take over what another registry knows
    #[command(subcommand)]
    Import(commands::import::Import),
    /// Put messages in the one agreed order
    Publish(commands::publish::Args),
    /// Read messages in the one agreed order
    Subscribe(commands::subscribe::Args),
    /// Join standard input and output to a service
    Connect(commands::connect::Args),
    /// Listen on a port or a Unix socket and pass every connection on to a service
    Forward(commands::forward::Args),
    /// Reach a service for OpenSSH: ProxyCommand "portolan ssh-proxy %h %p", with ProxyUseFdpass or without
    SshProxy(commands::ssh_proxy::Args),
    /// Pre-shared keys for `tls` routes
    #[command(subcommand)]
    Psk(commands::psk::Psk),
    /// Make a service reachable from outside: firewall, router, public name
    Expose(commands::expose::Args),
    /// Take that back
    Unexpose(commands::expose::Unexpose),
    /// Show what is reachable from outside, link by link, and why not
    Exposures(commands::exposures::Args),
    /// Show what is still to be done to make it so
    Plan(commands::exposures::Args),
    /// List public names that carry this node's mark and that nobody wishes any more, or take them away
    Orphans(commands::orphans::Args),
    /// A firewall of this node's own that is on trial: firewall.mode = "own"
    #[command(subcommand)]
    Firewall(commands::firewall::Firewall),
    /// Let somebody reach a service
    Allow(commands::rules::Change),
    /// Keep somebody from a service
    Deny(commands::rules::Change),
    /// List rules, remove them, and say how strictly they are used
    Rules(commands::rules::Args),
    /// Say what would become of a connection, and why
    Explain(commands::explain::Args),
    /// Lead a name elsewhere
    Redirect(commands::redirect::Args),
    /// Names of the registry in this host's resolver
    #[command(subcommand)]
    Dns(commands::dns::Dns),
    /// Look for what keeps services from being reached: rights, firewall, router, NAT, resolver
    Doctor(commands::doctor::Args),
    /// Make this node the first of a cluster
    Init(commands::init::Args),
    /// Make this node part of a cluster
    Join(commands::join::Args),
    /// List the members of the cluster
    Members(commands::members::Args),
    /// Show who leads, how far everybody is, and who reaches whom
    Status(commands::status::Args),
    /// Make, list and revoke tokens to join with
    #[command(subcommand)]
    Token(commands::token::Tokens),
    /// Who may do what: tokens, policies, the first token
    #[command(subcommand)]
    Acl(commands::acl::Acl),
    /// The cluster's certificates: issue, show, rotate, deny
    #[command(subcommand)]
    Ca(commands::ca::Ca),
    /// Take this node out of the cluster for good
    Leave(commands::leave::Leave),
    /// Take another node out of the cluster for good
    Remove(commands::leave::Remove),
    /// Go on without the other of two servers that vote, which is lost for good
    Recover(commands::recover::Args),
    /// Check a configuration exactly as `serve` would read it
    CheckConfig(commands::check_config::Args),
    /// Look at the configuration
    #[command(subcommand)]
    Config(commands::config::Config),
    /// Run a node as Consul's agent is run: with its flags and its files
    #[command(disable_help_flag = true)]
    ConsulAgent {
        /// As `consul agent` takes them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        arguments: Vec<OsString>,
    },
    #[command(hide = true)]
    Activated(commands::activated::Args),
    #[command(hide = true)]
    DemoService(commands::demo::service::Args),
    /// Open ports and map them at the router as tags of a Consul node's services say (Diplonat's role)
    Diplonat(commands::diplonat::Args),
    /// Answer programs that have IPC_NETWORK, with rules and redirections as flags (ipcd's role)
    #[command(disable_help_flag = true)]
    Ipcd {
        /// `portolan ipcd --help` shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        arguments: Vec<OsString>,
    },
    #[command(hide = true)]
    Guard,
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Write the manual's pages, one for every command
    #[command(hide = true)]
    Man(commands::man::Args),
}

/// The command line, for those who generate something from it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if consul_cli::is_meant(&arguments) {
        let global = Global::as_others();
        return ended(consul_cli::run(arguments.into_iter().skip(1).collect(), &global), global.out());
    }
    if commands::ipcd::is_meant(&arguments) {
        let global = Global::as_others();
        let done = commands::ipcd::run(arguments.into_iter().skip(1).collect(), &global);
        return ended(done.map(|()| ExitCode::SUCCESS), global.out());
    }
    let cli = Cli::parse_from(as_px(commands::diplonat::arguments()));
    let out = cli.global.out();
    ended(run(cli), out)
}

fn ended(result: Result<ExitCode>, out: Output) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) => {
            report(&failure, out);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// px was started with its file as the only argument.
fn as_px(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_file = |arg: &OsString| {
        Path::new(arg).extension().is_some_and(|end| end == "json") && Path::new(arg).is_file()
    };
    if args.len() == 2 && is_file(&args[1]) {
        args.splice(1..1, ["serve".into(), "--px".into()]);
    }
    args
}

fn run(cli: Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Dev(args) => commands::dev::run(args, global)?,
        Command::Serve(args) => commands::serve::run(args, global)?,
        Command::Demo(args) => commands::demo::run(args, global)?,
        Command::ConsulAgent { arguments } => {
            let agent = std::iter::once("agent".into()).chain(arguments).collect();
            return consul_cli::run(agent, global);
        }
        Command::DemoService(args) => commands::demo::service::run(args)?,
        Command::Register(args) => commands::register::register(args, global)?,
        Command::Run(args) => return commands::run::run(args, global),
        Command::Deregister(args) => commands::register::deregister(args, global)?,
        Command::Services(args) => commands::services::run(args, global)?,
        Command::Instances(args) => commands::instances::run(args, global)?,
        Command::Nodes(args) => commands::nodes::run(args, global)?,
        Command::Resolve(args) => commands::resolve::run(args, global)?,
        Command::Kv(kv) => commands::kv::run(kv, global)?,
        Command::Snapshot(snapshot) => commands::snapshot::run(snapshot, global)?,
        Command::Import(import) => commands::import::run(import, global)?,
        Command::Publish(args) => commands::publish::run(args, global)?,
        Command::Subscribe(args) => commands::subscribe::run(args, global)?,
        Command::Connect(args) => commands::connect::run(args, global)?,
        Command::Forward(args) => commands::forward::run(args, global)?,
        Command::Activated(args) => return commands::activated::run(args),
        Command::SshProxy(args) => commands::ssh_proxy::run(args, global)?,
        Command::Psk(psk) => commands::psk::run(psk, global)?,
        Command::Expose(args) => commands::expose::expose(args, global)?,
        Command::Unexpose(args) => commands::expose::unexpose(args, global)?,
        Command::Exposures(args) => commands::exposures::exposures(args, global)?,
        Command::Plan(args) => commands::exposures::plan(args, global)?,
        Command::Orphans(args) => commands::orphans::run(args, global)?,
        Command::Firewall(firewall) => commands::firewall::run(firewall, global)?,
        Command::Allow(change) => commands::rules::change("allow", change, global)?,
        Command::Deny(change) => commands::rules::change("deny", change, global)?,
        Command::Rules(args) => commands::rules::run(args, global)?,
        Command::Explain(args) => commands::explain::run(args, global)?,
        Command::Redirect(args) => commands::redirect::run(args, global)?,
        Command::Dns(dns) => commands::dns::run(dns, global)?,
        Command::Doctor(args) => return commands::doctor::run(args, global),
        Command::Init(args) => commands::init::run(args, global)?,
        Command::Join(args) => commands::join::run(args, global)?,
        Command::Members(args) => commands::members::run(args, global)?,
        Command::Status(args) => commands::status::run(args, global)?,
        Command::Token(args) => commands::token::run(args, global)?,
        Command::Acl(acl) => commands::acl::run(acl, global)?,
        Command::Ca(ca) => commands::ca::run(ca, global)?,
        Command::Leave(args) => commands::leave::leave(args, global)?,
        Command::Remove(args) => commands::leave::remove(args, global)?,
        Command::Recover(args) => commands::recover::run(&args, global)?,
        Command::CheckConfig(args) => commands::check_config::run(args, global)?,
        Command::Config(args) => commands::config::run(args, global)?,
        Command::Diplonat(args) => commands::diplonat::run(args, global)?,
        Command::Ipcd { arguments } => commands::ipcd::run(arguments, global)?,
        Command::Guard => commands::guard::run(global)?,
        Command::Completions(args) => commands::completions::run(args, &mut command())?,
        Command::Man(args) => commands::man::run(&args, command())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The one place where an error is printed.
fn report(failure: &Failure, out: Output) {
    if out.format != Format::Table {
        let mut data = failure.data();
        if let Some(LoadError::Wrong(problems)) = failure.cause.downcast_ref() {
            data["problems"] = serde_json::json!(problems.data());
        }
        eprintln!("{data}");
        return;
    }
    match failure.cause.downcast_ref::<LoadError>() {
        Some(LoadError::Wrong(problems)) => eprintln!("{}", problems.render(out.colored_errors())),
        _ => eprintln!("{}", failure.render(out.colored_errors())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
