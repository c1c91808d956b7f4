//! Where the daemon is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// Where the daemon is. Reads `host:port`, `http://host:port`, `unix:///path` and `/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address, `host:port`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Default for Address {
    /// 127.0.0.1:8500.
    fn default() -> Address {
        Address::Tcp("127.0.0.1:8500".into())
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Address {
        Address::Tcp(address.to_string())
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let wrong = |why| Err(Error::Address { text: text.into(), why });
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return if path.is_empty() {
                wrong("the path is missing")
            } else {
                Ok(Address::Unix(path.into()))
            };
        }
        if text.starts_with('/') {
            return Ok(Address::Unix(text.into()));
        }
        if text.starts_with("https://") {
            return wrong("this client speaks to a daemon on its own host, without TLS");
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        if rest.is_empty() || rest.contains(['/', '@', ' ', '?', '#']) {
            return wrong("write it like 127.0.0.1:8500, http://127.0.0.1:8500 or unix:///run/portolan.sock");
        }
        let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && !host.is_empty() && (!host.contains(':') || host.ends_with(']'))
        });
        Ok(Address::Tcp(if has_port { rest.into() } else { format!("{rest}:8500") }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(authority) => f.write_str(authority),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let tcp = |text: &str| Address::Tcp(text.into());
        for (text, expected) in [
            ("127.0.0.1:8500", tcp("127.0.0.1:8500")),
            ("http://localhost:18500/", tcp("localhost:18500")),
            ("localhost", tcp("localhost:8500")),
            ("[::1]:9", tcp("[::1]:9")),
            ("[::1]", tcp("[::1]:8500")),
            ("unix:///run/p.sock", Address::Unix("/run/p.sock".into())),
            ("/run/p.sock", Address::Unix("/run/p.sock".into())),
        ] {
            assert_eq!(text.parse::<Address>().ok(), Some(expected), "{text}");
        }
        for text in ["", "https://x", "http://a/b", "unix:", "http://user@x"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
