//! Consul's settings as ours. What Consul knows and we do not is listed, and keeps nobody from starting.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use crate::config::Flag;

/// What an agent was told, translated.
#[derive(Default)]
pub(super) struct Agent {
    /// Settings of ours.
    pub(super) settings: Vec<Flag>,
    /// Keeps everything in memory.
    pub(super) dev: bool,
    /// Where everything durable is kept.
    pub(super) data_dir: Option<String>,
    /// File for the process id.
    pub(super) pid_file: Option<String>,
    /// Secrets that access control lists begin with.
    pub(super) secrets: Secrets,
    /// Labels of the node.
    pub(super) node_meta: BTreeMap<String, String>,
    /// Id of the node.
    pub(super) node_id: Option<String>,
    /// Whether services are to have certificates; unset, a `-dev` agent's are.
    pub(super) connect: Option<bool>,
    /// What their trust domain is called.
    pub(super) cluster_id: Option<String>,
    /// Keys that nothing here reads.
    pub(super) unused: Vec<String>,
}

/// Tokens in `acl.tokens`. No settings of ours, because settings are shown.
#[derive(Default)]
pub(super) struct Secrets {
    /// May do everything.
    pub(super) management: Option<String>,
    /// Registers what stands in files.
    pub(super) registration: Option<String>,
    /// Counts for requests that show none.
    pub(super) default: Option<String>,
}

/// Keys whose meaning here is what we do anyway, or that ask for nothing that a client could notice.
const MOOT: &[&str] = &[
    "autopilot",
    "bind_addr",
    "bootstrap",
    "bootstrap_expect",
    "check",
    "checks",
    "disable_anonymous_signature",
    "disable_host_node_id",
    "disable_keyring_file",
    "disable_remote_exec",
    "disable_update_check",
    "enable_debug",
    "experiments",
    "gossip_lan",
    "gossip_wan",
    "leave_on_terminate",
    "limits",
    "log_rotate_bytes",
    "log_rotate_duration",
    "log_rotate_max_files",
    "peering",
    "performance",
    "primary_datacenter",
    "protocol",
    "raft_protocol",
    "raft_snapshot_interval",
    "raft_snapshot_threshold",
    "raft_trailing_logs",
    "reconnect_timeout",
    "rejoin_after_leave",
    "rpc",
    "server",
    "service",
    "services",
    "session_ttl_min",
    "skip_leave_on_interrupt",
    "telemetry",
    "ui",
    "ui_config",
    "ui_content_path",
    "ui_dir",
    "use_streaming_backend",
];

/// Translates.
///
/// # Errors
/// A value that cannot be meant.
pub(super) fn translate(told: &Map<String, Value>) -> Result<Agent> {
    let mut agent = Agent::default();
    listeners(told, &mut agent)?;
    for (key, value) in told {
        one(key, value, &mut agent).with_context(|| format!("read `{key}`"))?;
    }
    // Consul opens no proxies.
    agent.put("proxy", "proxy.named", "");
    agent.put("proxy", "proxy.http.listen", "");
    Ok(agent)
}

impl Agent {
    fn put(&mut self, name: &str, key: &str, value: impl Into<String>) {
        self.settings.push(Flag { name: format!("Consul's {name}"), key: key.into(), value: value.into() });
    }
}

fn one(key: &str, value: &Value, agent: &mut Agent) -> Result<()> {
    match key {
        "node_name" | "node" => agent.put(key, "node.name", text(value)?),
        "datacenter" => agent.put(key, "node.datacenter", text(value)?.to_ascii_lowercase()),
        "advertise_addr" => agent.put(key, "node.address", text(value)?),
        "data_dir" => agent.data_dir = Some(text(value)?).filter(|dir| !dir.is_empty()),
        "dev_mode" => agent.dev = truth(value)?,
        "pid_file" => agent.pid_file = Some(text(value)?).filter(|file| !file.is_empty()),
        "log_level" => agent.put(key, "logging.level", level(&text(value)?)?),
        "log_json" => {
            if truth(value)? {
                agent.put(key, "logging.format", "json");
            }
        }
        "domain" => agent.put(key, "dns.consul.domain", text(value)?.trim_end_matches('.').to_owned()),
        "enable_script_checks" | "enable_local_script_checks" => {
            if truth(value)? {
                agent.put(key, "health.commands", "true");
            }
        }
        "check_update_interval" => agent.put(key, "health.output_interval", text(value)?),
        "node_id" => agent.node_id = Some(text(value)?).filter(|id| !id.is_empty()),
        "node_meta" => {
            let Value::Object(labels) = value else { bail!("it is no object") };
            for (name, value) in labels {
                agent.node_meta.insert(name.clone(), text(value)?);
            }
        }
        "acl" => acl(value, agent)?,
        "connect" => {
            let Value::Object(settings) = value else { bail!("it is no object") };
            agent.connect = settings.get("enabled").map(truth).transpose()?;
            let id = settings.get("ca_config").and_then(|config| config.get("cluster_id"));
            agent.cluster_id = id.map(text).transpose()?.filter(|id| !id.is_empty());
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if agent.cluster_id.as_ref().is_some_and(|id| !id.chars().all(is_plain)) {
                bail!("`ca_config.cluster_id` has letters, digits and hyphens only");
            }
        }
        "dns_config" => dns(value, agent)?,
        "recursors" => {
            let servers: Result<Vec<_>> = super::files::as_list(value.clone()).iter().map(server).collect();
            let servers = servers?.join(", ");
            if !servers.is_empty() {
                agent.put(key, "dns.forward.enabled", "true");
                agent.put(key, "dns.forward.to", servers);
            }
        }
        "addresses" | "client_addr" | "ports" => {}
        key if MOOT.contains(&key) => {}
        key => agent.unused.push(key.to_owned()),
    }
    Ok(())
}

