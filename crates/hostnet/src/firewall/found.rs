//! What there is to open ports in.

use super::iptables::{self, Family};
use super::nft::{self, Hook};
use super::tool::{self, ToolError};
use super::{FirewallError, Mode};

/// Where our chain has to hang.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) iptables: Vec<Family>,
    pub(super) hooks: Vec<Hook>,
}

impl Found {
    /// Looks at the host; an error when the mode demands what is not installed.
    pub(super) async fn look(mode: Mode, chain: &str) -> Result<Found, FirewallError> {
        let mut found = Found::default();
        if matches!(mode, Mode::Auto | Mode::Iptables) {
            found.iptables = ["iptables", "ip6tables"].into_iter().filter_map(family).collect();
            if mode == Mode::Iptables && found.iptables.is_empty() {
                return Err(ToolError::Missing("iptables").into());
            }
        }
        if mode == Mode::Own {
            // Beside a table of ours there need be no chain in iptables that nobody uses.
            for family in ["iptables", "ip6tables"].into_iter().filter_map(family) {
                found.iptables.extend(iptables::is_in_use(&family, chain).await.then_some(family));
            }
        }
        if matches!(mode, Mode::Auto | Mode::Nft | Mode::Own) {
            match tool::find("nft") {
                Some(program) => found.hooks = nft::look(&program, chain).await?,
                None if mode != Mode::Auto => return Err(ToolError::Missing("nft").into()),
                None => {}
            }
        }
        if !found.iptables.is_empty() {
            // These are shown by nft too, and are iptables' to change.
            found.hooks.retain(|hook| !(hook.table == "filter" && hook.base == "INPUT"));
        }
        // A table of ours is made whole.
        found.hooks.retain(|hook| !(mode == Mode::Own && hook.family == "inet" && hook.table == chain));
        Ok(found)
    }
}

fn family(name: &str) -> Option<Family> {
    Some(Family { iptables: tool::find(name)?, restore: tool::find(&format!("{name}-restore"))? })
}
