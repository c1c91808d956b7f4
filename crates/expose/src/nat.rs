//! What stands between this host and the world, judged from what its router says and what others see.

use std::fmt;
use std::net::IpAddr;

use crate::router::is_public;

/// What was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The address that this host sends from.
    pub own: Option<IpAddr>,
    /// The address that its router says it has.
    pub router: Option<IpAddr>,
    /// The addresses that servers outside saw, each once.
    pub seen: Vec<IpAddr>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This host has a public address.
    Open(IpAddr),
    /// One router, and mappings there suffice.
    OneNat(IpAddr),
    /// Behind the router stands another, which this host cannot ask.
    DoubleNat {
        /// What the router takes for its address.
        router: IpAddr,
        /// What the world sees, where somebody told.
        seen: Option<IpAddr>,
    },
    /// The provider shares one address among many (RFC 6598): nothing can be mapped there.
    CarrierNat(IpAddr),
    /// A router that cannot be asked.
    Silent {
        /// What the world sees.
        seen: Option<IpAddr>,
    },
    /// The world sees this host at several addresses.
    Several(Vec<IpAddr>),
}

/// Judges. Without anybody outside who tells, a router is believed that says it has a public address.
pub fn judge(observed: &Observed) -> Verdict {
    let Observed { own, router, seen } = observed;
    if let Some(own) = own.filter(|own| is_public(*own)) {
        return Verdict::Open(own);
    }
    if seen.len() > 1 {
        return Verdict::Several(seen.clone());
    }
    let seen = seen.first().copied();
    match *router {
        Some(IpAddr::V4(v4)) if v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]) => {
            Verdict::CarrierNat(v4.into())
        }
        Some(router) if is_public(router) && seen.is_none_or(|seen| seen == router) => {
            Verdict::OneNat(router)
        }
        Some(router) => Verdict::DoubleNat { router, seen },
        None => Verdict::Silent { seen },
    }
}

impl Verdict {
    /// True when mappings at the router make services reachable.
    pub fn is_reachable(&self) -> bool {
        matches!(self, Verdict::Open(_) | Verdict::OneNat(_))
    }

    /// What to do about it; nothing when all is well.
    pub fn hint(&self) -> &'static str {
        match self {
            Verdict::Open(_) | Verdict::OneNat(_) => "",
            Verdict::DoubleNat { .. } => {
                "map the ports at the outer router too, or make the inner one a bridge; if that is done, say \
                 exposure.public_address"
            }
            Verdict::CarrierNat(_) => {
                "ask the provider for a public address, or let a node elsewhere expose: portolan expose --via NODE"
            }
            Verdict::Silent { .. } => "switch UPnP, PCP or NAT-PMP on in the router",
            Verdict::Several(_) => "say which address counts: exposure.public_address",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told =
            |seen: &Option<IpAddr>| seen.map_or_else(String::new, |seen| format!("; the world sees {seen}"));
        match self {
            Verdict::Open(own) => write!(f, "open: this host has the public address {own}"),
            Verdict::OneNat(router) => write!(f, "one NAT: the router has the public address {router}"),
            Verdict::DoubleNat { router, seen } => {
                write!(f, "double NAT: the router's own address is {router}{}", told(seen))
            }
            Verdict::CarrierNat(router) => {
                write!(f, "carrier NAT: the router's address {router} is shared by the provider among many")
            }
            Verdict::Silent { seen } => write!(f, "unknown: no router tells its address{}", told(seen)),
            Verdict::Several(seen) => {
                let all: Vec<String> = seen.iter().map(IpAddr::to_string).collect();
                write!(f, "several ways out: the world sees {}", all.join(" and "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_be_hidden_is_told_apart() {
        let verdict = |own: &str, router: &str, seen: &[&str]| {
            let parse = |text: &str| text.parse().ok();
            let seen = seen.iter().filter_map(|text| parse(text)).collect();
            judge(&Observed { own: parse(own), router: parse(router), seen }).to_string()
        };
        for (own, router, seen, said) in [
            ("45.83.0.1", "", &[][..], "open"),
            ("192.168.1.2", "45.83.0.1", &[], "one NAT"),
            ("192.168.1.2", "45.83.0.1", &["45.83.0.1"], "one NAT"),
            ("192.168.1.2", "45.83.0.1", &["45.83.0.9"], "double NAT"),
            ("192.168.1.2", "192.168.2.1", &[], "double NAT"),
            ("192.168.1.2", "100.64.3.4", &["45.83.0.9"], "carrier NAT"),
            ("192.168.1.2", "", &["45.83.0.9"], "unknown"),
            ("192.168.1.2", "45.83.0.1", &["45.83.0.1", "45.83.0.9"], "several"),
        ] {
            let verdict = verdict(own, router, seen);
            assert!(verdict.starts_with(said), "{verdict}");
        }
    }
}
