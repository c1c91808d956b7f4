//! `portolan diplonat`: the role of Diplonat beside a Consul, with its environment variables.
//!
//! It opens no listener and keeps nothing on disk; the host runs Consul already.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use catalog::exposure::{Indoors, Openings};
use clap::builder::BoolishValueParser;
use expose::http::{Base, TlsFiles, TlsSettings};
use expose::names::{self, Owner, Provider, Rfc2136};
use expose::source::{Said, consul};
use hostnet::firewall;
use state::{Report, channel};

use crate::cli::Global;
use crate::config::{LogFormat, Logging};
use crate::daemon::guard::Guard;
use crate::exit::{Exit, Failure, Result};
use crate::logging;
use crate::secret;
use crate::signals::{Signals, Word};

/// Says that this process is Diplonat although no command is given.
const NODE_NAME: &str = "DIPLONAT_CONSUL_NODE_NAME";
/// How long leaving may take: a router is asked to remove every mapping.
const LEAVE: Duration = Duration::from_secs(30);

/// Open ports in this host's firewall and map them at its router, as services on a Consul node ask in their
/// tags: (diplonat (tcp_port 80 443) (udp_port 53)).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Node whose services count
    #[arg(long, env = NODE_NAME, value_name = "NAME")]
    node: String,
    /// Consul's API
    #[arg(long, env = "DIPLONAT_CONSUL_URL", value_name = "URL", default_value = "http://127.0.0.1:8500")]
    consul: String,
    /// File with an ACL token for it; else the one in CONSUL_HTTP_TOKEN
    #[arg(long, env = "CONSUL_HTTP_TOKEN_FILE", value_name = "FILE")]
    consul_token_file: Option<PathBuf>,
    /// CA certificates to trust there, PEM
    #[arg(long, env = "DIPLONAT_CONSUL_CA_CERT", value_name = "FILE")]
    consul_ca_cert: Option<PathBuf>,
    /// Client certificate for it, PEM
    #[arg(long, env = "DIPLONAT_CONSUL_CLIENT_CERT", value_name = "FILE")]
    consul_client_cert: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, env = "DIPLONAT_CONSUL_CLIENT_KEY", value_name = "FILE")]
    consul_client_key: Option<PathBuf>,
    /// Take any certificate of Consul's
    #[arg(long, env = "DIPLONAT_CONSUL_TLS_SKIP_VERIFY", value_parser = BoolishValueParser::new())]
    consul_tls_skip_verify: bool,
    /// Address of this host that the router sends to; else the one that faces the router
    #[arg(long, env = "DIPLONAT_PRIVATE_IP", value_name = "ADDRESS", value_parser = private_ip)]
    private_ip: Option<PrivateIp>,
    /// Seconds between two rounds that nothing but time causes
    #[arg(long, env = "DIPLONAT_REFRESH_TIME", value_name = "SECONDS", default_value_t = 60)]
    refresh_time: u16,
    /// Seconds that the router holds a mapping which is not renewed; at least twice the refresh time
    #[arg(long, env = "DIPLONAT_EXPIRATION_TIME", value_name = "SECONDS", default_value_t = 300)]
    expiration_time: u16,
    /// No mappings of IPv4: only the firewall and pinholes of IPv6
    #[arg(long, env = "DIPLONAT_IPV6_ONLY", value_parser = BoolishValueParser::new())]
    ipv6_only: bool,
    /// How ports are opened on this host
    #[arg(long, env = "DIPLONAT_FIREWALL", value_enum, default_value_t = FirewallArg::Auto)]
    firewall: FirewallArg,
    /// Leave services out while a check of theirs is critical, which the original does not
    #[arg(long, env = "DIPLONAT_ONLY_PASSING", value_parser = BoolishValueParser::new())]
    only_passing: bool,
    /// How long to go on with what was wished last while Consul is not heard
    #[arg(long, env = "DIPLONAT_HOLD", default_value = "24h", value_parser = state::units::parse_duration)]
    hold: Duration,
    /// Leave mappings to their expiration at the end, as the original does, instead of removing them
    #[arg(long, env = "DIPLONAT_LEAVE_MAPPINGS", value_parser = BoolishValueParser::new())]
    leave_mappings: bool,
    #[command(flatten)]
    names: NameArgs,
}

