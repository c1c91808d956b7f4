//! Registrator's `CHECK_…` keys. Each probes the very port that it is said of: a label leads to no other place.

use std::collections::BTreeMap;
use std::time::Duration;

use consul::register::CheckRegistration;
use consul::{GoDuration, Text};

use super::Port;

/// Between two probes when nothing is said (registrator's).
const INTERVAL: Duration = Duration::from_secs(10);

/// The checks that are asked for, and sentences about those that are not made.
pub(super) fn read(keys: &BTreeMap<&str, &str>, port: &Port) -> (Vec<CheckRegistration>, Vec<String>) {
    let mut misread = Vec::new();
    for key in ["check_script", "check_cmd"] {
        if keys.contains_key(key) {
            misread.push(format!(
                "{} is not done: a label runs no command on this host; use CHECK_HTTP, CHECK_TCP or CHECK_GRPC",
                key.to_uppercase()
            ));
        }
    }
    let Some(mut check) = probe(keys, port) else { return (Vec::new(), misread) };
    let mut duration =
        |key: &str, otherwise: Duration| match keys.get(key).map(|text| GoDuration::parse(text)) {
            None => GoDuration(otherwise),
            Some(Ok(read)) => read,
            Some(Err(cause)) => {
                misread.push(format!("{}: {cause}", key.to_uppercase()));
                GoDuration(otherwise)
            }
        };
    check.ttl = duration("check_ttl", Duration::ZERO);
    let is_probe = !(check.http.is_empty() && check.tcp.is_empty() && check.grpc.is_empty());
    if is_probe {
        check.ttl = GoDuration(Duration::ZERO);
        check.interval = duration("check_interval", INTERVAL);
    }
    check.timeout = duration("check_timeout", Duration::ZERO);
    check.deregister_critical_service_after = duration("check_deregister_after", Duration::ZERO);
    check.status = text(keys, "check_initial_status");
    let is_any = is_probe || !check.ttl.is_zero();
    (is_any.then_some(check).into_iter().collect(), misread)
}

/// What is probed, or an empty check where reports are waited for; none when nothing is asked for.
fn probe(keys: &BTreeMap<&str, &str>, port: &Port) -> Option<CheckRegistration> {
    let at = match port.address {
        Some(address) => std::net::SocketAddr::new(address, port.port).to_string(),
        None => format!("127.0.0.1:{}", port.port),
    };
    let url = |scheme: &str, path: &str| {
        let slash = if path.starts_with('/') { "" } else { "/" };
        Text::from(format!("{scheme}://{at}{slash}{path}"))
    };
    let mut check = CheckRegistration::default();
    if let Some(path) = keys.get("check_http") {
        check.http = url("http", path);
        check.method = text(keys, "check_http_method");
    } else if let Some(path) = keys.get("check_https") {
        check.http = url("https", path);
        check.method = text(keys, "check_https_method");
    } else if keys.get("check_tcp").is_some_and(|value| *value == "true") {
        check.tcp = at.into();
    } else if keys.get("check_grpc").is_some_and(|value| *value == "true") {
        check.grpc = at.into();
        check.grpc_use_tls = keys.get("check_grpc_use_tls").is_some_and(|value| *value == "true");
    } else {
        keys.get("check_ttl")?;
    }
    Some(check)
}

fn text(keys: &BTreeMap<&str, &str>, key: &str) -> Text {
    keys.get(key).copied().unwrap_or_default().into()
}