/// Where the API and DNS listen: an address, a list of them between spaces, and a port each.
fn listeners(told: &Map<String, Value>, agent: &mut Agent) -> Result<()> {
    let default = told.get("client_addr").map(text).transpose()?.filter(|text| !text.is_empty());
    let default = default.unwrap_or_else(|| "127.0.0.1".to_owned());
    let mut is_wide = false;
    for (what, port, ours) in [("http", 8500, "api.listen"), ("dns", 8600, "dns.listen")] {
        let port = match told.get("ports").and_then(|ports| ports.get(what)) {
            Some(port) => port.as_i64().with_context(|| format!("read `ports.{what}`: it is no number"))?,
            None => port,
        };
        let addresses = told.get("addresses").and_then(|addresses| addresses.get(what));
        let addresses = addresses.map(text).transpose()?.unwrap_or_else(|| default.clone());
        let mut sockets = Vec::new();
        for address in addresses.split_whitespace().filter(|_| port >= 0) {
            if let Some(path) = address.strip_prefix("unix://") {
                agent.put("addresses", "api.socket", path);
                continue;
            }
            let ip: IpAddr = match address {
                "localhost" => IpAddr::from([127, 0, 0, 1]),
                address => address.parse().with_context(|| format!("read the address {address:?}"))?,
            };
            is_wide |= !ip.is_loopback();
            let port =
                u16::try_from(port).with_context(|| format!("read `ports.{what}`: {port} is no port"))?;
            sockets.push(SocketAddr::new(ip, port).to_string());
        }
        agent.put(what, ours, sockets.join(", "));
    }
    if is_wide {
        // Whoever names such an address for clients has said so in words: Consul's.
        agent.put("client_addr", "node.open_beyond_loopback", "true");
    }
    Ok(())
}

fn dns(value: &Value, agent: &mut Agent) -> Result<()> {
    let Value::Object(settings) = value else { bail!("it is no object") };
    for (key, value) in settings {
        let name = format!("dns_config.{key}");
        match key.as_str() {
            "only_passing" => agent.put(&name, "dns.consul.only_passing", truth(value)?.to_string()),
            "udp_answer_limit" => agent.put(&name, "dns.consul.udp_answers", value.to_string()),
            "node_ttl" => {}
            "service_ttl" => match value.get("*") {
                Some(ttl) => agent.put(&name, "dns.consul.ttl", text(ttl)?),
                None => agent.unused.push(name),
            },
            "soa" => match value.get("min_ttl").and_then(Value::as_u64) {
                Some(seconds) => agent.put(&name, "dns.consul.negative_ttl", format!("{seconds}s")),
                None => agent.unused.push(name),
            },
            // Truncated answers always say so here, names are answered in any case, and nothing is stale by choice.
            "enable_truncate"
            | "disable_compression"
            | "allow_stale"
            | "max_stale"
            | "use_cache"
            | "cache_max_age"
            | "enable_additional_node_meta_txt" => {}
            _ => agent.unused.push(name),
        }
    }
    Ok(())
}