/// Who shows the names that tags ask for: (d53-a www.example.org).
#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name server that takes signed updates (RFC 2136), like 192.0.2.53:53
    #[arg(long, env = "DIPLONAT_DNS_SERVER", value_name = "ADDRESS")]
    dns_server: Option<std::net::SocketAddr>,
    /// File with the key of the signature, as tsig-keygen prints it
    #[arg(long, env = "DIPLONAT_DNS_KEY", value_name = "FILE", requires = "dns_server")]
    dns_key: Option<PathBuf>,
    /// Zones that may be written
    #[arg(long, env = "DIPLONAT_DNS_ZONES", value_name = "ZONES", value_delimiter = ',')]
    dns_zones: Vec<String>,
    /// Who we are to those who share the zone, for good; else the node's name
    #[arg(long, env = "DIPLONAT_DNS_OWNER", value_name = "WORD")]
    dns_owner: Option<String>,
    /// How long others may remember a name
    #[arg(long, env = "DIPLONAT_DNS_TTL", default_value = "60s", value_parser = state::units::parse_duration)]
    dns_ttl: Duration,
}

impl NameArgs {
    fn provider(self, node: &str) -> anyhow::Result<Option<Arc<dyn Provider>>> {
        let Some(server) = self.dns_server else { return Ok(None) };
        let file = self.dns_key.context("a name server needs a key: DIPLONAT_DNS_KEY")?;
        anyhow::ensure!(!self.dns_zones.is_empty(), "a name server needs zones to write: DIPLONAT_DNS_ZONES");
        let owner = Owner::new(self.dns_owner.as_deref().unwrap_or(node))?;
        let (adopt, group) = (Vec::new(), None);
        let config = names::Config { server, zones: self.dns_zones, owner, adopt, group, ttl: self.dns_ttl };
        Ok(Some(Arc::new(Rfc2136::new(&config, names::read_key(&file)?)?)))
    }
}

/// Set and empty is as good as not set.
#[derive(Debug, Clone, Copy)]
struct PrivateIp(Option<Ipv4Addr>);

fn private_ip(text: &str) -> std::result::Result<PrivateIp, std::net::AddrParseError> {
    if text.is_empty() { Ok(PrivateIp(None)) } else { text.parse().map(|address| PrivateIp(Some(address))) }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FirewallArg {
    /// iptables where it is installed, and the chains of nftables that block
    Auto,
    /// A chain in iptables and ip6tables
    Iptables,
    /// A chain in every table of nftables that blocks
    Nft,
    /// Not at all
    Off,
}

impl From<FirewallArg> for firewall::Mode {
    fn from(arg: FirewallArg) -> firewall::Mode {
        match arg {
            FirewallArg::Auto => firewall::Mode::Auto,
            FirewallArg::Iptables => firewall::Mode::Iptables,
            FirewallArg::Nft => firewall::Mode::Nft,
            FirewallArg::Off => firewall::Mode::Off,
        }
    }
}

/// The arguments of this process; those of `portolan diplonat` where there are none and the environment
/// says what is meant.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let is_meant = std::env::var_os(NODE_NAME).is_some_and(|name| !name.is_empty());
    if arguments.len() == 1 && is_meant {
        arguments.push("diplonat".into());
    }
    arguments
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let level = std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty());
    let level = level.unwrap_or_else(|| "info".to_owned());
    logging::start(&Logging { level, format: LogFormat::Human }, global.out().colored_errors())?;
    let (source, expose, firewall, names) = settings(args)?;
    // Before there are other threads: rights are given up one by one.
    let guard = Guard::start(&firewall)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .context("start a runtime")?
        .block_on(serve(source, expose, firewall, guard, names))
        .map_err(Failure::from)
}

type Settings = (consul::Config, expose::Config, firewall::Config, Option<Arc<dyn Provider>>);

