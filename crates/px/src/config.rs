//! The file that a px node is started with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::json::without_comments;

/// Longest wait between two tries, unless `retry_delay` itself is longer.
const RETRY_CAP: Duration = Duration::from_secs(30);
/// Largest file that is read.
const LONGEST: usize = 1 << 20;

/// What a px file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This node's name, one of those in its certificate.
    pub id: String,
    /// Where it listens: `ip:port` or `host:port`.
    pub address: String,
    /// Certificate chain, PEM.
    pub cert_path: PathBuf,
    /// Private key, PEM.
    pub key_path: PathBuf,
    /// Roots that the others' certificates lead to, PEM.
    pub ca_cert_path: PathBuf,
    /// Wait before the second try at a peer; it doubles with each one, up to [`Config::retry_cap`].
    pub retry_delay: Duration,
    /// The other nodes.
    pub servers: Vec<Server>,
    /// Also listen to those who show no certificate. They may be anybody. Not in px's own files.
    pub allow_without_certificate: bool,
    /// A named pipe whose lines are proposals. Not in px's own files.
    pub pipe: Option<PathBuf>,
    /// How much of the order this node keeps. Not in px's own files.
    pub retention: Retention,
}

/// How much is kept: the oldest line goes while any of the bounds is passed. Zero is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Most lines.
    pub max_count: u64,
    /// Most bytes of lines together; the newest stays whatever its size.
    pub max_bytes: u64,
    /// Oldest line, before the newest, in seconds.
    #[serde(rename = "max_age_s", deserialize_with = "seconds")]
    pub max_age: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { max_count: 100_000, max_bytes: 16 << 20, max_age: Duration::ZERO }
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name in its certificate.
    pub name: String,
    /// `host:port` or `ip:port`. Where the file has none, the port is this node's own.
    pub address: String,
}

/// What is wrong with a px file, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// It is not a px file: the place, and the nearest key if one is meant.
    #[error("{path}:{line}:{column}: {what}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What.
        what: String,
    },
    /// A value that cannot be meant.
    #[error("{path}: {what}")]
    Value {
        /// Which.
        path: PathBuf,
        /// What, and what to do.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    me: Me,
    #[serde(default = "second")]
    retry_delay: u64,
    servers: Vec<Other>,
    #[serde(default)]
    allow_without_certificate: bool,
    pipe: Option<PathBuf>,
    #[serde(default)]
    retention: Retention,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Me {
    id: String,
    addr: String,
    tls_config_info: Tls,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_path: PathBuf,
    key_path: PathBuf,
    ca_cert_path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    addr: String,
    server_name: String,
}

fn second() -> u64 {
    1000
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
        Config::parse(&text, path)
    }

    /// Reads a text; `path` is what errors name, and where relative paths may begin.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let value = |what: String| ConfigError::Value { path: path.to_owned(), what };
        if text.len() > LONGEST {
            return Err(value(format!("it has more than {LONGEST} bytes")));
        }
        let file: File =
            serde_json::from_str(&without_comments(text)).map_err(|error| ConfigError::Syntax {
                path: path.to_owned(),
                line: error.line(),
                column: error.column(),
                what: with_nearest(&error.to_string()),
            })?;
        Config::checked(file, path).map_err(value)
    }

    fn checked(file: File, path: &Path) -> Result<Config, String> {
        let File { me, retry_delay, servers, allow_without_certificate, pipe, retention } = file;
        let port = port_of(&me.addr).ok_or_else(|| {
            format!("me.addr is {:?}; write it with its port, as \"127.0.0.1:5000\"", me.addr)
        })?;
        if retry_delay == 0 {
            return Err("retry_delay is 0; it is the first wait between two tries in ms, above 0".to_owned());
        }
        check_name("me.id", &me.id)?;
        let mut config = Config {
            id: me.id,
            address: me.addr,
            cert_path: found(path, me.tls_config_info.cert_path),
            key_path: found(path, me.tls_config_info.key_path),
            ca_cert_path: found(path, me.tls_config_info.ca_cert_path),
            retry_delay: Duration::from_millis(retry_delay),
            servers: Vec::new(),
            allow_without_certificate,
            pipe,
            retention,
        };
        for (at, other) in servers.into_iter().enumerate() {
            let server = config.server(at, other, port)?;
            config.servers.push(server);
        }
        Ok(config)
    }

    fn server(&self, at: usize, other: Other, port: u16) -> Result<Server, String> {
        let place = format!("servers[{at}]");
        let name = other.server_name;
        check_name(&format!("{place}.server_name"), &name)?;
        if name.eq_ignore_ascii_case(&self.id) {
            return Err(format!(
                "{place} is {name:?}, which is this node itself; servers are the other nodes"
            ));
        }
        if let Some(first) = self.servers.iter().position(|server| server.name.eq_ignore_ascii_case(&name)) {
            return Err(format!("{place} and servers[{first}] have the same server_name {name:?}"));
        }
        let address = match port_of(&other.addr) {
            Some(_) => other.addr,
            None if !is_host(&other.addr) => {
                return Err(format!("{place}.addr is {:?}, neither a host nor host:port", other.addr));
            }
            // A bare address of IPv6 needs brackets before a port.
            None if other.addr.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{}]:{port}", other.addr),
            None => format!("{}:{port}", other.addr),
        };
        Ok(Server { name, address })
    }

    /// Longest wait between two tries.
    pub fn retry_cap(&self) -> Duration {
        RETRY_CAP.max(self.retry_delay)
    }
}

