//! What was found, as records of every type.

use std::net::IpAddr;

use domain::base::iana::{OptRcode, Rtype};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Name, Serial, ToName, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ns, Ptr, Soa, Srv, Txt, ZoneRecordData};

use crate::lookup::{Client, Found, Selection, WhenClosed, lookup};
use crate::names::Apex;
use crate::responder::{Authority, Responder};
use crate::slow::request::Request;
use crate::wire::name::{LowerName, MAX_NAME};
use crate::wire::writer::PRIORITY;
use crate::zone::entry::{Address, EndpointEntry, Family, NodeEntry};
use crate::zone::{Holder, Zone};

pub(crate) type Owned = Name<Vec<u8>>;
pub(crate) type Data = ZoneRecordData<Vec<u8>, Owned>;

/// A record of class IN.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) owner: Owned,
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

/// An answer before it is bytes.
#[derive(Debug)]
pub(crate) struct Sections {
    pub(crate) code: OptRcode,
    /// The name is in one of our zones.
    pub(crate) is_ours: bool,
    pub(crate) answers: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
    /// Nothing was found: whose start of authority says so, and under which name.
    pub(crate) negative: Option<Negative>,
    /// Bytes that further answers may have.
    room: usize,
}

/// Where a negative answer's start of authority stands.
#[derive(Debug)]
pub(crate) struct Negative {
    apex: Apex,
    owner: Owned,
}

impl Sections {
    /// No records at all.
    pub(crate) fn of_code(code: OptRcode) -> Sections {
        let (answers, additionals, negative) = Default::default();
        Sections { code, is_ours: false, answers, additionals, negative, room: usize::MAX }
    }

    /// Adds to the answers. False once they cannot all fit, however short their names become: what is made after that
    /// is made for nothing.
    fn answer(&mut self, record: Record) -> bool {
        let least = SHORTEST_HEAD + record.data.rdlen(true).map_or(SHORTEST_NAME, usize::from);
        self.answers.push(record);
        let room = self.room.checked_sub(least);
        self.room = room.unwrap_or(0);
        room.is_some()
    }
}

/// A record's head behind a name that is compressed or the root; and the shortest such name.
const SHORTEST_HEAD: usize = SHORTEST_NAME + 10;
const SHORTEST_NAME: usize = 1;

impl Sections {
    /// Addresses at a name that is no zone of ours, and a zone of its own: whoever asks for anything else is told that
    /// there is nothing.
    pub(crate) fn of_addresses(
        responder: &Responder,
        owner: &Owned,
        qtype: Rtype,
        ips: &[IpAddr],
    ) -> Sections {
        let mut sections = Sections { is_ours: true, ..Sections::of_code(OptRcode::NOERROR) };
        let ttl = responder.ttl(Apex::Own);
        push_addresses(owner, qtype, ttl, ips.iter().copied(), usize::MAX, &mut sections);
        if sections.answers.is_empty() {
            sections.negative = Some(Negative { apex: Apex::Own, owner: owner.clone() });
        }
        sections
    }
}

impl Negative {
    pub(crate) fn record(&self, responder: &Responder, serial: u32) -> Record {
        let authority = responder.authority(self.apex);
        let ttl = authority.negative_ttl_s;
        Record { owner: self.owner.clone(), ttl, data: soa(authority, serial) }
    }
}

/// Everything that answers `request`, which found `found`: as many records as can fit into `limit` bytes, and one more
/// where there is one, so that it is seen. `most` says how many records an answer from a zone may have.
pub(crate) fn collect(
    responder: &Responder,
    zone: &Zone,
    request: &Request<'_>,
    found: &Found<'_>,
    turn: u32,
    (limit, most): (usize, &dyn Fn(Apex) -> usize),
) -> Sections {
    let Ok(question) = request.message.sole_question() else {
        return Sections::of_code(OptRcode::FORMERR);
    };
    let name: Owned = question.qname().to_name();
    let collector = Collector { responder, zone, turn, most, depth: 0 };
    let mut sections = Sections { is_ours: true, room: limit, ..Sections::of_code(OptRcode::NOERROR) };
    let apex = collector.answers(&name, request.qtype, found, &mut sections);
    if sections.answers.is_empty() {
        let before = responder.names.before_apex(&request.lower, apex);
        let owner =
            Name::from_octets(name.as_slice()[before..].to_vec()).unwrap_or_else(|_| Name::root_vec());
        sections.negative = Some(Negative { apex, owner });
    }
    if matches!(found, Found::Missing(_)) {
        sections.code = OptRcode::NXDOMAIN;
    }
    sections
}

