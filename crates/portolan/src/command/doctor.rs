//! `portolan doctor`: what keeps services of this host from being reached, found by looking, with what to do.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;

use consul::exposure::Exposures;
use expose::nat::{Observed, Verdict, judge};
use expose::router::{Everywhere, Gateway, Search as _};
use expose::stun;
use hostnet::firewall;
use serde::Serialize;

use super::sources::SourceArgs;
use crate::cli::Global;
use crate::config::{Config, load};
use crate::exit::{Exit, Result};
use crate::output::Row;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: SourceArgs,
    /// STUN server to ask what the world sees, beside those of the configuration. Give it again for more
    #[arg(long, value_name = "HOST:PORT")]
    stun: Vec<String>,
}

/// How a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Weight {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    check: &'static str,
    weight: Weight,
    found: String,
    hint: String,
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["check", "", "found"];
    fn cells(&self) -> Vec<String> {
        let weight = match self.weight {
            Weight::Good => "good",
            Weight::Warning => "warning",
            Weight::Bad => "bad",
        };
        let hint = if self.hint.is_empty() { String::new() } else { format!(" -> {}", self.hint) };
        vec![self.check.to_owned(), weight.to_owned(), format!("{}{hint}", self.found)]
    }
}

fn good(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, weight: Weight::Good, found: found.into(), hint: String::new() }
}

fn warning(check: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { check, weight: Weight::Warning, found: found.into(), hint: hint.into() }
}

fn bad(check: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { check, weight: Weight::Bad, found: found.into(), hint: hint.into() }
}

/// Ends with 0 when all is well, 6 with warnings, 1 when something is bad.
pub(crate) fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let config = load(&args.sources.sources()?)?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(anyhow::Error::from)?;
    let findings = runtime.block_on(look(&config, &args.stun, global));
    runtime.shutdown_background();
    global.out().list(&findings).map_err(anyhow::Error::from)?;
    let worst = |weight| findings.iter().any(|finding| finding.weight == weight);
    Ok(match (worst(Weight::Bad), worst(Weight::Warning)) {
        (true, _) => ExitCode::from(Exit::Failure as u8),
        (false, true) => ExitCode::from(Exit::Partial as u8),
        (false, false) => ExitCode::SUCCESS,
    })
}

async fn look(config: &Config, stun: &[String], global: &Global) -> Vec<Finding> {
    let mut findings = rights();
    findings.push(shut(&config.firewall).await);
    let servers = [&config.exposure.stun, stun].concat();
    findings.extend(outward(config, &servers).await);
    let (daemon, node) = daemon(global).await;
    findings.extend(daemon);
    findings.extend(node.map(|node| resolver(&node)));
    findings
}

fn rights() -> Vec<Finding> {
    let network = if sys::privilege::may_change_network() {
        good("rights", "may change the firewall (CAP_NET_ADMIN)")
    } else {
        let hint = "AmbientCapabilities=CAP_NET_ADMIN in the daemon's unit, or open ports by hand";
        warning("rights", "may not look at the firewall or change it", hint)
    };
    let ports = if sys::privilege::may_take_low_ports() {
        good("rights", "may listen on ports under 1024 (CAP_NET_BIND_SERVICE)")
    } else {
        let hint = "expose a higher port inside, like 443:8443/tcp, or give CAP_NET_BIND_SERVICE";
        warning("rights", "may not listen on ports under 1024", hint)
    };
    vec![network, ports]
}

async fn shut(config: &firewall::Config) -> Finding {
    if config.mode == firewall::Mode::Off {
        return warning("firewall", "firewall.mode is off", "open the ports by hand");
    }
    match firewall::blockers(config).await {
        Ok(chains) if chains.is_empty() => good("firewall", "nothing blocks what comes in"),
        Ok(chains) => good("firewall", format!("ports are opened in {}", chains.join(", "))),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            warning("firewall", format!("{error}{cause}"), "run this as root, or set firewall.mode = \"off\"")
        }
    }
}

