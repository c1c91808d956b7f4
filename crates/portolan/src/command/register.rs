//! `portolan register NAME` and `portolan deregister ID`

use anyhow::{Context as _, anyhow};
use consul::register::{CheckRegistration, ServiceRegistration};
use consul::{GoDuration, Labels, Text};

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

/// What describes an instance, the same for `register` and `run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Instance {
    /// Instance id; the service's name when absent
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// IP address or host name; the node's when absent
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Label; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE")]
    pub(crate) meta: Vec<String>,
    /// Ask this URL; 2xx passes, 429 warns
    #[arg(long, value_name = "URL")]
    pub(crate) check_http: Option<String>,
    /// Connect to this address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) check_tcp: Option<String>,
    /// Ask by the gRPC health protocol
    #[arg(long, value_name = "HOST:PORT[/SERVICE]")]
    pub(crate) check_grpc: Option<String>,
    /// Time between two probes of a check
    #[arg(long, default_value = "10s", value_parser = state::units::parse_duration)]
    pub(crate) check_interval: std::time::Duration,
    /// Longest a probe may take
    #[arg(long, default_value = "5s", value_parser = state::units::parse_duration)]
    pub(crate) check_timeout: std::time::Duration,
}

impl Instance {
    /// The id in effect.
    pub(crate) fn id(&self, name: &str) -> String {
        self.id.clone().unwrap_or_else(|| name.to_owned())
    }

    /// As Consul's API wants it.
    pub(crate) fn registration(&self, name: &str, port: u16) -> Result<ServiceRegistration> {
        Ok(ServiceRegistration {
            id: self.id(name).into(),
            name: name.into(),
            tags: self.tags.iter().map(|tag| tag.as_str().into()).collect(),
            address: self.address.clone().unwrap_or_default().into(),
            meta: self.meta.iter().map(|label| label_of(label)).collect::<Result<Labels>>()?,
            port,
            checks: self.checks(),
            ..ServiceRegistration::default()
        })
    }

    fn checks(&self) -> Vec<CheckRegistration> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default().into();
        let given = [
            CheckRegistration { http: text(&self.check_http), ..CheckRegistration::default() },
            CheckRegistration { tcp: text(&self.check_tcp), ..CheckRegistration::default() },
            CheckRegistration { grpc: text(&self.check_grpc), ..CheckRegistration::default() },
        ];
        let is_given = |check: &CheckRegistration| {
            !(check.http.is_empty() && check.tcp.is_empty() && check.grpc.is_empty())
        };
        let timed = |check| CheckRegistration {
            interval: GoDuration(self.check_interval),
            timeout: GoDuration(self.check_timeout),
            ..check
        };
        given.into_iter().filter(is_given).map(timed).collect()
    }
}

fn label_of(label: &str) -> Result<(Text, Text)> {
    let (key, value) = label.split_once('=').ok_or_else(|| {
        Failure::new(Exit::Usage, anyhow!("--meta {label}: there is no `=` in it"))
            .advise("write --meta KEY=VALUE")
    })?;
    Ok((key.into(), value.into()))
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
    /// Deregister it unless it is renewed within this time (`PUT /v1/agent/service/renew/ID`)
    #[arg(long, value_name = "DURATION", value_parser = state::units::parse_duration)]
    lease: Option<std::time::Duration>,
}

pub(crate) fn register(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    let mut registration = args.instance.registration(&args.name, args.port)?;
    registration.lease = GoDuration(args.lease.unwrap_or_default());
    super::block_on(async move {
        put(&remote, &registration).await?;
        let out = global.out();
        Ok(out.say(&format!("registered {} as instance {}", registration.name, registration.id))?)
    })
}

/// Registers, replacing whatever checks the instance had.
pub(crate) async fn put(remote: &Remote, registration: &ServiceRegistration) -> Result {
    let body = serde_json::to_vec(registration).context("encode the registration")?;
    remote.put("/v1/agent/service/register?replace-existing-checks=true", body).await?;
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deregister {
    /// Instance ids; an instance registered without one has its service's name
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(crate) fn deregister(args: Deregister, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let mut failed = Vec::new();
        for id in &args.ids {
            match remote.put(&format!("/v1/agent/service/deregister/{}", encoded(id)), "").await {
                Ok(_) => global.out().say(&format!("deregistered {id}"))?,
                Err(failure) => failed.push(failure),
            }
        }
        some_failed(failed, args.ids.len())
    })
}

/// One failure speaks for all when all failed; else it is a partial success.
fn some_failed(mut failed: Vec<Failure>, of: usize) -> Result {
    let count = failed.len();
    let Some(mut first) = failed.drain(..).next() else { return Ok(()) };
    if count < of {
        first.exit = Exit::Partial;
        first.cause = first.cause.context(format!("{count} of {of} failed; the first of them"));
    }
    Err(first)
}
