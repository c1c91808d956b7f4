//! From `nft -j list ruleset` (libnftables-json(5)) to what can be walked. What is not understood becomes a test that
//! may hold or not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use catalog::exposure::Protocol;
use serde_json::Value;

use super::{Chain, Place, Rule, Ruleset, Test, Verdict, Version};
use crate::firewall::nft::{self, ParseError};

/// Elements of named sets of ports.
type Sets<'a> = BTreeMap<Place, &'a [Value]>;

/// Reads a listing.
///
/// # Errors
/// [`ParseError`]; objects that are not understood are passed over.
pub(in crate::firewall) fn read(listing: &str) -> Result<Ruleset, ParseError> {
    let value = nft::listed(listing)?;
    let objects = nft::objects(&value)?;
    let mut rules = Ruleset::default();
    let sets = objects.iter().filter_map(|object| set(object.get("set")?)).collect::<Sets<'_>>();
    for object in objects {
        if let Some((place, chain)) = object.get("chain").and_then(chain) {
            rules.chains.insert(place, chain);
        } else if let Some(rule) = object.get("rule")
            && let Some(place) = place(rule, "chain")
        {
            let rule = read_rule(rule, &place, &sets);
            rules.chains.entry(place).or_default().rules.push(rule);
        }
    }
    Ok(rules)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn place(value: &Value, name: &str) -> Option<Place> {
    let family = text(value, "family").filter(|family| ["ip", "ip6", "inet"].contains(family))?;
    Some((family.into(), text(value, "table")?.into(), text(value, name)?.into()))
}

/// Base chains that a packet to this host passes through; others by their names alone.
fn chain(value: &Value) -> Option<(Place, Chain)> {
    let passes = text(value, "type") == Some("filter")
        && text(value, "hook").is_some_and(|hook| ["prerouting", "input"].contains(&hook));
    let base = passes.then(|| text(value, "policy") == Some("drop"));
    Some((place(value, "name")?, Chain { base, rules: Vec::new() }))
}

fn set(value: &Value) -> Option<(Place, &[Value])> {
    let is_ports = text(value, "type") == Some("inet_service");
    let elements = value.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    is_ports.then_some((place(value, "name")?, elements))
}

fn read_rule(rule: &Value, place: &Place, sets: &Sets<'_>) -> Rule {
    let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or_default();
    let comment = text(rule, "comment").map(|text| format!(" \"{}\"", crate::firewall::comment(text)));
    let name = format!("rule {handle}{}", comment.unwrap_or_default());
    let mut read = Rule { name, tests: Vec::new(), endings: Vec::new() };
    let statements = rule.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for statement in statements {
        match statement.as_object().and_then(|object| object.iter().next()) {
            Some((word, value)) if word == "match" => read.tests.push(test(value, place, sets)),
            Some((word, value)) if word == "vmap" => read.endings.extend(endings(value, place, sets)),
            Some((word, _)) if ["counter", "log", "mangle", "notrack"].contains(&word.as_str()) => {}
            Some((word, value)) => match verdict(word, value) {
                Some(verdict) => read.endings.push((Test::Always, verdict)),
                None => read.tests.push(Test::Unknown),
            },
            None => read.tests.push(Test::Unknown),
        }
    }
    read
}

fn verdict(word: &str, value: &Value) -> Option<Verdict> {
    let target = || text(value, "target").map(Arc::from);
    Some(match word {
        "accept" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        "queue" | "tproxy" | "redirect" | "dnat" => Verdict::Unknown,
        _ => return None,
    })
}

/// A map from what is tested to verdicts.
fn endings(value: &Value, place: &Place, sets: &Sets<'_>) -> Vec<(Test, Verdict)> {
    let unknown = || vec![(Test::Unknown, Verdict::Unknown)];
    let Some(key) = value.get("key") else { return unknown() };
    let Some(pairs) = value.pointer("/data/set").and_then(Value::as_array) else { return unknown() };
    let pair = |pair: &Value| {
        let (word, ending) = pair.get(1)?.as_object()?.iter().next()?;
        let test = compared(key, pair.get(0)?, false, place, sets);
        Some((test, verdict(word, ending).unwrap_or(Verdict::Unknown)))
    };
    pairs.iter().map(|one| pair(one).unwrap_or((Test::Unknown, Verdict::Unknown))).collect()
}

fn test(value: &Value, place: &Place, sets: &Sets<'_>) -> Test {
    let is_not = match text(value, "op") {
        Some("==" | "in") => false,
        Some("!=") => true,
        _ => return Test::Unknown,
    };
    match (value.get("left"), value.get("right")) {
        (Some(left), Some(right)) => compared(left, right, is_not, place, sets),
        _ => Test::Unknown,
    }
}

fn compared(left: &Value, right: &Value, is_not: bool, place: &Place, sets: &Sets<'_>) -> Test {
    let settled = |holds: bool| if holds == is_not { Test::Never } else { Test::Always };
    let key = |of: &str| left.get(of).and_then(|value| text(value, "key"));
    if key("ct") == Some("state") {
        return settled(words(right).contains(&"new"));
    }
    match key("meta") {
        Some("iifname" | "iif") if words(right) == ["lo"] => return settled(false),
        Some("nfproto" | "protocol") => return versions(right, is_not),
        Some("l4proto") => return protocol(right, is_not),
        Some(_) => return Test::Unknown,
        None => {}
    }
    let Some(payload) = left.get("payload") else { return Test::Unknown };
    match (text(payload, "protocol"), text(payload, "field")) {
        (Some(header @ ("tcp" | "udp" | "th")), Some("dport")) => {
            let protocol = match header {
                "tcp" => Some(Protocol::Tcp),
                "udp" => Some(Protocol::Udp),
                _ => None,
            };
            ports(right, place, sets).map_or(Test::Unknown, |ranges| Test::Port { protocol, ranges, is_not })
        }
        (Some("ip"), field) => only(Version::V4, of_header(field, right, is_not)),
        (Some("ip6"), field) => only(Version::V6, of_header(field, right, is_not)),
        (Some("icmp" | "icmpv6" | "sctp" | "dccp" | "arp"), _) => Test::Never,
        _ => Test::Unknown,
    }
}

/// What is asked of the header of either version.
fn of_header(field: Option<&str>, right: &Value, is_not: bool) -> Test {
    let settled = |holds: bool| if holds == is_not { Test::Never } else { Test::Always };
    match field {
        Some("protocol" | "nexthdr") => protocol(right, is_not),
        // Whoever comes from the Internet has none of these, and does not write to them.
        Some("saddr") if are_all(right, is_somebodys_own) => settled(false),
        Some("daddr") if are_all(right, is_for_neighbours) => settled(false),
        _ => Test::Unknown,
    }
}

fn only(version: Version, test: Test) -> Test {
    Test::Only(version, Box::new(test))
}

fn versions(right: &Value, is_not: bool) -> Test {
    if right.as_str().is_some_and(|name| name.starts_with('@')) {
        return Test::Unknown;
    }
    let among = words(right);
    let names = [(Version::V4, ["ipv4", "ip"]), (Version::V6, ["ipv6", "ip6"])];
    let held = names.into_iter().filter(|(_, names)| names.iter().any(|name| among.contains(name)) != is_not);
    Test::Version(held.map(|(version, _)| version).collect())
}

/// Elements of a set that stands in the rule, or the one value.
fn elements(value: &Value) -> Vec<&Value> {
    let listed = value.get("set").unwrap_or(value);
    let all: Vec<&Value> = listed.as_array().map_or_else(|| vec![listed], |all| all.iter().collect());
    all.into_iter().map(|one| one.pointer("/elem/val").unwrap_or(one)).collect()
}

fn words(value: &Value) -> Vec<&str> {
    elements(value).into_iter().filter_map(Value::as_str).collect()
}

fn protocol(right: &Value, is_not: bool) -> Test {
    let word = |value: &Value| match (value.as_str(), value.as_u64()) {
        (Some("tcp"), _) | (_, Some(6)) => Some(Protocol::Tcp),
        (Some("udp"), _) | (_, Some(17)) => Some(Protocol::Udp),
        _ => None,
    };
    if right.as_str().is_some_and(|name| name.starts_with('@')) {
        return Test::Unknown;
    }
    Test::Protocol { among: elements(right).into_iter().filter_map(word).collect(), is_not }
}

/// Ranges of ports; `None` when one is not understood.
fn ports(right: &Value, place: &Place, sets: &Sets<'_>) -> Option<Vec<(u16, u16)>> {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let range = |value: &Value| match value.get("range") {
        Some(bounds) => Some((number(bounds.get(0)?)?, number(bounds.get(1)?)?)),
        None => number(value).map(|one| (one, one)),
    };
    let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) else {
        return elements(right).into_iter().map(range).collect();
    };
    let set = sets.get(&(place.0.clone(), place.1.clone(), name.into()))?;
    set.iter().map(|one| range(one.pointer("/elem/val").unwrap_or(one))).collect()
}

/// True when each of the addresses and networks is such a one.
fn are_all(right: &Value, is_such: fn(IpAddr) -> bool) -> bool {
    let is_one = |value: &Value| {
        let address = value.as_str().or_else(|| value.pointer("/prefix/addr")?.as_str());
        address.and_then(|text| text.parse().ok()).is_some_and(is_such)
    };
    elements(right).into_iter().all(is_one)
}

fn is_somebodys_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

fn is_for_neighbours(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    }
}
