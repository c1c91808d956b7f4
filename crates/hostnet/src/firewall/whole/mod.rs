//! What the whole ruleset of this host does with a stranger's first packet to a port: what one chain lets in, another
//! may still drop.
//!
//! A packet from the Internet that begins a connection is walked through every base chain on its way, one of IPv4 and one
//! of IPv6. A test that is not understood (a set of addresses, a rate) may hold or not: what is told is lost for certain.
//!
//! What is absent: packets on their way to other hosts, chains below the network layer, and the legacy tables of iptables,
//! which nft does not list.

mod read;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::exposure::{Port, Protocol};

pub(super) use read::read;

/// Chains that lead to each other deeper than this are not followed; the kernel allows 16 too.
const DEEPEST: usize = 16;
/// Most rules that are looked at for one port: chains may lead to each other in ever more ways.
const MOST_STEPS: u32 = 200_000;

/// Chains of one table, by family, table and name.
type Place = (Arc<str>, Arc<str>, Arc<str>);

/// All that was listed.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    chains: BTreeMap<Place, Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Packets to this host pass through it: whether its policy drops them.
    base: Option<bool>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// For people: its handle, and what its author said of it.
    name: String,
    /// All of them must hold.
    tests: Vec<Test>,
    /// The first whose test holds counts.
    endings: Vec<(Test, Verdict)>,
}

/// Which way the packet comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// What is known of a stranger's first packet.
#[derive(Debug, Clone, Copy)]
struct Packet {
    port: Port,
    version: Version,
}

impl Packet {
    /// True when chains of this family see it.
    fn passes(self, family: &str) -> bool {
        match self.version {
            Version::V4 => ["ip", "inet"].contains(&family),
            Version::V6 => ["ip6", "inet"].contains(&family),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Maybe,
    Yes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Always,
    Never,
    Unknown,
    /// One of these.
    Version(Vec<Version>),
    /// It asks a header that packets of this version alone have.
    Only(Version, Box<Test>),
    /// One of these protocols, or none of them.
    Protocol {
        among: Vec<Protocol>,
        is_not: bool,
    },
    /// A port in one of these ranges, or in none.
    Port {
        protocol: Option<Protocol>,
        ranges: Vec<(u16, u16)>,
        is_not: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Arc<str>),
    Goto(Arc<str>),
    Unknown,
}

/// What becomes of a packet in a chain.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Lost(String),
    /// Nobody decides, so whoever sent it here goes on.
    Falls,
    Unsure,
}

impl Test {
    fn of(&self, packet: Packet) -> Known {
        let known = |holds: bool| if holds { Known::Yes } else { Known::No };
        let port = packet.port;
        match self {
            Test::Always => Known::Yes,
            Test::Never => Known::No,
            Test::Unknown => Known::Maybe,
            Test::Version(among) => known(among.contains(&packet.version)),
            Test::Only(version, test) if *version == packet.version => test.of(packet),
            Test::Only(..) => Known::No,
            Test::Protocol { among, is_not } => known(among.contains(&port.protocol) != *is_not),
            Test::Port { protocol, .. } if protocol.is_some_and(|one| one != port.protocol) => Known::No,
            Test::Port { ranges, is_not, .. } => {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&port.number));
                known(is_in != *is_not)
            }
        }
    }
}

impl Rule {
    /// Whether it applies, and what it says.
    fn says(&self, packet: Packet) -> (Known, Option<&Verdict>) {
        let all = self.tests.iter().map(|test| test.of(packet));
        let applies = all.fold(Known::Yes, |all, one| match (all, one) {
            (Known::No, _) | (_, Known::No) => Known::No,
            (Known::Maybe, _) | (_, Known::Maybe) => Known::Maybe,
            (Known::Yes, Known::Yes) => Known::Yes,
        });
        let ending = self.endings.iter().find(|(test, _)| test.of(packet) != Known::No);
        match ending {
            Some((test, verdict)) if test.of(packet) == Known::Yes => (applies, Some(verdict)),
            Some((_, verdict)) if applies != Known::No => (Known::Maybe, Some(verdict)),
            _ => (applies, None),
        }
    }
}

impl Ruleset {
    /// Who drops a stranger's first packet of this version to this port for certain; `None` when nobody does.
    pub(super) fn loses(&self, port: Port, version: Version) -> Option<String> {
        let packet = Packet { port, version };
        let passed = self.chains.iter().filter(|((family, ..), _)| packet.passes(family));
        passed.into_iter().find_map(|(place, chain)| {
            let drops = chain.base?;
            let (family, table, name) = place;
            match (Walk { rules: self, packet, left: Cell::new(MOST_STEPS) }).through(place, chain, 0) {
                Fate::Lost(by) => Some(by),
                Fate::Falls if drops => Some(format!("the policy of nft {family} {table} {name}")),
                Fate::Falls | Fate::Passes | Fate::Unsure => None,
            }
        })
    }
}

