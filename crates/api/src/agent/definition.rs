//! From what a client sends to what the catalog keeps.

use std::sync::Arc;

use catalog::{
    Cadence, CheckDef, HttpProbe, InitialStatus, InstanceDef, InstanceRegistration, Kind, Lease, Locality,
    Probe, Register, Status, Weights,
};
use consul::TaggedAddresses;
use consul::register::{CheckRegistration, Connect, ServiceRegistration};

use crate::config::Config;
use crate::http::Failure;

/// An interval below the first is lengthened to the second, as Consul lengthens every one below a second.
const SHORTEST_INTERVAL_MS: (u64, u64) = (100, 1000);
/// Timeout of a probe that names none, in milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// The same for a command.
const COMMAND_TIMEOUT_MS: u64 = 30_000;

/// The command that a service registration asks for.
///
/// # Errors
/// 400 with the reason; 501 for what is Consul's and not here.
pub(crate) fn service(
    on: &Arc<str>,
    sent: ServiceRegistration,
    replace_checks: bool,
    config: &Config,
) -> Result<Register, Failure> {
    if sent.name.is_empty() {
        return Err(Failure::bad_request("Missing service name"));
    }
    refuse_absent(&sent)?;
    let id = if sent.id.is_empty() { sent.name.clone() } else { sent.id.clone() };
    let checks = service_checks(&sent, &id, config)?;
    let def = InstanceDef {
        id,
        service: sent.name,
        kind: kind_of(sent.connect.as_ref())?,
        tags: sent.tags,
        address: sent.address,
        port: sent.port,
        tagged_addresses: tagged(&sent.tagged_addresses),
        meta: sent.meta.into_iter().collect(),
        weights: weights(sent.weights)?,
        enable_tag_override: sent.enable_tag_override,
        lease: (!sent.lease.is_zero()).then(|| Lease { ttl_ms: sent.lease.as_ms() }),
        locality: locality(sent.locality),
    };
    let instance = Some(InstanceRegistration { def, replace_checks });
    Ok(Register { node: None, on: on.clone(), instance, checks })
}

/// A service that speaks the mesh's TLS itself has an authority for its certificates here; nobody runs sidecars.
pub(crate) fn kind_of(connect: Option<&Connect>) -> Result<Kind, Failure> {
    match connect {
        Some(Connect { sidecar_service: Some(_), .. }) => {
            Err(Failure::absent("sidecars of Consul's service mesh are"))
        }
        Some(Connect { native: true, .. }) => Ok(Kind::Native),
        _ => Ok(Kind::Service),
    }
}

fn refuse_absent(sent: &ServiceRegistration) -> Result<(), Failure> {
    if !sent.kind.is_empty() {
        return Err(Failure::absent(&format!("services of kind {:?} are", sent.kind)));
    }
    if !sent.socket_path.is_empty() {
        return Err(Failure::absent("services on a SocketPath are"));
    }
    for (name, value) in [("namespace", &sent.namespace), ("partition", &sent.partition)] {
        if !value.is_empty() && **value != *"default" {
            return Err(Failure::bad_request(format!("there is no {name} {value:?}, only \"default\"")));
        }
    }
    Ok(())
}

/// Checks of a service with Consul's default ids: `service:ID`, or `service:ID:1`, … when there are several.
fn service_checks(
    sent: &ServiceRegistration,
    id: &str,
    config: &Config,
) -> Result<Vec<catalog::CheckRegistration>, Failure> {
    // An empty object is no check.
    let nothing = CheckRegistration::default();
    let all: Vec<_> = sent.check.iter().chain(&sent.checks).filter(|check| **check != nothing).collect();
    let count = all.len();
    let define = |(number, sent_check): (usize, &CheckRegistration)| {
        let default_id = match count {
            1 => format!("service:{id}"),
            _ => format!("service:{id}:{}", number + 1),
        };
        let mut check = check(sent_check, config)?;
        if check.def.id.is_empty() {
            check.def.id = default_id.into();
        }
        if check.def.name.is_empty() {
            check.def.name = format!("Service '{}' check", sent.name).into();
        }
        check.def.service_id = id.into();
        Ok(check)
    };
    all.into_iter().enumerate().map(define).collect()
}

/// A check, with whatever id and name were given.
///
/// # Errors
/// 400 with the reason; 501 for probes that are not here.
pub(crate) fn check(
    sent: &CheckRegistration,
    config: &Config,
) -> Result<catalog::CheckRegistration, Failure> {
    let status = match &*sent.status {
        "" => Status::Critical,
        word => Status::parse(word)
            .ok_or_else(|| Failure::bad_request(format!("Invalid check status: '{word}'")))?,
    };
    let shortest_ms = u64::try_from(config.deregister_after_min.as_millis()).unwrap_or(u64::MAX);
    let after = sent.deregister_critical_service_after;
    let def = CheckDef {
        id: sent.any_id().clone(),
        name: sent.name.clone(),
        notes: sent.notes.clone(),
        service_id: sent.service_id.clone(),
        probe: probe(sent, config)?,
        deregister_after_ms: (!after.is_zero()).then(|| after.as_ms().max(shortest_ms)),
        success_before_passing: sent.success_before_passing,
        failures_before_warning: sent.failures_before_warning,
        failures_before_critical: sent.failures_before_critical,
        definition: None,
    };
    Ok(catalog::CheckRegistration { def, status: InitialStatus::Keep(status), output: "".into() })
}

