//! What stays the same from one answer to the next: names, times to live, limits.

use std::net::IpAddr;

use crate::config::{Config, Network, seconds};
use crate::guard::Guard;
use crate::lookup::{Client, Rules, WhenClosed};
use crate::names::{Apex, BadName, Names};
use crate::wire::name::{LowerName, MAX_NAME};
use crate::wire::writer::SOA_NUMBERS;
use crate::zone::Zone;
use crate::zone::entry::{Address, EndpointEntry, ServiceEntry, Which};

/// Seconds in a start of authority that only matter between name servers: refresh, retry, expire.
pub(crate) const SOA_TIMES: [u32; 3] = [3600, 600, 86_400];

/// Compiled configuration.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) names: Names,
    pub(crate) rules: Rules,
    pub(crate) guard: Guard,
    pub(crate) ttl_s: u32,
    pub(crate) consul_ttl_s: u32,
    pub(crate) max_udp: u16,
    /// Most records in an answer by UDP without EDNS from Consul's zone.
    consul_udp_answers: usize,
    /// Other names are forwarded, for these networks and this host.
    forward: Option<Vec<Network>>,
    zone: Authority,
    consul: Authority,
}

/// Who speaks for a zone.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Name server, wire bytes with the root label.
    pub(crate) server: Box<[u8]>,
    /// Mailbox, likewise.
    pub(crate) mailbox: Box<[u8]>,
    /// Seconds that negative answers may be cached.
    pub(crate) negative_ttl_s: u32,
    /// Data of the start of authority, its serial number left zero.
    pub(crate) soa: Box<[u8]>,
}

/// Size that every client takes by UDP (RFC 1035 section 4.2.1).
pub(crate) const PLAIN_UDP: u16 = 512;

impl Responder {
    pub(crate) fn new(config: &Config, node: &str, datacenter: &str) -> Result<Responder, BadName> {
        let names = Names::new(config, datacenter)?;
        let consul_top = names.consul.clone().unwrap_or_default();
        let authority = |top: &LowerName, node_suffix: &[u8], negative_ttl_s| {
            Authority::new(top, node, node_suffix, negative_ttl_s)
        };
        Ok(Responder {
            zone: authority(&names.zone, &names.targets.node, seconds(config.negative_ttl)),
            consul: authority(&consul_top, &names.targets.consul_node, seconds(config.consul.negative_ttl)),
            rules: Rules {
                virtual_ips: config.virtual_ips,
                consul: if config.consul.only_passing { Which::Healthy } else { Which::Usable },
            },
            guard: Guard::new(config),
            ttl_s: seconds(config.ttl),
            consul_ttl_s: seconds(config.consul.ttl),
            max_udp: config.max_udp_bytes.clamp(PLAIN_UDP, 4096),
            consul_udp_answers: config.consul.udp_answers,
            forward: config.forward.enabled.then(|| config.forward.allow.clone()),
            names,
        })
    }

    /// The one who asks from `address`.
    pub(crate) fn client(&self, zone: &Zone, address: IpAddr) -> Client {
        Client { is_local: zone.is_local(address), when_closed: WhenClosed::Open }
    }

    /// True when other names are forwarded for a client.
    pub(crate) fn forwards_for(&self, client: Client, address: IpAddr) -> bool {
        self.forward
            .as_ref()
            .is_some_and(|allowed| client.is_local || allowed.iter().any(|network| network.contains(address)))
    }

    /// Who speaks for names under `apex`.
    pub(crate) fn authority(&self, apex: Apex) -> &Authority {
        match apex {
            Apex::Consul => &self.consul,
            Apex::Zone | Apex::Own | Apex::Reverse(_) => &self.zone,
        }
    }

    /// Seconds that answers about a service may be cached.
    pub(crate) fn service_ttl(&self, entry: &ServiceEntry, apex: Apex) -> u32 {
        if apex == Apex::Consul { self.consul_ttl_s } else { entry.ttl }
    }

    /// Seconds that other answers may be cached.
    pub(crate) fn ttl(&self, apex: Apex) -> u32 {
        if apex == Apex::Consul { self.consul_ttl_s } else { self.ttl_s }
    }

    /// Most records that an answer by UDP has.
    pub(crate) fn udp_answers(&self, apex: Apex, has_edns: bool) -> usize {
        match self.consul_udp_answers {
            limit @ 1.. if apex == Apex::Consul && !has_edns => limit,
            _ => usize::MAX,
        }
    }

    /// Writes the name that an SRV record for `endpoint` points to, wire bytes with the root label; returns
    /// its length. `None` when it does not fit into `out` or into a name.
    ///
    /// As in Consul, an instance without an address of its own is found at its node's name, and others at a
    /// name that spells the address.
    pub(crate) fn srv_target(&self, endpoint: &EndpointEntry, apex: Apex, out: &mut [u8]) -> Option<usize> {
        let targets = &self.names.targets;
        let ip = match &endpoint.address {
            Address::Ip(ip) => *ip,
            Address::Host(host) => return host_name(host, &[0], out),
        };
        match apex {
            Apex::Consul if !endpoint.is_own() => {
                let node = host_name(&endpoint.node, &targets.consul_node, out);
                node.or_else(|| hex_name(ip, &targets.consul_address, out))
            }
            Apex::Consul => hex_name(ip, &targets.consul_address, out),
            _ => hex_name(ip, &targets.address, out),
        }
    }

    /// The same for a service's virtual address: the service's own name.
    pub(crate) fn virtual_target(&self, entry: &ServiceEntry, out: &mut [u8]) -> Option<usize> {
        let label = entry.label.as_bytes();
        join(&[&[label.len() as u8], label, &self.names.targets.service], out)
    }
}

impl Authority {
    fn new(top: &LowerName, node: &str, node_suffix: &[u8], negative_ttl_s: u32) -> Authority {
        let mut name = [0; MAX_NAME + 1];
        let server: Box<[u8]> = match host_name(node, node_suffix, &mut name) {
            Some(length) => name[..length].into(),
            None => [top.as_wire(), &[0]].concat().into(),
        };
        let mailbox: Box<[u8]> = [b"\x0ahostmaster", top.as_wire(), &[0]].concat().into();
        let times = SOA_TIMES.iter().chain([&negative_ttl_s]).flat_map(|number| number.to_be_bytes());
        let mut soa = [&*server, &*mailbox, &[0; 4]].concat();
        soa.extend(times);
        debug_assert_eq!(soa.len(), server.len() + mailbox.len() + SOA_NUMBERS);
        Authority { server, mailbox, negative_ttl_s, soa: soa.into() }
    }
}

fn hex_name(ip: IpAddr, suffix: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut digits = [0; 32];
    let octets: &[u8] = match &ip {
        IpAddr::V4(ip) => &ip.octets(),
        IpAddr::V6(ip) => &ip.octets(),
    };
    for (pair, octet) in digits.chunks_exact_mut(2).zip(octets) {
        pair[0] = b"0123456789abcdef"[usize::from(octet >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(octet & 15)];
    }
    let length = octets.len() * 2;
    join(&[&[length as u8], &digits[..length], suffix], out)
}

/// Labels of `host`, case kept, and then `suffix`.
pub(crate) fn host_name(host: &str, suffix: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    for label in host.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        length += join(&[&[label.len() as u8], label.as_bytes()], out.get_mut(length..)?)?;
    }
    length += join(&[suffix], out.get_mut(length..)?)?;
    (length <= MAX_NAME + 1).then_some(length)
}

fn join(parts: &[&[u8]], out: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    for part in parts {
        out.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    Some(length)
}
