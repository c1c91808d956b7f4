//! Running one probe once. Every run ends within its timeout, holds at most 4 KiB of what it was told, and
//! reaches no address that it must not.

mod address;
mod command;
mod grpc;
mod http;
mod tcp;
mod tls;

use catalog::Probe;
use catalog::validate::MAX_OUTPUT;

use crate::config::Config;
use crate::plan;
use crate::verdict::Finding;

pub use grpc::fuzz_health_response;

/// Runs probes.
#[derive(Debug)]
pub struct Prober {
    runs_commands: bool,
    reach: address::Reach,
    tls: tls::Clients,
}

impl Prober {
    /// A prober that may do what `config` allows.
    pub fn new(config: &Config) -> Prober {
        Prober {
            runs_commands: config.commands,
            reach: address::Reach { link_local: config.link_local },
            tls: tls::Clients::default(),
        }
    }

    /// Runs `probe` once, within its timeout.
    pub async fn run(&self, probe: &Probe) -> Finding {
        let limit = plan::timeout(probe);
        let mut finding = match tokio::time::timeout(limit, self.run_unbounded(probe)).await {
            Ok(finding) => finding,
            Err(_) => Finding::critical(format!("{}: no answer within {limit:?}", describe(probe))),
        };
        finding.output.truncate(finding.output.floor_char_boundary(MAX_OUTPUT));
        finding
    }

    async fn run_unbounded(&self, probe: &Probe) -> Finding {
        match probe {
            Probe::Tcp { address, .. } => tcp::run(&self.reach, address).await,
            Probe::Http { http, .. } => http::run(&self.reach, &self.tls, http).await,
            Probe::Grpc { address, tls, tls_skip_verify, .. } => {
                let tls = tls.then(|| self.tls.client(*tls_skip_verify, tls::Protocol::Http2));
                grpc::run(&self.reach, tls, address).await
            }
            Probe::Command { args, .. } if self.runs_commands => command::run(args).await,
            Probe::Command { .. } => Finding::critical(
                "programs are not run as checks on this node; its operator can allow them with `commands = true` under [health]",
            ),
            Probe::External | Probe::Ttl { .. } => Finding::critical("nothing to run"),
        }
    }
}

/// What a probe does, for its output.
fn describe(probe: &Probe) -> String {
    match probe {
        Probe::Tcp { address, .. } => format!("connect to {address}"),
        Probe::Http { http, .. } => format!("{} {}", http::method(http), http.url),
        Probe::Grpc { address, .. } => format!("gRPC health check of {address}"),
        Probe::Command { args, .. } => format!("run {}", args.first().map_or("", |program| program)),
        Probe::External | Probe::Ttl { .. } => String::new(),
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
