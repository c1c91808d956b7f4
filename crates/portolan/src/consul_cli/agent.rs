//! `consul agent`, `portolan consul-agent`, `consul validate`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};

use super::definitions::{self, Definitions};
use super::files;
use super::flags::Flags;
use super::settings::{self, Agent};
use crate::cli::Global;
use crate::command::daemon::{self, Daemon};
use crate::compose::Memory;
use crate::config::{Config, Sources, load};
use crate::exit::{Exit, Failure, Result};

/// Flags with a value, and the key of Consul's files that each stands for. A key with a dot is one in an object.
const VALUES: &[(&str, &str)] = &[
    ("advertise", "advertise_addr"),
    ("advertise-wan", "advertise_addr_wan"),
    ("alt-domain", "alt_domain"),
    ("bind", "bind_addr"),
    ("bootstrap-expect", "bootstrap_expect"),
    ("client", "client_addr"),
    ("data-dir", "data_dir"),
    ("datacenter", "datacenter"),
    ("dns-port", "ports.dns"),
    ("domain", "domain"),
    ("encrypt", "encrypt"),
    ("grpc-port", "ports.grpc"),
    ("grpc-tls-port", "ports.grpc_tls"),
    ("http-port", "ports.http"),
    ("https-port", "ports.https"),
    ("join", "start_join"),
    ("join-wan", "start_join_wan"),
    ("log-file", "log_file"),
    ("log-level", "log_level"),
    ("node", "node_name"),
    ("node-id", "node_id"),
    ("node-meta", "node_meta"),
    ("pid-file", "pid_file"),
    ("protocol", "protocol"),
    ("raft-protocol", "raft_protocol"),
    ("recursor", "recursors"),
    ("retry-interval", "retry_interval"),
    ("retry-join", "retry_join"),
    ("retry-join-wan", "retry_join_wan"),
    ("retry-max", "retry_max"),
    ("segment", "segment"),
    ("serf-lan-bind", "serf_lan"),
    ("serf-lan-port", "ports.serf_lan"),
    ("serf-wan-bind", "serf_wan"),
    ("serf-wan-port", "ports.serf_wan"),
    ("server-port", "ports.server"),
    ("ui-content-path", "ui_content_path"),
    ("ui-dir", "ui_dir"),
    ("log-rotate-bytes", "log_rotate_bytes"),
    ("log-rotate-duration", "log_rotate_duration"),
    ("log-rotate-max-files", "log_rotate_max_files"),
    ("default-query-time", "default_query_time"),
    ("max-query-time", "max_query_time"),
];
/// Flags without one.
const SWITCHES: &[(&str, &str)] = &[
    ("bootstrap", "bootstrap"),
    ("dev", "dev_mode"),
    ("disable-host-node-id", "disable_host_node_id"),
    ("disable-keyring-file", "disable_keyring_file"),
    ("enable-local-script-checks", "enable_local_script_checks"),
    ("enable-script-checks", "enable_script_checks"),
    ("log-json", "log_json"),
    ("rejoin", "rejoin_after_leave"),
    ("server", "server"),
    ("syslog", "enable_syslog"),
    ("ui", "ui"),
    ("allow-write-http-from", "allow_write_http_from"),
];
/// Flags that say where files are.
const FILES: &[&str] = &["config-file", "config-dir", "config-format", "hcl"];

pub(super) fn run(arguments: &[&str], global: &Global) -> Result {
    let Told { told, paths, format } = told(arguments)?;
    let agent = settings::translate(&told).map_err(usage)?;
    definitions::in_files(&told).map_err(usage)?;
    let memory = memory(&agent)?;
    let mut defaults = Config::default();
    if let Memory::Durable(dir) = &memory {
        defaults.node.data_dir = dir.clone();
    }
    let env = std::env::vars_os();
    let env = env.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut flags = agent.settings;
    if let Memory::Durable(dir) = &memory {
        let (name, key) = ("Consul's data_dir".into(), "node.data_dir".into());
        flags.push(crate::config::Flag { name, key, value: dir.display().to_string() });
    }
    let sources = Sources { file: None, env: env.collect(), flags };
    let mut loaded = load(&sources)?;
    let token = agent.secrets.registration.or_else(|| agent.secrets.management.clone());
    loaded.config.acl.initial_management = agent.secrets.management;
    loaded.config.api.default_token = agent.secrets.default.map(|secret| acl::hash(&secret));
    loaded.config.node.meta = agent.node_meta;
    // What Consul's newer clients look for.
    loaded.config.node.meta.insert("consul-version".into(), api::CONSUL_VERSION.into());
    let domain = agent.cluster_id.or_else(|| agent.node_id.clone()).unwrap_or_else(|| "alone".into());
    let has_authority = agent.connect.unwrap_or(agent.dev);
    loaded.config.node.authority = has_authority.then(|| format!("{}.consul", domain.to_ascii_lowercase()));
    loaded.config.node.id = agent.node_id;
    let pid_file = agent.pid_file.map(PidFile::write).transpose()?;
    let notes = match agent.unused.is_empty() {
        true => Vec::new(),
        false => vec![format!("nothing here reads these of Consul's settings: {}", agent.unused.join(", "))],
    };
    let definitions = Some(Definitions::new(paths, format, definitions::itself(&loaded.config), token));
    let ended =
        daemon::run(Daemon { sources, defaults, loaded, memory, greet: None, notes, definitions }, global);
    drop(pid_file);
    ended
}

