//! `portolan register NAME` and `portolan deregister ID`

use std::net::IpAddr;
use std::time::Duration;

use anyhow::anyhow;
use client::{Check, Service};
use state::units::parse_duration;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

/// What describes an instance, the same for `register` and `run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Instance {
    /// Instance id; NAME-PORT when absent
    #[arg(long)]
    id: Option<String>,
    /// IP address that it listens on; the node's when absent
    #[arg(long)]
    address: Option<IpAddr>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Label; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    /// Ask this URL: 2xx passes, 429 warns, anything else is critical
    #[arg(long, value_name = "URL")]
    check_http: Option<String>,
    /// Connect to this address
    #[arg(long, value_name = "HOST:PORT")]
    check_tcp: Option<String>,
    /// Ask by the gRPC health protocol
    #[arg(long, value_name = "HOST:PORT[/SERVICE]")]
    check_grpc: Option<String>,
    /// Time between two probes of a check
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    check_interval: Duration,
    /// Longest that a probe may take
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    check_timeout: Duration,
}

impl Instance {
    /// The id in effect.
    pub(crate) fn id(&self, name: &str, port: u16) -> String {
        let of_port = || if port == 0 { name.to_owned() } else { format!("{name}-{port}") };
        self.id.clone().unwrap_or_else(of_port)
    }

    /// True when any check was asked for.
    pub(crate) fn has_checks(&self) -> bool {
        [&self.check_http, &self.check_tcp, &self.check_grpc].into_iter().any(Option::is_some)
    }

    /// Where it listens, if that was said.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// As the client library wants it, without a lease.
    pub(crate) fn service(&self, name: &str, port: u16) -> Result<Service> {
        let mut service = Service::new(name).id(&self.id(name, port)).port(port).without_lease();
        if let Some(address) = self.address {
            service = service.address(address);
        }
        for tag in &self.tags {
            service = service.tag(tag);
        }
        for label in &self.meta {
            let (key, value) = label.split_once('=').ok_or_else(|| {
                let cause = anyhow!("--meta {label}: there is no `=` in it");
                Failure::new(Exit::Usage, cause).advise("write --meta KEY=VALUE")
            })?;
            service = service.meta(key, value);
        }
        let checks = [
            self.check_http.as_deref().map(Check::http),
            self.check_tcp.as_deref().map(Check::tcp),
            self.check_grpc.as_deref().map(Check::grpc),
        ];
        let timed = |check: Check| check.interval(self.check_interval).timeout(self.check_timeout);
        Ok(checks.into_iter().flatten().map(timed).fold(service, Service::check))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Service name: letters, digits and hyphens
    name: String,
    /// Port that it listens on
    #[arg(long, short, default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    instance: Instance,
    /// Deregister it unless it is renewed within this time (PUT /v1/agent/service/renew/ID)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lease: Option<Duration>,
}

pub(crate) fn register(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    let mut service = args.instance.service(&args.name, args.port)?;
    if let Some(term) = args.lease {
        service = service.lease(term);
    }
    let id = args.instance.id(&args.name, args.port);
    super::block_on(async move {
        remote.bounded(service.register_once(&remote.client)).await?;
        Ok(global.out().say(&format!("registered {} as instance {id}", args.name))?)
    })
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deregister {
    /// Instance ids, as `portolan instances` lists them
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(crate) fn deregister(args: Deregister, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let mut failed = Vec::new();
        for id in &args.ids {
            match deregister_one(&remote, id).await {
                Ok(()) => global.out().say(&format!("deregistered {id}"))?,
                Err(failure) => failed.push(failure),
            }
        }
        some_failed(failed, args.ids.len())
    })
}

/// To the API what is not there is gone already; to a person it is a typing error.
async fn deregister_one(remote: &Remote, id: &str) -> Result {
    let known = remote.get::<serde_json::Value>(&format!("/v1/agent/service/{}", encoded(id))).await;
    known.map_err(|failure| match failure.exit {
        Exit::NotFound => Failure::new(Exit::NotFound, anyhow!("no instance \"{id}\" is registered here"))
            .advise("`portolan instances` lists the ids"),
        _ => failure,
    })?;
    remote.bounded(remote.client.deregister(id)).await
}

/// One failure speaks for all when all failed; else it is a partial success.
fn some_failed(failed: Vec<Failure>, of: usize) -> Result {
    let count = failed.len();
    let Some(mut first) = failed.into_iter().next() else { return Ok(()) };
    if count < of {
        first.exit = Exit::Partial;
        first.cause = first.cause.context(format!("{count} of {of} failed; the first of them"));
    }
    Err(first)
}
