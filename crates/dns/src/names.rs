//! What a name asks for. Names and configuration alone decide; nothing is looked up here.
//!
//! ```text
//! <service>.<zone>                     virtual address for clients on this host, endpoints for others
//! <service>.endpoints.<zone>           endpoints for everybody
//! _<service>._tcp.<zone>               the same two as RFC 2782 writes them
//! <node>.node.<zone>  <hex>.addr.<zone>
//! <service>                            as <service>.<zone>
//!
//! [<tag>.]<service>.service[.<dc>].<domain>      _<service>._<tag>[.service][.<dc>].<domain>
//! <name>.query[.<dc>].<domain>
//! <node>.node[.<dc>].<domain>  <hex>.addr[.<dc>].<domain>  <service>.virtual[.<dc>].<domain>
//! ```
//!
//! `<dc>` may also be written `<dc>.dc`, as newer Consuls do. A new form of name is a new arm here and, if
//! it finds something new, in `lookup`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Config;
use crate::wire::name::{LowerName, MAX_NAME};

/// Why the configured names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use \"{text}\" as DNS {what}: it is not made of labels of 1 to 63 characters, 190 at most in all")]
pub struct BadName {
    what: &'static str,
    text: String,
}

/// Longest suffix: a node or address label in front of it still fits.
const MAX_SUFFIX: usize = 190;

/// The configured suffixes, compiled.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) zone: LowerName,
    /// `None` when Consul's names are off.
    pub(crate) consul: Option<LowerName>,
    pub(crate) datacenter: Vec<u8>,
    pub(crate) bare: bool,
    /// Suffixes of SRV targets, with the root label.
    pub(crate) targets: Targets,
    v4: LowerName,
    v6: LowerName,
}

/// Suffixes of the names that SRV records point to, as wire bytes with the root label.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) service: Box<[u8]>,
    pub(crate) address: Box<[u8]>,
    pub(crate) node: Box<[u8]>,
    pub(crate) consul_address: Box<[u8]>,
    pub(crate) consul_node: Box<[u8]>,
}

/// Under which start of authority a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apex {
    /// Our zone.
    Zone,
    /// Consul's.
    Consul,
    /// A bare name or an address under `arpa`: a zone of its own.
    Own,
    /// The octets, or hexadecimal digits, of the range of virtual addresses: as many labels from the right.
    Reverse(usize),
}