struct Collector<'a> {
    responder: &'a Responder,
    zone: &'a Zone,
    turn: u32,
    most: &'a dyn Fn(Apex) -> usize,
    /// How many CNAMEs were followed.
    depth: usize,
}

/// Longest chain of CNAMEs inside our zones that is followed.
const MAX_CHAIN: usize = 8;

impl Collector<'_> {
    /// Adds the records of `qtype` at `owner`; returns the zone that they are from.
    fn answers(&self, owner: &Owned, qtype: Rtype, found: &Found<'_>, to: &mut Sections) -> Apex {
        match found {
            Found::Endpoints(selection) => self.endpoints(owner, qtype, selection, to),
            Found::Virtual { entry, spot, apex } => {
                let ttl = self.responder.service_ttl(entry, *apex);
                match qtype {
                    Rtype::SRV => {
                        let target = wire_name(|out| self.responder.virtual_target(entry, out));
                        let Some(target) = target else { return *apex };
                        to.additionals.extend(spot.ips().map(|ip| address(&target, ttl, ip)));
                        let data = Srv::new(PRIORITY, 1, spot.socket.port(), target);
                        to.answers.push(Record { owner: owner.clone(), ttl, data: data.into() });
                    }
                    Rtype::TXT => {
                        let which = crate::zone::entry::Which::Healthy;
                        let selection = Selection { entry, which, tag: None, apex: *apex, ttl_s: None };
                        self.texts(owner, ttl, &selection, to);
                    }
                    _ => push_addresses(owner, qtype, ttl, spot.ips(), 2, to),
                }
                *apex
            }
            Found::Node { entry, apex } => {
                self.node(owner, qtype, entry, *apex, to);
                *apex
            }
            Found::Address { ip, apex } => {
                push_addresses(owner, qtype, self.responder.ttl(*apex), [*ip].into_iter(), 1, to);
                *apex
            }
            Found::Holders { ip } => {
                if matches!(qtype, Rtype::PTR | Rtype::ANY) {
                    self.pointers(owner, *ip, to);
                }
                Apex::Own
            }
            Found::Top(apex) => {
                self.top(owner, qtype, *apex, to);
                *apex
            }
            Found::Empty(apex) | Found::Missing(apex) => *apex,
            // Run before anything is collected; as the target of an alias it leads nowhere.
            Found::Prepared { .. } => Apex::Consul,
            Found::Closed { .. } | Found::Foreign => Apex::Own,
        }
    }

    fn endpoints(&self, owner: &Owned, qtype: Rtype, selection: &Selection<'_>, to: &mut Sections) -> Apex {
        let apex = selection.apex;
        let ttl = selection.ttl_s.unwrap_or_else(|| self.responder.service_ttl(selection.entry, apex));
        match qtype {
            Rtype::SRV => self.services(owner, ttl, selection, to),
            Rtype::TXT => self.texts(owner, ttl, selection, to),
            _ => match self.host_of(selection) {
                Some(host) => self.alias(owner, qtype, ttl, host, to),
                None => self.addresses(owner, qtype, ttl, selection, to),
            },
        }
        apex
    }

    /// Addresses of a selection, each once, in a row that starts anywhere. For ANY those of one family (RFC 8482 section
    /// 4.1).
    fn addresses(&self, owner: &Owned, qtype: Rtype, ttl: u32, selection: &Selection<'_>, to: &mut Sections) {
        let Selection { entry, which, apex, .. } = *selection;
        let family = match qtype {
            Rtype::A => Family::V4,
            Rtype::AAAA => Family::V6,
            Rtype::ANY => {
                let first = self.selected(selection).find_map(EndpointEntry::ip);
                first.map_or(Family::V4, Family::of)
            }
            _ => return,
        };
        let most = (self.most)(apex).min(entry.addresses(which, family));
        let push = |ip| to.answer(address(owner, ttl, ip));
        if selection.tag.is_none() {
            entry.rotated_addresses(which, family, self.turn).take(most).all(push);
            return;
        }
        let mut seen = std::collections::HashSet::new();
        let tagged = self.selected(selection).filter_map(EndpointEntry::ip);
        tagged.filter(|ip| Family::of(*ip) == family && seen.insert(*ip)).take(most).all(push);
    }

    /// The host name that stands for a selection without addresses: one, because an alias stands alone.
    fn host_of<'z>(&self, selection: &Selection<'z>) -> Option<&'z str> {
        let Selection { entry, which, tag, .. } = *selection;
        let has_address = || match tag {
            None => [Family::V4, Family::V6].iter().any(|family| entry.addresses(which, *family) > 0),
            Some(_) => self.selected(selection).any(|endpoint| endpoint.ip().is_some()),
        };
        if !entry.has_hosts || has_address() {
            return None;
        }
        self.selected(selection).find_map(|endpoint| match &endpoint.address {
            Address::Host(host) => Some(&**host),
            Address::Ip(_) => None,
        })
    }

    fn selected<'z>(&self, selection: &Selection<'z>) -> impl Iterator<Item = &'z EndpointEntry> {
        let selection = *selection;
        let all = selection.entry.rotated(selection.which, self.turn);
        all.filter(move |endpoint| selection.takes(&endpoint.def.tags)).take(selection.most())
    }

    fn services(&self, owner: &Owned, ttl: u32, selection: &Selection<'_>, to: &mut Sections) {
        let apex = selection.apex;
        if !selection.has_ports() {
            return;
        }
        let mut seen = std::collections::HashSet::new();
        let given = self.selected(selection).filter(|endpoint| selection.gives(endpoint));
        for endpoint in given.take((self.most)(apex)) {
            let Some(target) = wire_name(|out| self.responder.srv_target(endpoint, apex, out)) else {
                continue;
            };
            if let Some(ip) = endpoint.ip().filter(|ip| seen.insert(*ip)) {
                to.additionals.push(address(&target, ttl, ip));
            }
            let data = Srv::new(PRIORITY, endpoint.weight, endpoint.port, target);
            if !to.answer(Record { owner: owner.clone(), ttl, data: data.into() }) {
                return;
            }
        }
    }

    /// One record per endpoint: who it is, where, its tags and labels.
    fn texts(&self, owner: &Owned, ttl: u32, selection: &Selection<'_>, to: &mut Sections) {
        for endpoint in self.selected(selection).take((self.most)(selection.apex)) {
            let def = &endpoint.def;
            let place = match &endpoint.address {
                Address::Ip(ip) => std::net::SocketAddr::new(*ip, endpoint.port).to_string(),
                Address::Host(host) => format!("{host}:{}", endpoint.port),
            };
            let mut lines =
                vec![format!("id={}", def.id), format!("node={}", endpoint.node), format!("address={place}")];
            if !def.tags.is_empty() {
                lines.push(format!("tags={}", def.tags.join(",")));
            }
            lines.extend(def.meta.iter().map(|(name, value)| format!("{name}={value}")));
            let record = text(owner, ttl, lines.iter().map(String::as_str));
            if !record.is_none_or(|record| to.answer(record)) {
                return;
            }
        }
    }

    fn node(&self, owner: &Owned, qtype: Rtype, entry: &NodeEntry, apex: Apex, to: &mut Sections) {
        let ttl = self.responder.ttl(apex);
        match (qtype, entry.host()) {
            (Rtype::TXT, _) => {
                for (name, value) in &entry.def.meta {
                    // RFC 1464 attributes; a key that starts with `rfc1035-` has its value alone, as in Consul.
                    let line = match name.starts_with("rfc1035-") {
                        true => value.to_string(),
                        false => format!("{name}={value}"),
                    };
                    to.answers.extend(text(owner, ttl, [line.as_str()]));
                }
            }
            (_, Some(host)) => self.alias(owner, qtype, ttl, host, to),
            (_, None) => push_addresses(owner, qtype, ttl, entry.addresses.iter().copied(), usize::MAX, to),
        }
    }

    /// An alias, and what it leads to where that is in our own zones.
    fn alias(&self, owner: &Owned, qtype: Rtype, ttl: u32, host: &str, to: &mut Sections) {
        if !matches!(qtype, Rtype::A | Rtype::AAAA | Rtype::CNAME | Rtype::ANY) {
            return;
        }
        let Ok(target) = Name::vec_from_str(host) else { return };
        let data = Cname::new(target.clone()).into();
        to.answers.push(Record { owner: owner.clone(), ttl, data });
        let mut lower = LowerName::default();
        if self.depth >= MAX_CHAIN || qtype == Rtype::CNAME || lower.read(target.as_slice()).is_err() {
            return;
        }
        let client = Client { is_local: false, when_closed: WhenClosed::Endpoints };
        let asked = self.responder.names.classify(&lower);
        let found = lookup(self.zone, self.responder.rules, asked, client);
        let next = Collector { depth: self.depth + 1, ..*self };
        next.answers(&target, qtype, &found, to);
    }

    fn pointers(&self, owner: &Owned, ip: IpAddr, to: &mut Sections) {
        let ttl = self.responder.ttl(Apex::Own);
        let targets = &self.responder.names.targets;
        let mut push = |name: &str, suffix: &[u8]| {
            let target = wire_name(|out| crate::responder::host_name(name, suffix, out));
            let data = target.map(|target| Ptr::new(target).into());
            data.is_none_or(|data| to.answer(Record { owner: owner.clone(), ttl, data }))
        };
        let has_consul = self.responder.names.consul.is_some();
        self.zone.holders(ip).all(|holder| match holder {
            Holder::Node(name) => {
                push(name, &targets.node) && (!has_consul || push(name, &targets.consul_node))
            }
            Holder::Service(name) => push(name, &targets.service),
        });
    }

    fn top(&self, owner: &Owned, qtype: Rtype, apex: Apex, to: &mut Sections) {
        let (authority, ttl) = (self.responder.authority(apex), self.responder.ttl(apex));
        let mut push = |data| to.answers.push(Record { owner: owner.clone(), ttl, data });
        match qtype {
            Rtype::SOA | Rtype::ANY => push(soa(authority, self.zone.serial())),
            Rtype::NS => {
                let Some(server) = owned(&authority.server) else { return };
                push(Ns::new(server.clone()).into());
                let mut lower = LowerName::default();
                if lower.read(server.as_slice()).is_err() {
                    return;
                }
                let client = Client { is_local: false, when_closed: WhenClosed::Endpoints };
                let asked = self.responder.names.classify(&lower);
                if let Found::Node { entry, .. } = lookup(self.zone, self.responder.rules, asked, client) {
                    to.additionals.extend(entry.addresses.iter().map(|ip| address(&server, ttl, *ip)));
                }
            }
            _ => {}
        }
    }
}