/// The router, and what stands behind it.
async fn outward(config: &Config, servers: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let gateways = sys::host::gateways().unwrap_or_default();
    let v4 = gateways.iter().filter(|gateway| gateway.address.is_ipv4());
    let v4: Vec<String> = v4.map(|gateway| gateway.address.to_string()).collect();
    findings.push(match v4.is_empty() {
        true => bad("route", "there is no default route of IPv4", "connect this host to a network"),
        false => good("route", format!("the default route leads to {}", v4.join(", or else to "))),
    });
    let own_public = expose::direct();
    let is_asked = config.exposure.mappings && own_public.is_none();
    let found = match is_asked {
        true => Everywhere::V4(config.exposure.private_address).search().await,
        false => Vec::new(),
    };
    findings.push(match (found.first(), own_public) {
        (_, Some(own)) => good("router", format!("none is needed: {own} is this host's own and public")),
        (None, None) if !is_asked => good("router", "none is asked: exposure.mappings is false"),
        (Some(_), None) => {
            let names: Vec<&str> = found.iter().map(|gateway| gateway.name()).collect();
            good("router", names.join(", "))
        }
        (None, None) => bad(
            "router",
            "no router answers to UPnP, PCP or NAT-PMP",
            "switch one of them on there; or forward the ports by hand and set exposure.mappings = false",
        ),
    });
    let (router, told) = public_address(&found).await;
    findings.extend(told);
    let own = found.first().map(|gateway| gateway.client());
    let towards = gateways.iter().find(|gateway| gateway.address.is_ipv4()).map(|gateway| gateway.address);
    let own = own_public.map(IpAddr::from).or(own).or_else(|| sys::host::local_address(towards?).ok());
    findings.extend(verdict(config, own, router, servers).await);
    findings
}

async fn public_address(found: &[Arc<dyn Gateway>]) -> (Option<IpAddr>, Vec<Finding>) {
    let mut findings = Vec::new();
    for gateway in found {
        match gateway.public_address().await {
            Ok(address) => return (Some(address), findings),
            Err(error) => findings.push(warning(
                "address",
                format!("{} does not tell its address: {error}", gateway.name()),
                "look whether the router is connected to its provider",
            )),
        }
    }
    (None, findings)
}

async fn verdict(
    config: &Config,
    own: Option<IpAddr>,
    router: Option<IpAddr>,
    servers: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    if let Some(own) = own.filter(|_| !servers.is_empty()) {
        for answer in stun::ask(own, servers).await {
            match answer.address {
                Ok(address) => {
                    findings.push(good("outside", format!("{} sees {}", answer.server, address.ip())));
                    if !seen.contains(&address.ip()) {
                        seen.push(address.ip());
                    }
                }
                Err(why) => findings.push(warning("outside", why, "choose another STUN server")),
            }
        }
    }
    let verdict = judge(&Observed { own, router, seen });
    let is_overridden = config.exposure.public_address.is_some();
    findings.push(match &verdict {
        _ if verdict.is_reachable() => good("nat", verdict.to_string()),
        _ if is_overridden => {
            let said = config.exposure.public_address.map(|address| address.to_string()).unwrap_or_default();
            good("nat", format!("{verdict}; but exposure.public_address says {said}"))
        }
        Verdict::Several(_) | Verdict::Silent { .. } => warning("nat", verdict.to_string(), verdict.hint()),
        _ => bad("nat", verdict.to_string(), verdict.hint()),
    });
    findings
}

/// The daemon of this host with what it exposes; its node's name.
async fn daemon(global: &Global) -> (Vec<Finding>, Option<String>) {
    let shown = match Remote::new(global) {
        Ok(remote) => remote.get::<Exposures>("/v1/portolan/exposures").await,
        Err(failure) => Err(failure),
    };
    let shown = match shown {
        Ok(shown) => shown.value,
        Err(failure) => {
            return (vec![warning("daemon", failure.cause.to_string(), "start it: portolan serve")], None);
        }
    };
    let mut findings = vec![if shown.enabled {
        good("daemon", format!("node {} carries exposures out", shown.node))
    } else {
        let found = format!("node {} carries no exposures out", shown.node);
        warning("daemon", found, "set [exposure] enabled = true")
    }];
    let broken = shown.chains.iter().flat_map(|chain| chain.links.iter().map(move |link| (chain, link)));
    for (chain, link) in broken.filter(|(_, link)| &*link.state == "broken") {
        let found = format!("{} {}: {}: {}", chain.service, chain.port, link.link, link.detail);
        findings.push(bad("exposure", found, "portolan exposures shows the whole chain"));
    }
    if !shown.trouble.is_empty() {
        findings.push(warning("source", shown.trouble.to_string(), "its last wishes are held"));
    }
    (findings, Some(shown.node.to_string()))
}

/// Whether names of ours are known to every program of this host.
fn resolver(node: &str) -> Finding {
    let name = format!("{node}.node.consul");
    match (name.as_str(), 0).to_socket_addrs() {
        Ok(_) => good("resolver", format!("programs of this host find {name}")),
        Err(cause) => warning(
            "resolver",
            format!("programs of this host do not find {name} ({cause})"),
            "lead names to the daemon: portolan dns setup --print",
        ),
    }
}