/// `consul validate`: files are read as an agent would read them.
pub(super) fn validate(arguments: &[&str]) -> Result {
    let flags = Flags::read(arguments, &["config-format"], &["quiet"]).map_err(usage)?;
    let paths: Vec<PathBuf> = flags.rest.iter().map(PathBuf::from).collect();
    if paths.is_empty() {
        return Err(usage(anyhow!("name a file or a folder")));
    }
    let told = files::read(&paths, flags.last("config-format")).map_err(usage)?;
    let agent = settings::translate(&told).map_err(usage)?;
    definitions::in_files(&told).map_err(usage)?;
    if !flags.is_on("quiet") {
        println!("Configuration is valid!");
        agent.unused.iter().for_each(|key| println!("(nothing here reads `{key}`)"));
    }
    Ok(())
}

/// Everything that an agent was told, by files and by flags.
struct Told {
    told: Map<String, Value>,
    paths: Vec<PathBuf>,
    format: Option<String>,
}

fn told(arguments: &[&str]) -> Result<Told> {
    let values: Vec<&str> = VALUES.iter().map(|(flag, _)| *flag).chain(FILES.iter().copied()).collect();
    let switches: Vec<&str> = SWITCHES.iter().map(|(flag, _)| *flag).collect();
    let flags = Flags::read(arguments, &values, &switches).map_err(usage)?;
    if let Some(word) = flags.rest.first() {
        return Err(usage(anyhow!("unexpected extra argument: {word}")));
    }
    let paths = flags.iter().filter(|(flag, _)| matches!(*flag, "config-file" | "config-dir"));
    let paths: Vec<PathBuf> = paths.map(|(_, path)| path.into()).collect();
    let format = flags.last("config-format").map(str::to_owned);
    let mut told = files::read(&paths, format.as_deref()).map_err(usage)?;
    for (flag, value) in flags.iter() {
        let known = VALUES.iter().chain(SWITCHES).find(|(name, _)| *name == flag);
        let Some((_, key)) = known else { continue };
        files::merge(&mut told, said(key, value, SWITCHES.iter().any(|(name, _)| *name == flag)));
    }
    Ok(Told { told, paths, format })
}

/// A flag as a file would say it.
fn said(key: &str, value: &str, is_switch: bool) -> Map<String, Value> {
    let value = match (is_switch, key) {
        (true, _) => json!(matches!(value, "true" | "1" | "t")),
        (_, key) if key.starts_with("ports.") => {
            value.parse::<i64>().map_or(json!(value), |port| json!(port))
        }
        (_, "recursors" | "retry_join" | "start_join") => json!([value]),
        (_, "node_meta") => {
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            json!({ name: value })
        }
        _ => json!(value),
    };
    let (outer, value) = match key.split_once('.') {
        Some((outer, inner)) => (outer, json!({ inner: value })),
        None => (key, value),
    };
    Map::from_iter([(outer.to_owned(), value)])
}

/// As Consul: in memory with `-dev`, else in the folder that must be named.
fn memory(agent: &Agent) -> Result<Memory> {
    match (&agent.data_dir, agent.dev) {
        (_, true) => Ok(Memory::Volatile),
        (Some(dir), false) => Ok(Memory::Durable(dir.into())),
        (None, false) => Err(usage(anyhow!("data_dir cannot be empty"))
            .advise("name a folder with -data-dir, or keep everything in memory with -dev")),
    }
}

/// A file with this process's id, while it runs.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: String) -> Result<PidFile> {
        let pid = format!("{}\n", std::process::id());
        std::fs::write(&path, pid).with_context(|| format!("write this process's id to {path}"))?;
        Ok(PidFile(path.into()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone already; who reads it finds no such process then.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn usage(cause: anyhow::Error) -> Failure {
    Failure::new(Exit::Usage, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_files_would() {
        let told = told(&[
            "-dev",
            "-http-port=1234",
            "-retry-join",
            "a",
            "-retry-join",
            "b",
            "-node-meta=rack:r1",
            "-server=false",
        ]);
        let wanted = json!({
            "dev_mode": true, "ports": { "http": 1234 }, "retry_join": ["a", "b"], "node_meta": { "rack": "r1" },
            "server": false,
        });
        assert_eq!(Value::Object(told.unwrap().told), wanted);
    }
}