/// As in px, a path begins where the program was started; failing that, beside the file.
fn found(file: &Path, path: PathBuf) -> PathBuf {
    if path.is_absolute() || path.exists() {
        return path;
    }
    let beside = file.parent().map(|folder| folder.join(&path));
    beside.filter(|beside| beside.exists()).unwrap_or(path)
}

fn check_name(place: &str, name: &str) -> Result<(), String> {
    if mesh::is_node_name(name) {
        return Ok(());
    }
    Err(format!("{place} is {name:?}; a name has 1 to 128 letters, digits, hyphens, underscores or dots"))
}

/// The port at the end of `host:port` or `[v6]:port`.
fn port_of(address: &str) -> Option<u16> {
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        return None;
    }
    let (host, port) = address.rsplit_once(':')?;
    let host_is_plain = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    (!host.is_empty() && host_is_plain).then_some(port)?.parse().ok().filter(|port| *port != 0)
}

fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.parse::<std::net::IpAddr>().is_ok() || !text.is_empty() && text.bytes().all(plain)
}

/// serde's words, with the key that was probably meant, and without the place, which is told before.
fn with_nearest(error: &str) -> String {
    let what = error.rsplit_once(" at line ").map_or(error, |(what, _)| what);
    let mut quoted = what.split('`').skip(1).step_by(2);
    if !what.starts_with("unknown field") {
        return what.to_owned();
    }
    let Some(unknown) = quoted.next() else { return what.to_owned() };
    let nearest =
        quoted.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match nearest {
        Some(nearest) => format!("{what}; did you mean `{nearest}`?"),
        None => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = r#"{
"me": {
"id": "a.example", // server id, should be domain name/what's in their TLS cert
"addr": "127.0.0.1:5001",
// info needed to configure secure comms
"tls_config_info": { "cert_path": "a.pem", "key_path": "a.key", "ca_cert_path": "ca.pem" }
},
// amount of time to wait between reconnection attempts
"retry_delay": 500,
"servers": [
  { "addr": "127.0.0.1:5002", "server_name": "b.example" },
  /* by name: the port is this node's own */
  { "addr": "c-host", "server_name": "c.example" },
  { "addr": "fd00::7", "server_name": "d.example" }
]
}"#;

    fn refusal(from: &str, to: &str) -> String {
        assert!(SEED.contains(from));
        Config::parse(&SEED.replacen(from, to, 1), Path::new("px.json")).unwrap_err().to_string()
    }

    #[test]
    fn the_seeds_file_is_read() {
        let config = Config::parse(SEED, Path::new("px.json")).unwrap();
        assert_eq!((config.id.as_str(), config.address.as_str()), ("a.example", "127.0.0.1:5001"));
        let addresses: Vec<_> = config.servers.iter().map(|server| server.address.as_str()).collect();
        assert_eq!(addresses, ["127.0.0.1:5002", "c-host:5001", "[fd00::7]:5001"]);
        assert_eq!((config.retry_delay, config.retry_cap()), (Duration::from_millis(500), RETRY_CAP));
        assert!(!config.allow_without_certificate);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let unknown = refusal("\"retry_delay\"", "\"retry_dealy\"");
        assert!(unknown.starts_with("px.json:9:"), "{unknown}");
        assert!(
            unknown.contains("unknown field `retry_dealy`")
                && unknown.ends_with("did you mean `retry_delay`?")
        );
        let nested = refusal("\"key_path\"", "\"key\"");
        assert!(nested.starts_with("px.json:6:") && nested.contains("did you mean `key_path`?"), "{nested}");
        let twice = refusal("\"c.example\"", "\"B.example\"");
        assert!(twice.contains("servers[1] and servers[0] have the same server_name"), "{twice}");
        assert!(refusal("\"c.example\"", "\"a.example\"").contains("is this node itself"));
        assert!(refusal("127.0.0.1:5001", "127.0.0.1").contains("with its port"));
        assert!(refusal(": 500,", ": 0,").contains("retry_delay is 0"));
        assert!(refusal("c-host", "c host").contains("neither a host nor host:port"));
        assert!(refusal("b.example", "b/../example").contains("a name has"));
        let kept = refusal("\"retry_delay\": 500", "\"retention\": { \"max_cuont\": 1 }");
        assert!(kept.contains("did you mean `max_count`?"), "{kept}");
        assert!(refusal("\"servers\"", "\"me\"").contains("duplicate field `me`"));
    }
}