fn probe(sent: &CheckRegistration, config: &Config) -> Result<Probe, Failure> {
    refuse_absent_probe(sent)?;
    let invalid = |why: &str| Err(Failure::bad_request(format!("Invalid check: {why}")));
    let given = [!sent.http.is_empty(), !sent.tcp.is_empty(), !sent.grpc.is_empty(), !sent.args.is_empty()];
    match (given.into_iter().filter(|given| *given).count(), sent.ttl.is_zero(), sent.interval.is_zero()) {
        (_, false, false) => invalid("Interval and TTL cannot both be specified"),
        (0, false, true) => Ok(Probe::Ttl { ttl_ms: sent.ttl.as_ms() }),
        (0, true, _) => invalid("TTL must be > 0 for TTL checks"),
        (1, false, _) => invalid("TTL cannot be specified with HTTP, TCP, GRPC or Args"),
        (1, true, true) => invalid("Interval must be > 0 for Script, HTTP, or TCP checks"),
        (1, true, false) => active_probe(sent, config),
        _ => invalid("only one of HTTP, TCP, GRPC and Args can be specified"),
    }
}

fn active_probe(sent: &CheckRegistration, config: &Config) -> Result<Probe, Failure> {
    let default_ms = if sent.args.is_empty() { DEFAULT_TIMEOUT_MS } else { COMMAND_TIMEOUT_MS };
    let timeout_ms = if sent.timeout.is_zero() { default_ms } else { sent.timeout.as_ms() };
    let (shortest, instead) = SHORTEST_INTERVAL_MS;
    let interval_ms = Some(sent.interval.as_ms()).filter(|ms| *ms >= shortest).unwrap_or(instead);
    let cadence = Cadence { interval_ms, timeout_ms };
    if !sent.http.is_empty() {
        return Ok(Probe::Http { http: Box::new(http_probe(sent)), cadence });
    }
    if !sent.tcp.is_empty() {
        return Ok(Probe::Tcp { address: sent.tcp.clone(), cadence });
    }
    if !sent.grpc.is_empty() {
        let (tls, tls_skip_verify) = (sent.grpc_use_tls, sent.tls_skip_verify);
        return Ok(Probe::Grpc { address: sent.grpc.clone(), tls, tls_skip_verify, cadence });
    }
    if !config.enable_script_checks {
        return Err(Failure::bad_request(
            "Scripts are disabled on this agent from remote calls; to enable, configure \
             'enable_script_checks' to true",
        ));
    }
    Ok(Probe::Command { args: sent.args.clone(), cadence })
}

fn http_probe(sent: &CheckRegistration) -> HttpProbe {
    HttpProbe {
        url: sent.http.clone(),
        method: sent.method.clone(),
        headers: sent.header.clone(),
        body: sent.body.clone(),
        body_match: sent.body_match.clone(),
        tls_skip_verify: sent.tls_skip_verify,
        tls_server_name: sent.tls_server_name.clone(),
    }
}

fn refuse_absent_probe(sent: &CheckRegistration) -> Result<(), Failure> {
    let absent = [
        ("UDP checks are", &sent.udp),
        ("H2PING checks are", &sent.h2_ping),
        ("checks of OSService are", &sent.os_service),
        ("checks in DockerContainerID are", &sent.docker_container_id),
        ("alias checks are", &sent.alias_node),
        ("alias checks are", &sent.alias_service),
        ("Script lines (use Args) are", &sent.script),
    ];
    match absent.into_iter().find(|(_, value)| !value.is_empty()) {
        Some((what, _)) => Err(Failure::absent(what)),
        None => Ok(()),
    }
}

/// Tagged addresses as the catalog keeps them.
pub(crate) fn tagged(sent: &TaggedAddresses) -> catalog::Labels {
    sent.iter().map(|(tag, at)| (tag.clone(), format!("{}:{}", at.address, at.port))).collect()
}

/// A place as the catalog keeps it; an empty one is none.
pub(crate) fn locality(sent: Option<consul::Locality>) -> Option<Box<Locality>> {
    let consul::Locality { region, zone } = sent?;
    (!region.is_empty() || !zone.is_empty()).then(|| Box::new(Locality { region, zone }))
}

/// Weights as the catalog keeps them.
///
/// # Errors
/// 400 when a passing instance would get nothing.
pub(crate) fn weights(sent: Option<consul::Weights>) -> Result<Weights, Failure> {
    let sent = sent.unwrap_or_default();
    if sent.passing == 0 {
        return Err(Failure::bad_request("Invalid Weights: Passing must be greater than 0"));
    }
    Ok(Weights { passing: sent.passing, warning: sent.warning })
}