/// One packet's way.
struct Walk<'a> {
    rules: &'a Ruleset,
    packet: Packet,
    /// Rules that may still be looked at.
    left: Cell<u32>,
}

impl Walk<'_> {
    fn through(&self, place: &Place, chain: &Chain, depth: usize) -> Fate {
        if depth > DEEPEST {
            return Fate::Unsure;
        }
        let mut is_unsure = false;
        for rule in &chain.rules {
            if self.left.replace(self.left.get().saturating_sub(1)) == 0 {
                return Fate::Unsure;
            }
            let (applies, Some(verdict)) = rule.says(self.packet) else { continue };
            if applies == Known::No {
                continue;
            }
            let (family, table, name) = place;
            let fate = match verdict {
                Verdict::Accept => Fate::Passes,
                Verdict::Drop => Fate::Lost(format!("nft {family} {table} {name}, {}", rule.name)),
                Verdict::Return => Fate::Falls,
                Verdict::Unknown => Fate::Unsure,
                Verdict::Jump(target) | Verdict::Goto(target) => {
                    let target = (family.clone(), table.clone(), target.clone());
                    let next = self.rules.chains.get(&target);
                    let fate = next.map_or(Fate::Unsure, |next| self.through(&target, next, depth + 1));
                    if fate == Fate::Falls && matches!(verdict, Verdict::Jump(_)) {
                        continue;
                    }
                    fate
                }
            };
            match (fate, applies) {
                (Fate::Passes, Known::Yes) => return Fate::Passes,
                (fate @ (Fate::Lost(_) | Fate::Falls), Known::Yes) if !is_unsure => return fate,
                (Fate::Lost(_) | Fate::Falls, Known::Yes) => return Fate::Unsure,
                (Fate::Lost(_), _) => {}
                (Fate::Passes | Fate::Falls | Fate::Unsure, _) => is_unsure = true,
            }
        }
        if is_unsure { Fate::Unsure } else { Fate::Falls }
    }
}

#[cfg(test)]
mod tests {
    use super::Version::{V4, V6};
    use super::*;

    fn tcp(number: u16) -> Port {
        Port { protocol: Protocol::Tcp, number }
    }

