//! Mode `own`: a table of ours is this host's firewall. What nobody asked for is dropped.
//!
//! Always let in: answers, loopback, ICMP, DHCP's and routers' answers, the ports that the operator keeps, and the
//! interfaces that he trusts. The table stays when the daemon ends, without the ports of services: a firewall that
//! leaves with a process is none.
//!
//! What is absent: other people's tables. What is open in ours is opened in those that block as in every other mode; what
//! they drop of the rest stays dropped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use catalog::exposure::{Openings, Port, Protocol};
use serde_json::Value;

use super::Config;
use super::tool::{self, ToolError};

/// Makes the table as it is wanted, in one transaction; touches nothing when it is.
pub(super) async fn apply(config: &Config, chain: &str, wanted: &Openings) -> Result<(), ToolError> {
    let nft = nft()?;
    let open: BTreeSet<Port> = wanted.ports.keys().copied().collect();
    let (script, rules) = script(config, chain, &open);
    let listed = tool::run(&nft, &["-j", "list", "table", "inet", chain], "").await;
    if listed.is_ok_and(|listing| is_there(&listing, &mark(&script), rules)) {
        return Ok(());
    }
    tool::run(&nft, &["-f", "-"], &script.replace(MARK, &mark(&script))).await?;
    tracing::info!(table = chain, ports = open.len(), "our table is this host's firewall");
    Ok(())
}

/// Closes the ports of services and keeps everything else.
pub(super) async fn close(config: &Config, chain: &str) -> Result<(), ToolError> {
    apply(config, chain, &Openings::default()).await
}

/// Removes the table, whoever of us made it.
pub(super) async fn remove(chain: &str) -> Result<(), ToolError> {
    let Ok(nft) = nft() else { return Ok(()) };
    let listed = tool::run(&nft, &["-j", "list", "table", "inet", chain], "").await;
    if listed.is_ok_and(|listing| listing.contains(WORD)) {
        tool::run(&nft, &["-f", "-"], &format!("delete table inet {chain}\n")).await?;
        tracing::info!(table = chain, "our table is not this host's firewall any more");
    }
    Ok(())
}

fn nft() -> Result<PathBuf, ToolError> {
    tool::find("nft").ok_or(ToolError::Missing("nft"))
}

/// Begins the comment of the first rule.
const WORD: &str = "portolan:own:";
/// Stands in a script for what marks it.
const MARK: &str = "MARK";

/// Tells one script from another, in the table itself.
fn mark(script: &str) -> String {
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    format!("{WORD}{:016x}", hasher.finish())
}

/// What an operator has agreed to, without the ports of services: those come and go.
pub(super) fn agreed(config: &Config) -> String {
    mark(&script(config, &config.chain, &BTreeSet::new()).0)
}

/// The transaction, and the number of rules in it.
fn script(config: &Config, table: &str, open: &BTreeSet<Port>) -> (String, usize) {
    let mut rules = vec![
        format!("iif lo accept comment \"{MARK}\""),
        "ct state established,related accept".to_owned(),
        "ct state invalid drop".to_owned(),
        "meta l4proto { icmp, ipv6-icmp } accept".to_owned(),
        // Addresses of this host's own; answers of routers, which come from another port than was asked.
        "udp sport 67 udp dport 68 accept".to_owned(),
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept".to_owned(),
        "udp sport { 1900, 5351 } limit rate 50/second accept".to_owned(),
    ];
    let trusted: Vec<String> = config.trusted.iter().map(|name| format!("\"{}\"", name.as_str())).collect();
    if !trusted.is_empty() {
        rules.push(format!("iifname {{ {} }} accept", trusted.join(", ")));
    }
    let all: BTreeSet<Port> = config.keep.iter().map(|kept| kept.0).chain(open.iter().copied()).collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of = all.iter().filter(|port| port.protocol == protocol);
        let numbers: Vec<String> = of.map(|port| port.number.to_string()).collect();
        if !numbers.is_empty() {
            rules.push(format!("{protocol} dport {{ {} }} accept", numbers.join(", ")));
        }
    }
    // After everybody else's chains, whose drops count all the same.
    let mut text = format!(
        "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n chain input {{\n  \
         type filter hook input priority filter + 10; policy drop;\n"
    );
    for rule in &rules {
        let _ = writeln!(text, "  {rule}");
    }
    text.push_str(" }\n}\n");
    (text, rules.len())
}

/// Whether a listing is of the script with this mark, whole.
fn is_there(listing: &str, mark: &str, rules: usize) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(listing) else { return false };
    let objects = value.get("nftables").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let listed: Vec<&Value> = objects.iter().filter_map(|object| object.get("rule")).collect();
    let drops =
        objects.iter().any(|one| one.pointer("/chain/policy").and_then(Value::as_str) == Some("drop"));
    let is_ours = listed.first().and_then(|rule| rule.get("comment")?.as_str()) == Some(mark);
    is_ours && drops && listed.len() == rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interface;

    #[test]
    fn what_is_kept_is_never_shut_out_and_nothing_else_is_let_in() {
        let trusted = vec![Interface::try_from("docker0".to_owned()).unwrap()];
        let config = Config { trusted, ..Config::default() };
        let (text, rules) = script(&config, "PORTOLAN", &BTreeSet::new());
        assert!(text.contains("tcp dport { 22 } accept") && text.contains("policy drop"), "{text}");
        assert!(text.contains("iifname { \"docker0\" } accept"), "{text}");
        assert_eq!(text.matches("  ").count(), rules + 1, "{text}");
        let open = [Port { protocol: Protocol::Udp, number: 53 }].into();
        let (more, _) = script(&config, "PORTOLAN", &open);
        assert!(
            more.contains("tcp dport { 22 } accept") && more.contains("udp dport { 53 } accept"),
            "{more}"
        );
        assert_ne!(mark(&text), mark(&more));
    }

    #[test]
    fn what_somebody_changed_is_noticed() {
        let listing = |policy: &str, comment: &str| {
            format!(
                r#"{{"nftables":[{{"chain":{{"policy":"{policy}"}}}},{{"rule":{{"comment":"{comment}"}}}},{{"rule":{{}}}}]}}"#
            )
        };
        assert!(is_there(&listing("drop", "portolan:own:1"), "portolan:own:1", 2));
        assert!(!is_there(&listing("accept", "portolan:own:1"), "portolan:own:1", 2));
        assert!(!is_there(&listing("drop", "portolan:own:2"), "portolan:own:1", 2));
        assert!(!is_there(&listing("drop", "portolan:own:1"), "portolan:own:1", 3));
    }
}
