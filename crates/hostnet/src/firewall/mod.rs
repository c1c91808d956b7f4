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

mod config;
mod found;
pub mod guard;
mod iptables;
mod nft;
mod own;
pub(crate) mod tool;
mod trial;
mod whole;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use catalog::exposure::{Openings, Port};
use state::{Failure, Publisher, Reader, Report};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

pub use config::{Config, Kept, Mode};
use found::Found;
pub use nft::{ParseError, parse};
use tool::ToolError;
use trial::Trial;
pub use trial::{Consent, ON_TRIAL};
use whole::Version;

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

/// What it follows, and where it tells what holds.
pub struct Inputs {
    /// Ports of services.
    pub openings: Reader<Openings>,
    /// Mode `own`: what the operator says of it.
    pub consent: Reader<Consent>,
    /// Mode `own`: ports of this daemon's own that others must reach, beside those that the operator keeps.
    pub listening: Vec<Port>,
    /// A generation is reported when it holds, or with the reason why it does not.
    pub reports: Publisher<Report>,
}

/// Keeps the firewall as `openings` says until their writer is gone, then removes what is ours. It does not
/// follow the drain: whoever withdraws closes last.
pub async fn run(config: Config, inputs: Inputs) {
    let Inputs { mut openings, mut consent, listening, reports } = inputs;
    let config = with(config, &listening);
    let mut looks = interval(config.look_every.max(Duration::from_secs(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trial = Trial::new(config.confirm_within);
    trial.handle_consent(*consent.now(), Instant::now());
    forget_own(&config).await;
    loop {
        let until = trial.until();
        tokio::select! {
            _ = looks.tick() => {}
            Some(said) = consent.next() => trial.handle_consent(*said, Instant::now()),
            () = due(until) => {}
            news = openings.next() => if news.is_none() { break },
        }
        let wanted = openings.now();
        if wanted.generation == 0 {
            // Nobody has said yet what is wished: what an earlier run opened stays as it is.
            continue;
        }
        let failures = settle(&config, &wanted, &mut trial).await;
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
    for error in leave(&config, trial.stays()).await {
        tracing::warn!(error = %chain_of(&error), "our firewall rules could not all be removed");
    }
}

/// The ports that are kept, and those that this daemon listens on.
fn with(mut config: Config, listening: &[Port]) -> Config {
    config.keep.extend(listening.iter().copied().map(Kept));
    config
}

async fn due(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// A table that another mode left.
async fn forget_own(config: &Config) {
    if matches!(config.mode, Mode::Own | Mode::Off) {
        return;
    }
    if let Ok(chain) = checked(&config.chain)
        && let Err(error) = own::remove(chain).await
    {
        tracing::warn!(%error, "an earlier table of ours stays behind");
    }
}

/// What a table of ours becomes when nobody is there any more who looks after it: one that is on trial goes.
async fn abandon(config: &Config, is_confirmed: bool) {
    if config.mode == Mode::Own && !is_confirmed {
        for error in leave(config, false).await {
            tracing::warn!(error = %chain_of(&error), "a firewall on trial stays behind");
        }
    }
}

/// At the end: a table that is the host's firewall stays, with what is kept; everything else goes.
async fn leave(config: &Config, stays: bool) -> Vec<FirewallError> {
    let mut errors = remove(config).await;
    if let (Mode::Own, Ok(chain)) = (config.mode, checked(&config.chain)) {
        let done = if stays { own::close(config, chain).await } else { own::remove(chain).await };
        errors.extend(done.err().map(FirewallError::from));
    }
    errors
}

/// What was agreed to when somebody confirmed a table of ours: with other settings he is asked again.
pub fn agreed(config: &Config) -> String {
    own::agreed(config)
}

/// Makes the rules as they are wanted; touches nothing when they are already.
async fn settle(config: &Config, wanted: &Openings, trial: &mut Trial) -> Vec<Failure> {
    let failed = |error: FirewallError| Failure {
        attempted: format!("open {} ports in the host's firewall", wanted.ports.len()),
        cause: chain_of(&error),
    };
    let mut failures: Vec<Failure> = match bring_about(config, wanted, trial).await {
        Ok(errors) => errors.into_iter().map(failed).collect(),
        Err(error) => vec![failed(error)],
    };
    failures.extend(trial.failure());
    if failures.is_empty() && config.mode != Mode::Off {
        let kept = config.keep.iter().map(|kept| kept.0).filter(|_| config.mode == Mode::Own);
        failures.extend(lost(wanted.ports.keys().copied().chain(kept).collect()).await);
    }
    failures
}

async fn bring_about(
    config: &Config,
    wanted: &Openings,
    trial: &mut Trial,
) -> Result<Vec<FirewallError>, FirewallError> {
    if config.mode != Mode::Own {
        return apply(config, wanted).await;
    }
    let chain = checked(&config.chain)?;
    if trial.handle_rules(Instant::now()) {
        own::apply(config, chain, wanted).await?;
        // What ours lets in must not be dropped by others either.
        return apply(config, wanted).await;
    }
    own::remove(chain).await?;
    Ok(remove(config).await)
}

/// Ports that other people's rules drop all the same, by IPv6 too where this host has it.
async fn lost(ports: BTreeSet<Port>) -> Vec<Failure> {
    let Some(nft) = tool::find("nft").filter(|_| !ports.is_empty()) else { return Vec::new() };
    let listing = tool::run(&nft, &["-j", "list", "ruleset"], "").await;
    let Some(rules) = listing.ok().and_then(|listing| whole::read(&listing).ok()) else { return Vec::new() };
    let has_six = sys::host::addresses().is_ok_and(|all| all.into_iter().any(is_reachable_by_six));
    let mut failures = Vec::new();
    for port in ports {
        let four = rules.loses(port, Version::V4).map(|by| (port.let_in(), by));
        let six = has_six.then(|| rules.loses(port, Version::V6)).flatten();
        let six = six.map(|by| (port.let_in_by_ipv6(), by));
        failures.extend([four, six].into_iter().flatten().map(|(attempted, by)| Failure {
            attempted,
            cause: format!(
                "{by} drops it: what one chain lets in, another may still drop; let it in there too"
            ),
        }));
    }
    failures
}

fn is_reachable_by_six(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if !v6.is_loopback() && !v6.is_unicast_link_local())
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
    let own = (config.mode == Mode::Own).then(|| format!("our own table, nft inet {}", config.chain));
    let families = found.iptables.iter().map(|family| format!("{} INPUT", family.iptables.display()));
    let hooks = found.hooks.iter().map(|hook| format!("nft {} {} {}", hook.family, hook.table, hook.base));
    Ok(own.into_iter().chain(families).chain(hooks).collect())
}

/// Fuzz target: what `nft` lists of other people's rules.
pub fn fuzz_ruleset(listing: &str) {
    nft::fuzz(listing);
    if let Ok(rules) = whole::read(listing) {
        let port = Port { protocol: catalog::exposure::Protocol::Tcp, number: 443 };
        for version in [Version::V4, Version::V6] {
            assert_eq!(rules.loses(port, version), rules.loses(port, version));
        }
    }
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