    /// A table with base chain `input` of this policy, and these rules in it.
    fn ruleset(policy: &str, rules: &[&str], more: &str) -> Ruleset {
        let rules: Vec<String> = rules
            .iter()
            .zip(7..)
            .map(|(expr, handle)| {
                format!(
                    r#",{{"rule":{{"family":"inet","table":"host","chain":"input","handle":{handle},"expr":[{expr}]}}}}"#
                )
            })
            .collect();
        let base = format!(
            r#"{{"chain":{{"family":"inet","table":"host","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}}"#
        );
        read(&format!(r#"{{"nftables":[{base}{more}{}]}}"#, rules.concat())).unwrap()
    }

    const KNOWN: &str = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},{"accept":null}"#;
    const LOOPBACK: &str =
        r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}},{"accept":null}"#;

    fn dport(right: &str, verdict: &str) -> String {
        let left = r#"{"payload":{"protocol":"tcp","field":"dport"}}"#;
        format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}},{{"{verdict}":null}}"#)
    }

    #[test]
    fn a_policy_drops_what_nobody_accepts() {
        let open = dport(r#"{"set":[22,{"range":[1000,2000]}]}"#, "accept");
        let rules = ruleset("drop", &[LOOPBACK, KNOWN, &open], "");
        assert_eq!(rules.loses(tcp(1337), V4), None);
        assert_eq!(rules.loses(tcp(443), V4).as_deref(), Some("the policy of nft inet host input"));
        let udp = Port { protocol: Protocol::Udp, number: 1337 };
        assert!(rules.loses(udp, V4).is_some());
        assert_eq!(ruleset("accept", &[], "").loses(tcp(443), V4), None);
    }

    #[test]
    fn a_rule_that_drops_is_named_and_one_that_may_is_not() {
        let shut = dport("1337", "drop");
        let rules = ruleset("accept", &[&shut], "");
        assert_eq!(rules.loses(tcp(1337), V4).as_deref(), Some("nft inet host input, rule 7"));
        assert_eq!(rules.loses(tcp(1338), V4), None);
        let banned = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@banned"}},{"drop":null}"#;
        assert_eq!(ruleset("accept", &[banned], "").loses(tcp(1337), V4), None);
        // Somebody may be let in, so it is not certain that the policy has them.
        let friends = banned.replace("drop", "accept");
        assert_eq!(ruleset("drop", &[&friends], "").loses(tcp(1337), V4), None);
        let lan = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"192.168.0.0","len":16}}}},{"accept":null}"#;
        assert!(
            ruleset("drop", &[lan], "").loses(tcp(1337), V4).is_some(),
            "a stranger is not of this network"
        );
    }

    #[test]
    fn chains_maps_and_sets_are_followed() {
        let ours = r#",{"chain":{"family":"inet","table":"host","name":"OURS"}},{"rule":{"family":"inet","table":"host","chain":"OURS","handle":40,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@open"}},{"accept":null}]}},{"set":{"family":"inet","table":"host","name":"open","type":"inet_service","elem":[443]}}"#;
        let jump = r#"{"jump":{"target":"OURS"}}"#;
        let states = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}}}"#;
        let rules =
            ruleset("drop", &[states, jump, r#"{"counter":{"packets":0,"bytes":0}},{"drop":null}"#], ours);
        assert_eq!(rules.loses(tcp(443), V4), None);
        assert_eq!(rules.loses(tcp(80), V4).as_deref(), Some("nft inet host input, rule 9"));
        let all_new = states.replace("invalid", "new");
        assert_eq!(
            ruleset("accept", &[&all_new], "").loses(tcp(80), V4).as_deref(),
            Some("nft inet host input, rule 7")
        );
    }

    #[test]
    fn what_goes_in_circles_ends() {
        let circle = r#",{"chain":{"family":"inet","table":"host","name":"OURS"}},{"rule":{"family":"inet","table":"host","chain":"OURS","handle":40,"expr":[{"jump":{"target":"OURS"}}]}}"#;
        assert_eq!(ruleset("drop", &[r#"{"jump":{"target":"OURS"}}"#], circle).loses(tcp(1), V4), None);
    }

    #[test]
    fn each_version_goes_its_own_way() {
        let listing = |family: &str, rule: &str| {
            let base = format!(
                r#"{{"chain":{{"family":"{family}","table":"t","name":"in","type":"filter","hook":"input","prio":0,"policy":"accept"}}}}"#
            );
            let rule = format!(
                r#"{{"rule":{{"family":"{family}","table":"t","chain":"in","handle":3,"expr":[{rule}]}}}}"#
            );
            read(&format!(r#"{{"nftables":[{base},{rule}]}}"#)).unwrap()
        };
        let lost =
            |rules: &Ruleset| (rules.loses(tcp(443), V4).is_some(), rules.loses(tcp(443), V6).is_some());
        let of = |left: &str, right: &str, verdict: &str| {
            format!(r#"{{"match":{{"op":"==","left":{left},"right":{right}}}}},{{"{verdict}":null}}"#)
        };
        let payload = |header: &str, field: &str| {
            format!(r#"{{"payload":{{"protocol":"{header}","field":"{field}"}}}}"#)
        };
        for (family, due) in [("ip", (true, false)), ("ip6", (false, true)), ("inet", (true, true))] {
            assert_eq!(lost(&listing(family, &dport("443", "drop"))), due, "{family}");
        }
        let nfproto = r#"{"meta":{"key":"nfproto"}}"#;
        for (left, right, due) in [
            (nfproto, "\"ipv6\"", (false, true)),
            (nfproto, "\"ipv4\"", (true, false)),
            (nfproto, "{\"set\":[\"ipv4\",\"ipv6\"]}", (true, true)),
            (r#"{"meta":{"key":"protocol"}}"#, "\"ip6\"", (false, true)),
            (&payload("ip6", "nexthdr"), "\"tcp\"", (false, true)),
            (&payload("ip", "protocol"), "\"tcp\"", (true, false)),
            (&payload("ip6", "saddr"), r#"{"prefix":{"addr":"fd00::","len":8}}"#, (false, false)),
            (&payload("ip6", "saddr"), r#"{"prefix":{"addr":"2000::","len":3}}"#, (false, false)),
            (&payload("ether", "saddr"), "\"02:00:00:00:00:01\"", (false, false)),
            (&payload("icmpv6", "type"), "\"echo-request\"", (false, false)),
        ] {
            assert_eq!(lost(&listing("inet", &of(left, right, "drop"))), due, "{left} {right}");
        }
        // Who may be let in is not lost for certain, and a header of the other version lets nobody in.
        let table = |accept: &str| ruleset("drop", &[accept], "");
        let lan = of(&payload("ip6", "saddr"), "\"@friends\"", "accept");
        assert_eq!(lost(&table(&lan)), (true, false));
        let from_link = of(&payload("ip6", "saddr"), r#"{"prefix":{"addr":"fe80::","len":10}}"#, "accept");
        assert_eq!(lost(&table(&from_link)), (true, true));
        let to_all = of(&payload("ip6", "daddr"), "\"ff02::fb\"", "accept");
        assert_eq!(lost(&table(&to_all)), (true, true));
        let by_mac = of(&payload("ether", "saddr"), "\"02:00:00:00:00:01\"", "accept");
        assert_eq!(lost(&table(&by_mac)), (false, false));
    }
}
