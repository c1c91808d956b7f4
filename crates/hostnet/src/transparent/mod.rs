//! All virtual addresses by one listener: the kernel leads their connections and datagrams to a transparent socket each
//! (TPROXY), looped over `lo`. The address that a client meant is the accepted socket's own, and of a datagram the kernel
//! tells it; no mark, no rule of routing, no translation.
//!
//! [`lead`] is done by the process that may, [`run`] is the daemon's end of it. With the route alone, hosts that route or
//! ask for the range on our network would reach it; so everybody but this host and the named interfaces is dropped.
//!
//! What is absent: listeners for each address. Answers to datagrams must leave from a socket that is bound to the virtual
//! address, though: the relay has one where somebody speaks, and somebody else's wildcard socket may be in its way.

mod follow;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use catalog::virtual_ip::Range;
use serde::{Deserialize, Serialize};

use crate::config::{Interface, Range6};
use crate::firewall::tool::{self, ToolError};

pub use follow::{Settings, run};

/// Our table.
const TABLE: &str = "inet portolan_virtual";

/// What is led where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Virtual addresses.
    pub ranges: Vec<Range>,
    /// Port of the transparent listener, on loopback: of both protocols.
    pub port: u16,
    /// The same by IPv6.
    pub six: Option<(Range6, u16)>,
    /// Interfaces besides `lo` that may.
    pub from: Vec<Interface>,
}

/// What is led.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    /// Virtual addresses.
    pub ranges: Vec<Range>,
    /// Those by IPv6.
    pub six: Option<Range6>,
}

impl Lead {
    /// What is led when all of it is.
    pub(crate) fn led(&self) -> Led {
        Led { ranges: self.ranges.clone(), six: self.six.map(|(range, _)| range) }
    }
}

/// Why packets are not led.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// A program failed, or is not there.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Somebody else's addresses.
    #[error("{range} is in use on this host: {route}; choose another hostnet.range")]
    Overlap {
        /// The wished one.
        range: String,
        /// As `ip route` says.
        route: String,
    },
}

/// Makes it so; touches nothing when it is.
///
/// # Errors
/// [`LeadError`].
pub(crate) async fn lead(wanted: &Lead) -> Result<(), LeadError> {
    let nft = tool::find("nft").ok_or(ToolError::Missing("nft"))?;
    let ranges: Vec<String> = wanted.ranges.iter().map(network).collect();
    for range in wanted.ranges.iter().filter(|range| !range.base.is_loopback()) {
        take_route("-4", network(range), "127.0.0.1").await?;
    }
    if let Some((range, _)) = wanted.six {
        take_route("-6", range.to_string(), "::1").await?;
    }
    let listed = tool::run(&nft, &["list", "table", "inet", "portolan_virtual"], "").await;
    if !listed.is_ok_and(|text| is_led(&text, wanted, &ranges)) {
        tool::run(&nft, &["-f", "-"], &rules(wanted, &ranges)).await?;
        tracing::info!(?ranges, port = wanted.port, "virtual addresses are led to one listener");
    }
    Ok(())
}

/// Makes a range this host's own, unless it is somebody's.
async fn take_route(family: &str, range: String, source: &str) -> Result<(), LeadError> {
    let ip = tool::find("ip").ok_or(ToolError::Missing("ip"))?;
    for selector in ["root", "match"] {
        let routes = tool::run(&ip, &[family, "route", "show", selector, &range], "").await?;
        if let Some(route) = routes.lines().find(|route| !route.starts_with("default")) {
            return Err(LeadError::Overlap { range, route: route.trim().to_owned() });
        }
    }
    // Without a source, clients would seem to come from the virtual address itself.
    let route = [family, "route", "replace", "local", &range, "dev", "lo", "src", source, "table", "local"];
    tool::run(&ip, &route, "").await?;
    Ok(())
}

/// Leads nobody any more.
pub(crate) async fn close() {
    if let Some(nft) = tool::find("nft") {
        let script = format!("add table {TABLE}\ndelete table {TABLE}\n");
        if let Err(cause) = tool::run(&nft, &["-f", "-"], &script).await {
            tracing::warn!(%cause, "the rules of virtual addresses stay behind");
        }
    }
}