/// Adds what `qtype` asks for: one family, or for ANY the first that there is (RFC 8482 section 4.1).
fn push_addresses(
    owner: &Owned,
    qtype: Rtype,
    ttl: u32,
    ips: impl Iterator<Item = IpAddr>,
    most: usize,
    to: &mut Sections,
) {
    let mut ips = ips.peekable();
    let is_v4 = match qtype {
        Rtype::A => true,
        Rtype::AAAA => false,
        Rtype::ANY => ips.peek().is_none_or(IpAddr::is_ipv4),
        _ => return,
    };
    let wanted = ips.filter(|ip| ip.is_ipv4() == is_v4).take(most);
    to.answers.extend(wanted.map(|ip| address(owner, ttl, ip)));
}

fn address(owner: &Owned, ttl: u32, ip: IpAddr) -> Record {
    let data = match ip {
        IpAddr::V4(ip) => A::new(ip).into(),
        IpAddr::V6(ip) => Aaaa::new(ip).into(),
    };
    Record { owner: owner.clone(), ttl, data }
}

/// Each line as one or more character strings of at most 255 bytes.
fn text<'t>(owner: &Owned, ttl: u32, lines: impl IntoIterator<Item = &'t str>) -> Option<Record> {
    let mut octets = Vec::new();
    for chunk in lines.into_iter().flat_map(|line| line.as_bytes().chunks(255)) {
        octets.push(chunk.len() as u8);
        octets.extend_from_slice(chunk);
    }
    let data = Txt::from_octets(octets).ok()?.into();
    Some(Record { owner: owner.clone(), ttl, data })
}

fn soa(authority: &Authority, serial: u32) -> Data {
    let name = |wire: &[u8]| owned(wire).unwrap_or_else(Name::root_vec);
    let [refresh, retry, expire] = crate::responder::SOA_TIMES.map(Ttl::from_secs);
    let minimum = Ttl::from_secs(authority.negative_ttl_s);
    let (server, mailbox) = (name(&authority.server), name(&authority.mailbox));
    Soa::new(server, mailbox, Serial::from(serial), refresh, retry, expire, minimum).into()
}

fn owned(wire: &[u8]) -> Option<Owned> {
    Name::from_octets(wire.to_vec()).ok()
}

fn wire_name(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Owned> {
    let mut wire = [0; MAX_NAME + 1];
    let length = write(&mut wire)?;
    owned(&wire[..length])
}