/// What a name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked<'n> {
    /// A service in our zone, or bare. `otherwise` when a name that we reserve under the zone is asked for
    /// and no service has it: the name exists, with nothing at it.
    Service { label: &'n [u8], endpoints: bool, apex: Apex, otherwise: Otherwise },
    /// A service in Consul's zone.
    ConsulService { label: &'n [u8], tag: Option<Tag<'n>> },
    /// What a prepared query finds: the labels of its name, which may have dots.
    ConsulQuery { name: &'n [u8] },
    /// A service's virtual address in Consul's zone.
    ConsulVirtual { label: &'n [u8] },
    /// A node, by the labels of its name.
    Node { key: &'n [u8], apex: Apex },
    /// An address written into a name.
    Address { ip: IpAddr, apex: Apex },
    /// The name of an address.
    Reverse(IpAddr),
    /// The top of a zone.
    Top(Apex),
    /// Nothing stands here, but names below exist (RFC 8020).
    Empty(Apex),
    /// Ours, and nothing has it.
    Missing(Apex),
    /// Not ours.
    Foreign,
}

/// The tag in a name, lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag<'n> {
    /// Labels with their length bytes: a tag may have dots, and then it spans labels.
    Labels(&'n [u8]),
    /// What stood behind an underscore.
    Word(&'n [u8]),
}

/// What a service name that nobody registered is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    Missing,
    Empty,
    Foreign,
}

impl Names {
    pub(crate) fn new(config: &Config, datacenter: &str) -> Result<Names, BadName> {
        let zone = suffix("zone", &config.zone)?;
        let consul = match config.consul.domain.is_empty() {
            true => None,
            false => Some(suffix("Consul domain", &config.consul.domain)?),
        };
        let label = suffix("datacenter", datacenter)?;
        if label.labels() != 1 {
            return Err(BadName { what: "datacenter", text: datacenter.into() });
        }
        let in_consul = |first: &[u8]| {
            let domain = consul.as_ref().map_or(&[][..], LowerName::as_wire);
            [first, label.as_wire(), domain, &[0]].concat().into()
        };
        let in_zone = |first: &[u8]| [first, zone.as_wire(), &[0]].concat().into();
        let targets = Targets {
            service: in_zone(b""),
            address: in_zone(b"\x04addr"),
            node: in_zone(b"\x04node"),
            consul_address: in_consul(b"\x04addr"),
            consul_node: in_consul(b"\x04node"),
        };
        let datacenter = label.label(0).to_vec();
        let (v4, v6) = (suffix("zone", "in-addr.arpa")?, suffix("zone", "ip6.arpa")?);
        Ok(Names { zone, consul, datacenter, bare: config.bare_names, targets, v4, v6 })
    }

    /// What `name` asks for.
    pub(crate) fn classify<'n>(&self, name: &'n LowerName) -> Asked<'n> {
        if let Some(rest) = name.before(&self.zone) {
            return in_zone(name, rest);
        }
        if let Some(rest) = self.consul.as_ref().and_then(|domain| name.before(domain)) {
            return self.in_consul(name, rest);
        }
        if name.labels() == 1 && self.bare {
            let (label, apex, otherwise) = (name.label(0), Apex::Own, Otherwise::Foreign);
            return Asked::Service { label, endpoints: false, apex, otherwise };
        }
        let address = match (name.before(&self.v4), name.before(&self.v6)) {
            (Some(4), _) => reverse_v4(name),
            (_, Some(32)) => reverse_v6(name),
            _ => None,
        };
        address.map_or(Asked::Foreign, Asked::Reverse)
    }

    fn in_consul<'n>(&self, name: &'n LowerName, mut rest: usize) -> Asked<'n> {
        let apex = Apex::Consul;
        if rest == 0 {
            return Asked::Top(apex);
        }
        if rest >= 2 && name.label(rest - 1) == b"dc" && name.label(rest - 2) == self.datacenter {
            rest -= 2;
        } else if name.label(rest - 1) == self.datacenter {
            rest -= 1;
        }
        let Some(last) = rest.checked_sub(1) else { return Asked::Empty(apex) };
        match (name.label(last), last) {
            (b"service" | b"node" | b"addr" | b"virtual" | b"query", 0) => Asked::Empty(apex),
            (b"service", _) => consul_service(name, last),
            (b"node", _) => Asked::Node { key: name.first(last), apex },
            (b"query", _) => Asked::ConsulQuery { name: name.first(last) },
            (b"addr", 1) => hex_address(name.label(0), apex),
            (b"virtual", 1) => Asked::ConsulVirtual { label: name.label(0) },
            _ => rfc2782(name, rest).unwrap_or(Asked::Missing(apex)),
        }
    }
}

fn in_zone(name: &LowerName, rest: usize) -> Asked<'_> {
    let apex = Apex::Zone;
    let service = |label, endpoints, otherwise| Asked::Service { label, endpoints, apex, otherwise };
    let Some(last) = rest.checked_sub(1).map(|last| name.label(last)) else { return Asked::Top(apex) };
    match rest {
        1 if is_reserved(last) => service(last, false, Otherwise::Empty),
        1 if is_protocol(last) => Asked::Empty(apex),
        1 => service(last, false, Otherwise::Missing),
        2 if last == b"endpoints" && is_protocol(name.label(0)) => Asked::Empty(apex),
        2 if last == b"endpoints" => service(name.label(0), true, Otherwise::Missing),
        2 if last == b"addr" => hex_address(name.label(0), apex),
        _ if last == b"node" => Asked::Node { key: name.first(rest - 1), apex },
        2 if is_protocol(last) => match underscored(name.label(0)) {
            Some(label) => service(label, false, Otherwise::Missing),
            None => Asked::Missing(apex),
        },
        3 if last == b"endpoints" && is_protocol(name.label(1)) => match underscored(name.label(0)) {
            Some(label) => service(label, true, Otherwise::Missing),
            None => Asked::Missing(apex),
        },
        _ => Asked::Missing(apex),
    }
}

