//! Settings.

use catalog::virtual_ip::Range;
use serde::{Deserialize, Serialize};

/// Settings of virtual addresses on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses that services are given: a part of 127.0.0.0/8, which every program may bind. Unset: what the
    /// registry has agreed on before, 127.77.0.0/16 at first. Services keep the address that they have.
    pub range: Option<Loopback>,
    /// Lowest port taken where a service's own cannot be.
    pub fallback_first: u16,
    /// Highest of them.
    pub fallback_last: u16,
    /// Most virtual addresses open at once. A name beyond that is answered with endpoints.
    pub max_open: usize,
}

impl Default for Config {
    /// Below the ports that the kernel gives to clients (`net.ipv4.ip_local_port_range`).
    fn default() -> Self {
        Config { range: None, fallback_first: 20_000, fallback_last: 29_999, max_open: 4096 }
    }
}

/// A range of addresses within 127.0.0.0/8, written like `127.77.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loopback(pub Range);

impl TryFrom<String> for Loopback {
    type Error = String;

    fn try_from(text: String) -> Result<Loopback, String> {
        let range: Range = text.parse().map_err(|error: catalog::virtual_ip::NotARange| error.to_string())?;
        match range.base.is_loopback() {
            true => Ok(Loopback(range)),
            false => {
                Err(format!("{text} is not within 127.0.0.0/8: other addresses need a transparent proxy"))
            }
        }
    }
}

impl From<Loopback> for String {
    fn from(Loopback(range): Loopback) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Loopback;

    #[test]
    fn a_range_is_loopback_and_says_what_is_wrong() {
        let read = |text: &str| Loopback::try_from(text.to_owned());
        assert_eq!(read("127.5.0.0/20").map(String::from), Ok("127.5.0.0/20".to_owned()));
        for bad in ["127.5.0.0", "127.5.0.0/31", "127.0.0.0/7", "x/16"] {
            assert!(read(bad).is_err_and(|e| e.contains("like 127.77.0.0/16")), "{bad}");
        }
        assert!(read("10.0.0.0/16").is_err_and(|e| e.contains("not within 127.0.0.0/8")));
    }
}