/// Undoes all of it, as far as possible.
pub(crate) async fn leave(led: &Lead) {
    close().await;
    let ranges = led.ranges.iter().filter(|range| !range.base.is_loopback());
    let ranges = ranges.map(|range| ("-4", network(range)));
    for (family, range) in ranges.chain(led.six.map(|(range, _)| ("-6", range.to_string()))) {
        let Some(ip) = tool::find("ip") else { return };
        let route = [family, "route", "del", "local", &range, "dev", "lo", "table", "local"];
        // It is not there where it could not be made.
        if let Err(cause) = tool::run(&ip, &route, "").await
            && !cause.to_string().contains("No such process")
        {
            tracing::warn!(%cause, range, "the route of virtual addresses stays behind");
        }
    }
}

/// One transaction that replaces the table.
fn rules(wanted: &Lead, ranges: &[String]) -> String {
    let from: String = wanted.from.iter().map(|name| format!(", \"{}\"", name.as_str())).collect();
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n chain lead {{\n");
    text.push_str("  type filter hook prerouting priority mangle; policy accept;\n");
    for range in ranges {
        let _ = writeln!(text, "  iifname != {{ \"lo\"{from} }} ip daddr {range} drop");
        let port = wanted.port;
        let _ =
            writeln!(text, "  ip daddr {range} meta l4proto {{ tcp, udp }} tproxy ip to 127.0.0.1:{port}");
    }
    if let Some((range, port)) = wanted.six {
        let _ = writeln!(text, "  iifname != {{ \"lo\"{from} }} ip6 daddr {range} drop");
        let _ = writeln!(text, "  ip6 daddr {range} meta l4proto {{ tcp, udp }} tproxy ip6 to [::1]:{port}");
    }
    text.push_str(" }\n}\n");
    text
}

/// Whether a listing of the table says all of it: somebody may have flushed it, or a former life may have had another
/// port.
fn is_led(listing: &str, wanted: &Lead, ranges: &[String]) -> bool {
    let to = format!("tproxy ip to 127.0.0.1:{}", wanted.port);
    let has = |words: &[&str]| listing.lines().any(|line| words.iter().all(|word| line.contains(word)));
    let names = wanted.from.iter().map(|name| format!("\"{}\"", name.as_str()));
    let count = listing.lines().filter(|line| line.contains("tproxy")).count();
    let six = wanted.six.map(|(range, port)| (range.to_string(), format!("tproxy ip6 to [::1]:{port}")));
    ranges.iter().all(|range| has(&[range, "udp", &to]) && has(&[range, "drop"]))
        && six.iter().all(|(range, to)| has(&[range, "udp", to]) && has(&[range, "drop"]))
        && names.into_iter().all(|name| has(&["iifname", &name]))
        && count == ranges.len() + six.iter().len()
}

/// A range as the kernel's tools write it: no bits below the prefix.
fn network(range: &Range) -> String {
    let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix)).unwrap_or(0);
    format!("{}/{}", Ipv4Addr::from(u32::from(range.base) & mask), range.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_dropped_before_anybody_is_led() {
        let range: Range = "10.77.3.4/16".parse().unwrap();
        let from = vec![Interface::try_from("docker0".to_owned()).unwrap()];
        let six = Some((Range6::try_from("fd00:77::/64".to_owned()).unwrap(), 15002));
        let wanted = Lead { ranges: vec![range], port: 15001, six, from };
        let ranges = [network(&range)];
        let text = rules(&wanted, &ranges);
        let (drop, led) =
            (text.find("iifname != { \"lo\", \"docker0\" } ip daddr 10.77.0.0/16 drop"), text.find("tproxy"));
        assert!(drop.is_some() && drop < led, "{text}");
        assert!(
            text.contains("ip6 daddr fd00:77::/64 meta l4proto { tcp, udp } tproxy ip6 to [::1]:15002"),
            "{text}"
        );
        assert!(is_led(&text, &wanted, &ranges));
        assert!(!is_led(&text, &Lead { six: None, ..wanted.clone() }, &ranges));
        assert!(!is_led(&text, &Lead { port: 15002, ..wanted.clone() }, &ranges));
        assert!(!is_led("", &wanted, &ranges));
    }
}