/// `[<tag>.]<service>.service`: `before` labels stand before `service`.
fn consul_service(name: &LowerName, before: usize) -> Asked<'_> {
    if let Some(asked) = rfc2782(name, before) {
        return asked;
    }
    if before == 1 && is_protocol(name.label(0)) {
        return Asked::Empty(Apex::Consul);
    }
    let tag = (before > 1).then(|| Tag::Labels(name.first(before - 1)));
    Asked::ConsulService { label: name.label(before - 1), tag }
}

/// `_<service>._<tag>`, where `_tcp` is no tag; `rest` labels in all.
fn rfc2782(name: &LowerName, rest: usize) -> Option<Asked<'_>> {
    if rest == 1 && is_protocol(name.label(0)) {
        return Some(Asked::Empty(Apex::Consul));
    }
    if rest != 2 {
        return None;
    }
    let label = underscored(name.label(0))?;
    let tag = underscored(name.label(1))?;
    Some(Asked::ConsulService { label, tag: (tag != b"tcp").then_some(Tag::Word(tag)) })
}

impl<'n> Tag<'n> {
    /// The tag as it is registered, in lower case, with its dots written into `out`; `None` when a label has dots of its
    /// own, and then no tag is meant.
    pub(crate) fn text<'b>(self, out: &'b mut [u8; MAX_NAME]) -> Option<&'b [u8]>
    where
        'n: 'b,
    {
        let mut rest = match self {
            Tag::Labels(labels) => labels,
            Tag::Word(word) => return Some(word),
        };
        let mut end = 0;
        while let Some((length, tail)) = rest.split_first() {
            let (label, tail) = tail.split_at_checked(usize::from(*length))?;
            if label.contains(&b'.') {
                return None;
            }
            if end > 0 {
                *out.get_mut(end)? = b'.';
                end += 1;
            }
            out.get_mut(end..end + label.len())?.copy_from_slice(label);
            (end, rest) = (end + label.len(), tail);
        }
        out.get(..end)
    }

    /// True when `tag`, as registered, is what was asked for.
    pub(crate) fn matches(self, tag: &str) -> bool {
        let mut rest = match self {
            Tag::Labels(labels) => labels,
            Tag::Word(word) => return tag.as_bytes().eq_ignore_ascii_case(word),
        };
        let mut parts = tag.as_bytes().split(|byte| *byte == b'.');
        while let Some((length, tail)) = rest.split_first() {
            let Some((label, tail)) = tail.split_at_checked(usize::from(*length)) else { return false };
            if !parts.next().is_some_and(|part| part.eq_ignore_ascii_case(label)) {
                return false;
            }
            rest = tail;
        }
        parts.next().is_none()
    }
}

fn is_reserved(label: &[u8]) -> bool {
    matches!(label, b"endpoints" | b"node" | b"addr")
}

fn is_protocol(label: &[u8]) -> bool {
    matches!(label, b"_tcp" | b"_udp")
}

fn underscored(label: &[u8]) -> Option<&[u8]> {
    label.strip_prefix(b"_").filter(|rest| !rest.is_empty())
}