fn settings(args: Args) -> Result<Settings> {
    let usage = |cause: anyhow::Error| Failure::new(Exit::Usage, cause);
    let (refresh, lease) = (args.refresh_time.max(1), args.expiration_time);
    if u32::from(lease) < 2 * u32::from(refresh) {
        let text =
            format!("the expiration time ({lease} s) is less than twice the refresh time ({refresh} s)");
        let advice = "set DIPLONAT_EXPIRATION_TIME to at least twice DIPLONAT_REFRESH_TIME";
        return Err(usage(anyhow::anyhow!(text)).advise(advice));
    }
    let names = args.names.provider(&args.node).context("set up public names").map_err(usage)?;
    let file = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
    let files = TlsFiles {
        ca: file(args.consul_ca_cert),
        cert: file(args.consul_client_cert),
        key: file(args.consul_client_key),
    };
    let base = Base::parse(&args.consul).context("read Consul's address").map_err(usage)?;
    let base = base.with_tls(&TlsSettings { files, skip_verify: args.consul_tls_skip_verify });
    let token = secret::read(args.consul_token_file.as_deref(), "CONSUL_HTTP_TOKEN").map_err(usage)?;
    let mut token = token.map(http::HeaderValue::try_from).transpose().context("read Consul's token")?;
    if let Some(token) = &mut token {
        token.set_sensitive(true);
    }
    let source = consul::Config {
        base: base.context("set up TLS to Consul").map_err(usage)?,
        token,
        node: args.node,
        only_passing: args.only_passing,
        hold: args.hold,
    };
    let refresh = Duration::from_secs(refresh.into());
    let expose = expose::Config {
        refresh,
        lease: Duration::from_secs(lease.into()),
        description: "diplonat".into(),
        private_ip: args.private_ip.and_then(|PrivateIp(address)| address),
        mappings: !args.ipv6_only,
        pinholes: true,
        public: None,
        inside: std::collections::BTreeSet::new(),
        stun: Vec::new(),
        unguarded: None,
        journal: None,
        leave: args.leave_mappings,
    };
    let (mode, chain) = (args.firewall.into(), "DIPLONAT".into());
    let firewall = firewall::Config { mode, chain, look_every: refresh, ..firewall::Config::default() };
    Ok((source, expose, firewall, names))
}

async fn serve(
    source: consul::Config,
    config: expose::Config,
    firewall: firewall::Config,
    guard: Option<Guard>,
    names: Option<Arc<dyn Provider>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (trigger, drain) = state::drain();
    let (said, wishes) = channel(Said::default());
    let (openings, doors) = channel(Openings::default());
    let (reports, reported) = channel(Report::default());
    let (status, _) = channel(expose::Status::default());
    tracing::info!(consul = %source.base, node = source.node, "following the services of a Consul node");
    let metrics = expose::Metrics::default();
    let https = expose::Https::nowhere();
    let inputs = expose::Inputs {
        doors: None,
        lookout: None,
        said: wishes,
        openings,
        firewall: reported,
        status,
        // This role answers no names.
        indoors: Arc::new(channel(Indoors::default()).0),
        names,
        https,
        metrics,
    };
    let follow = tokio::spawn(consul::run(source, said, drain.clone()));
    let consent = channel(firewall::Consent::default()).1;
    let guarded = firewall::Inputs { openings: doors, consent, listening: Vec::new(), reports };
    let guard = tokio::spawn(async move {
        match guard {
            Some(guard) => guard.run(firewall, guarded).await,
            None => firewall::run(firewall, guarded).await,
        }
    });
    let carry = tokio::spawn(expose::run(config, inputs, drain));
    loop {
        if let Word::Leave(signal) = signals.next().await {
            tracing::info!(signal, "closing what was opened");
            break;
        }
    }
    trigger.start();
    let ended = tokio::time::timeout(LEAVE, async {
        // In this order: the firewall goes when nobody publishes openings any more.
        let carried = carry.await;
        let guarded = guard.await;
        (carried, guarded, follow.await)
    });
    let (carried, guarded, followed) = ended.await.context("closing took too long")?;
    carried.and(guarded).and(followed).context("a part of the role failed")?;
    tracing::info!("stopped");
    Ok(())
}
