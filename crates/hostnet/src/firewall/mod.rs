//! The host's firewall: which ports others may reach, applied whole.
//!
//! [`run`] follows [`Openings`] and reports which generation holds. What it touches is a chain of its own and
//! the jumps that lead there; nobody else's rule is changed, and all of it goes away in the end.
//!
//! An accept in one base chain does not undo a drop in another, so there is no table of our own that could
//! open a port: we hang a chain into those that block ([`Mode`]). Rules are text for `nft` and
//! `iptables-restore`, one transaction each, because their errors name the line and libraries' do not.
//!
//! What is absent: editing rule by rule. A chain is always replaced as a whole.

mod found;
pub mod guard;
mod iptables;
mod nft;
mod tool;

use std::time::Duration;

use catalog::exposure::Openings;
use serde::{Deserialize, Serialize};
use state::{Failure, Publisher, Reader, Report};
use tokio::time::{MissedTickBehavior, interval};

use found::Found;
pub use nft::{ParseError, parse};
use tool::ToolError;

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
    /// Nothing: somebody else opens ports.
    Off,
}

/// Settings of the firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How ports are opened.
    pub mode: Mode,
    /// Name of our chain: letters, digits, `-` and `_`, 20 at most.
    pub chain: String,
    /// How often the rules are looked at although nothing changed: others flush them.
    #[serde(with = "state::units::duration")]
    pub look_every: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config { mode: Mode::Auto, chain: "PORTOLAN".into(), look_every: Duration::from_secs(60) }
    }
}

/// Why the host's firewall is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// A name that would not be a name in a ruleset.
    #[error("\"{0}\" cannot be the name of a chain: 1 to 20 letters, digits, - and _, a letter first")]
    Chain(String),
    /// The program failed, or is not there.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// `nft -j` said something that is not a ruleset.
    #[error("read the ruleset that nft listed")]
    Ruleset(#[from] ParseError),
}

/// Keeps the firewall as `openings` says until their writer is gone, then removes what is ours. It does not
/// follow the drain: whoever withdraws closes last.
///
/// A generation is reported when it holds, or with the reason why it does not.
pub async fn run(config: Config, mut openings: Reader<Openings>, reports: Publisher<Report>) {
    let mut looks = interval(config.look_every.max(Duration::from_secs(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            news = openings.next() => if news.is_none() { break },
        }
        let wanted = openings.now();
        if wanted.generation == 0 {
            // Nobody has said yet what is wished: what an earlier run opened stays as it is.
            continue;
        }
        let failures = settle(&config, &wanted).await;
        if failures != reports.now().failures {
            for failure in &failures {
                tracing::warn!(
                    attempted = failure.attempted,
                    cause = failure.cause,
                    "the firewall is not as it should be"
                );
            }
        }
        reports.publish_if_changed(Report { generation: wanted.generation, failures });
    }
    for error in remove(&config).await {
        tracing::warn!(error = %chain_of(&error), "our firewall rules could not all be removed");
    }
}

/// Makes the rules as they are wanted; touches nothing when they are already.
async fn settle(config: &Config, wanted: &Openings) -> Vec<Failure> {
    let failed = |error: FirewallError| Failure {
        attempted: format!("open {} ports in the host's firewall", wanted.ports.len()),
        cause: chain_of(&error),
    };
    match apply(config, wanted).await {
        Ok(errors) => errors.into_iter().map(failed).collect(),
        Err(error) => vec![failed(error)],
    }
}

/// One verb: afterwards the rules are as `wanted` says. Twice is once.
async fn apply(config: &Config, wanted: &Openings) -> Result<Vec<FirewallError>, FirewallError> {
    let chain = checked(&config.chain)?;
    let found = Found::look(config.mode, chain).await?;
    let mut errors = Vec::new();
    for family in &found.iptables {
        errors.extend(iptables::apply(family, chain, wanted).await.err().map(FirewallError::from));
    }
    if !found.hooks.is_empty() {
        errors.extend(nft::apply(&found.hooks, chain, wanted).await.err().map(FirewallError::from));
    }
    Ok(errors)
}

/// Removes our chains and the jumps to them, as far as possible.
async fn remove(config: &Config) -> Vec<FirewallError> {
    let Ok(chain) = checked(&config.chain) else { return Vec::new() };
    let found = match Found::look(config.mode, chain).await {
        Ok(found) => found,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    for family in &found.iptables {
        errors.extend(iptables::remove(family, chain).await.err().map(FirewallError::from));
    }
    errors.extend(nft::remove(&found.hooks, chain).await.err().map(FirewallError::from));
    errors
}

/// What keeps ports of this host shut, for people: each chain that blocks, in the words of its tool.
///
/// # Errors
/// When the rules cannot be read.
pub async fn blockers(config: &Config) -> Result<Vec<String>, FirewallError> {
    let found = Found::look(config.mode, checked(&config.chain)?).await?;
    let families = found.iptables.iter().map(|family| format!("{} INPUT", family.iptables.display()));
    let hooks = found.hooks.iter().map(|hook| format!("nft {} {} {}", hook.family, hook.table, hook.base));
    Ok(families.chain(hooks).collect())
}

/// Fuzz target: what `nft` lists of other people's rules.
pub fn fuzz_ruleset(listing: &str) {
    nft::fuzz(listing);
}

fn checked(chain: &str) -> Result<&str, FirewallError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let starts_well = chain.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts_well && chain.len() <= 20 && chain.chars().all(is_plain) {
        Ok(chain)
    } else {
        Err(FirewallError::Chain(chain.chars().take(40).collect()))
    }
}

/// What may stand in a rule's comment: nothing that either language reads as more than text.
fn comment(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.:/".contains(c) { c } else { '_' };
    text.chars().take(60).map(plain).collect()
}

fn chain_of(error: &FirewallError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_comments_cannot_carry_rules() {
        assert!(checked("DIPLONAT").is_ok());
        for bad in ["", "a b", "x;y", "-x", "1x", "a\nb", "twenty-one-letters-xx"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
        assert_eq!(comment("web\" -j DROP\n"), "web__-j_DROP_");
    }
}