/// `7f000001` or 32 digits of an IPv6 address.
fn hex_address(label: &[u8], apex: Apex) -> Asked<'static> {
    let digits = std::str::from_utf8(label).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
    let ip = match (label.len(), digits) {
        (8, Some(digits)) => u32::from_str_radix(digits, 16).ok().map(|n| IpAddr::V4(Ipv4Addr::from(n))),
        (32, Some(digits)) => u128::from_str_radix(digits, 16).ok().map(|n| IpAddr::V6(Ipv6Addr::from(n))),
        _ => None,
    };
    ip.map_or(Asked::Missing(apex), |ip| Asked::Address { ip, apex })
}

fn reverse_v4(name: &LowerName) -> Option<IpAddr> {
    let mut octets = [0; 4];
    for (at, octet) in octets.iter_mut().rev().enumerate() {
        let text = std::str::from_utf8(name.label(at)).ok()?;
        if text.starts_with('+') || (text.len() > 1 && text.starts_with('0')) {
            return None;
        }
        *octet = text.parse().ok()?;
    }
    Some(IpAddr::from(octets))
}

fn reverse_v6(name: &LowerName) -> Option<IpAddr> {
    let digits = (0..32).rev().try_fold(0u128, |number, at| match name.label(at) {
        [digit] => Some(number << 4 | u128::from((*digit as char).to_digit(16)?)),
        _ => None,
    });
    digits.map(|number| IpAddr::V6(Ipv6Addr::from(number)))
}

fn suffix(what: &'static str, text: &str) -> Result<LowerName, BadName> {
    LowerName::parse(text)
        .filter(|name| name.labels() > 0 && name.as_wire().len() <= MAX_SUFFIX)
        .ok_or_else(|| BadName { what, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name per line, and what it asks for.
    const SCENARIO: &str = include_str!("../tests/data/names.txt");

    fn show(asked: Asked<'_>) -> String {
        let text = |label: &[u8]| label.escape_ascii().to_string();
        match asked {
            Asked::Service { label, endpoints, apex, otherwise } => {
                let view = if endpoints { "endpoints of" } else { "service" };
                format!("{view} {} in {apex:?}, else {otherwise:?}", text(label))
            }
            Asked::ConsulService { label, tag: None } => format!("consul service {}", text(label)),
            Asked::ConsulService { label, tag: Some(tag) } => {
                let tag = match tag {
                    Tag::Labels(labels) => format!("labels {}", text(labels)),
                    Tag::Word(word) => format!("word {}", text(word)),
                };
                format!("consul service {} tag {tag}", text(label))
            }
            Asked::ConsulQuery { name } => format!("consul query {}", text(name)),
            Asked::ConsulVirtual { label } => format!("consul virtual {}", text(label)),
            Asked::Node { key, apex } => format!("node {} in {apex:?}", text(key)),
            Asked::Address { ip, apex } => format!("address {ip} in {apex:?}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_ask_for_what_the_scenario_says() {
        let names = Names::new(&Config::default(), "dc1").unwrap();
        for line in SCENARIO.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, expected) = line.split_once("->").unwrap();
            let name = LowerName::parse(&name.trim().to_ascii_lowercase()).unwrap();
            assert_eq!(show(names.classify(&name)), expected.trim(), "{name:?}");
        }
    }

    #[test]
    fn tags_may_have_dots() {
        assert!(Tag::Labels(b"\x02v1").matches("V1"));
        assert!(Tag::Word(b"v1").matches("v1"));
        assert!(Tag::Labels(b"\x02v1\x012").matches("v1.2"));
        assert!(!Tag::Labels(b"\x02v1\x012").matches("v1"));
        assert!(!Tag::Labels(b"\x02v1").matches("v1.2"));
        assert!(!Tag::Labels(b"\x02v1").matches(""));
    }

    #[test]
    fn suffixes_must_be_names() {
        let bad = Config { zone: "a..b".into(), ..Config::default() };
        assert!(Names::new(&bad, "dc1").unwrap_err().to_string().contains("a..b"));
        assert!(Names::new(&Config::default(), "a.b").is_err());
        assert!(Names::new(&Config { zone: String::new(), ..Config::default() }, "dc1").is_err());
    }
}