fn acl(value: &Value, agent: &mut Agent) -> Result<()> {
    let Value::Object(settings) = value else { bail!("it is no object") };
    let is_on = settings.get("enabled").map(truth).transpose()?.unwrap_or(false);
    agent.put("acl.enabled", "acl.enabled", is_on.to_string());
    // Consul allows what no rule speaks of, unless it is told otherwise.
    let policy = settings.get("default_policy").map(text).transpose()?.unwrap_or_else(|| "allow".into());
    agent.put("acl.default_policy", "acl.default_policy", policy);
    for (key, value) in settings {
        match key.as_str() {
            "enabled" | "default_policy" => {}
            "tokens" => tokens(value, agent)?,
            // Nothing is asked of another datacenter, and rights are never older than the agreed order.
            "down_policy"
            | "policy_ttl"
            | "token_ttl"
            | "role_ttl"
            | "enable_key_list_policy"
            | "enable_token_replication"
            | "enable_token_persistence" => {}
            _ => agent.unused.push(format!("acl.{key}")),
        }
    }
    Ok(())
}

fn tokens(value: &Value, agent: &mut Agent) -> Result<()> {
    let Value::Object(tokens) = value else { bail!("`tokens` is no object") };
    for (key, value) in tokens {
        let secret = || text(value).map(|secret| Some(secret).filter(|secret| !secret.is_empty()));
        match key.as_str() {
            "initial_management" | "master" => agent.secrets.management = secret()?,
            "config_file_service_registration" => agent.secrets.registration = secret()?,
            "default" => agent.secrets.default = secret()?,
            // What the agent does itself it may do here by being a member.
            "agent" | "agent_recovery" | "agent_master" | "replication" => {}
            _ => agent.unused.push(format!("acl.tokens.{key}")),
        }
    }
    Ok(())
}

/// Consul's words for levels.
fn level(text: &str) -> Result<&'static str> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "info" | "notice" => "info",
        "warn" | "warning" => "warn",
        "err" | "error" => "error",
        other => bail!("there is no level {other:?}"),
    })
}

fn server(value: &Value) -> Result<String> {
    let text = text(value)?;
    match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(address), _) => Ok(address.to_string()),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, 53).to_string()),
        _ => bail!("{text:?} is no address of a name server"),
    }
}

fn text(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => bail!("it is no text"),
    }
}

fn truth(value: &Value) -> Result<bool> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" || text == "1" => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        _ => bail!("it is neither true nor false"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(told: &Value) -> (Vec<String>, Vec<String>) {
        let agent = translate(told.as_object().unwrap()).unwrap();
        (
            agent.settings.into_iter().map(|flag| format!("{}={}", flag.key, flag.value)).collect(),
            agent.unused,
        )
    }

    #[test]
    fn an_agents_settings_are_ours() {
        let (ours, unused) = settings(&json!({
            "client_addr": "127.0.0.1 10.0.0.1", "ports": { "http": 18500, "dns": -1, "serf_lan": 8301 },
            "node_name": "n", "log_level": "WARN", "dns_config": { "service_ttl": { "*": "5s" }, "only_passing": true },
            "recursors": ["1.1.1.1"], "retry_join": ["10.0.0.2"], "server": true, "services": [],
        }));
        for wanted in [
            "api.listen=127.0.0.1:18500, 10.0.0.1:18500",
            "dns.listen=",
            "node.open_beyond_loopback=true",
            "node.name=n",
            "logging.level=warn",
            "dns.consul.ttl=5s",
            "dns.consul.only_passing=true",
            "dns.forward.to=1.1.1.1:53",
            "proxy.named=",
        ] {
            assert!(ours.iter().any(|line| line == wanted), "{wanted} is not in {ours:?}");
        }
        assert_eq!(unused, ["retry_join"], "listed, and nothing else");
    }

    #[test]
    fn access_control_lists_begin_as_consuls_do() {
        let told = json!({ "acl": {
            "enabled": true, "tokens": { "initial_management": "m", "default": "d", "agent": "a", "dns": "x" },
        } });
        let (ours, unused) = settings(&told);
        for wanted in ["acl.enabled=true", "acl.default_policy=allow"] {
            assert!(ours.iter().any(|line| line == wanted), "{wanted} is not in {ours:?}");
        }
        assert!(!ours.iter().any(|line| line.ends_with("=m")), "settings are shown, and secrets are not");
        assert_eq!(unused, ["acl.tokens.dns"]);
        let secrets = translate(told.as_object().unwrap()).unwrap().secrets;
        assert_eq!((secrets.management.as_deref(), secrets.default.as_deref()), (Some("m"), Some("d")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            json!({ "acl": true }),
            json!({ "acl": { "enabled": "perhaps" } }),
            json!({ "acl": { "tokens": { "default": [] } } }),
            json!({ "client_addr": "nonsense" }),
            json!({ "ports": { "http": 70_000 } }),
            json!({ "log_level": "loud" }),
            json!({ "enable_script_checks": 3 }),
            json!({ "node_name": [] }),
            json!({ "connect": { "ca_config": { "cluster_id": "../x" } } }),
        ] {
            assert!(translate(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
