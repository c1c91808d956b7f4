//! Settings of the firewall.

use std::time::Duration;

use catalog::exposure::Port;
pub use catalog::exposure::WrittenPort as Kept;
use serde::{Deserialize, Serialize};

use crate::config::Interface;

/// How ports are opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `iptables` where it is installed, and every chain of nftables that blocks what comes in.
    #[default]
    Auto,
    /// A chain in iptables' filter table, and in ip6tables'.
    Iptables,
    /// A chain in every table of nftables that blocks what comes in.
    Nft,
    /// A table of ours is the host's firewall: what nobody asked for is dropped. What others block is opened as with `auto`.
    Own,
    /// Nothing: somebody else opens ports.
    Off,
}

/// Settings of the firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How ports are opened.
    pub mode: Mode,
    /// Name of our chain, and of our table: letters, digits, `-` and `_`, 20 at most.
    pub chain: String,
    /// How often the rules are looked at although nothing changed: others flush them.
    #[serde(with = "state::units::duration")]
    pub look_every: Duration,
    /// Mode `own`: ports that are open whatever services wish.
    pub keep: Vec<Kept>,
    /// Mode `own`: interfaces, such as `docker0`, whose hosts reach every port.
    pub trusted: Vec<Interface>,
    /// Mode `own`: how long it stands unless somebody says that it may stay.
    #[serde(with = "state::units::duration")]
    pub confirm_within: Duration,
}

impl Default for Config {
    fn default() -> Config {
        let ssh = Port { protocol: catalog::exposure::Protocol::Tcp, number: 22 };
        Config {
            mode: Mode::Auto,
            chain: "PORTOLAN".into(),
            look_every: Duration::from_secs(60),
            keep: vec![Kept(ssh)],
            trusted: Vec::new(),
            confirm_within: Duration::from_secs(120),
        }
    }
}
