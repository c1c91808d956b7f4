//! The path that nearly every query takes: no allocation, no lock, no await between packet and answer.

use std::net::IpAddr;

use crate::guard::Now;
use crate::guard::cookie::Served;
use crate::lookup::{Client, Found, Selection, lookup};
use crate::names::Apex;
use crate::responder::{PLAIN_UDP, Responder};
use crate::wire::question::{Question, Unusual};
use crate::wire::rtype;
use crate::wire::writer::{End, MAX_TARGETS, Writer, rcode};
use crate::zone::Zone;
use crate::zone::entry::Family;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer stands in the buffer.
    Answered { length: usize, code: u16, truncated: bool },
    /// Ask the slow path.
    Slow,
    /// No answer.
    Drop,
}

/// One packet by UDP from `from`, answered into `out` if it is a plain one: the three steps in a row.
pub(crate) fn answer(
    responder: &Responder,
    zone: &Zone,
    packet: &[u8],
    from: IpAddr,
    turn: u32,
    out: &mut [u8],
) -> Outcome {
    let mut question = Question::default();
    match read(packet, &mut question) {
        Ok(()) => {
            let plain = Plain::new(responder, zone, &question, from, Now::read());
            plain.write(&plain.find(responder, zone), responder, zone, packet, turn, out)
        }
        Err(Unusual::Slow) => Outcome::Slow,
        Err(Unusual::Drop) => Outcome::Drop,
    }
}

/// The first step: what a packet asks.
pub(crate) fn read(packet: &[u8], question: &mut Question) -> Result<(), Unusual> {
    question.read(packet)?;
    if rtype::META.contains(&question.qtype) {
        return Err(Unusual::Slow);
    }
    Ok(())
}

/// A plain query before anything is looked up: all that decides whether it is answered.
#[derive(Debug)]
pub(crate) struct Plain<'q> {
    question: &'q Question,
    client: Client,
    /// Other names are forwarded for this client.
    recursion: bool,
    cookie: Option<Served>,
}

impl<'q> Plain<'q> {
    #[inline]
    pub(crate) fn new(
        responder: &Responder,
        zone: &Zone,
        question: &'q Question,
        from: IpAddr,
        now: Now,
    ) -> Plain<'q> {
        let client = responder.client(zone, from);
        let cookie = question.edns.and_then(|edns| edns.cookie);
        Plain {
            question,
            client,
            recursion: responder.forwards_for(client, from),
            cookie: cookie.and_then(|cookie| responder.guard.serve(&cookie, from, now)),
        }
    }

    /// True when nobody else can have sent this in the client's name.
    pub(crate) fn is_proven(&self) -> bool {
        self.client.is_local || self.cookie.is_some_and(|cookie| cookie.is_known)
    }

    /// The second step: what stands there. Done for a whole batch before the third, so that the memory of all
    /// its entries is fetched at the same time; one after the other would wait for each.
    #[inline]
    pub(crate) fn find(&self, responder: &Responder, zone: &'q Zone) -> Found<'q> {
        let asked = responder.names.classify(&self.question.name);
        let found = lookup(zone, responder.rules, asked, self.client);
        if let Found::Endpoints(selection) = &found {
            std::hint::black_box(selection.entry.endpoints.first().map(|endpoint| endpoint.port));
        }
        found
    }

    /// Instead of an answer: come back by TCP, or with the cookie that this carries (RFC 7873 section 5.2.3). No longer
    /// than what the client sent, but for the cookie.
    pub(crate) fn write_slip(&self, responder: &Responder, packet: &[u8], out: &mut [u8]) -> Outcome {
        let Some(mut writer) = Writer::start(out, packet, self.question, usize::from(PLAIN_UDP)) else {
            return Outcome::Drop;
        };
        let code = match self.cookie {
            Some(_) => rcode::BADCOOKIE,
            None => {
                writer.truncate();
                rcode::NOERROR.into()
            }
        };
        let length = writer.finish(self.end(responder, code));
        Outcome::Answered { length, code, truncated: self.cookie.is_none() }
    }

    fn end(&self, responder: &Responder, code: u16) -> End {
        let (edns, cookie) = (self.question.edns, self.cookie);
        End { code, edns, cookie, our_size: responder.max_udp, recursion: self.recursion }
    }

    /// The third step: the answer to `packet`, in which the question stands, from what was found.
    pub(crate) fn write(
        &self,
        found: &Found<'_>,
        responder: &Responder,
        zone: &Zone,
        packet: &[u8],
        turn: u32,
        out: &mut [u8],
    ) -> Outcome {
        let asked_size = self.question.edns.map_or(PLAIN_UDP, |edns| edns.size.max(PLAIN_UDP));
        let limit = usize::from(asked_size.min(responder.max_udp));
        let turned = Turned { responder, question: self.question, turn };
        let Some(mut writer) = Writer::start(out, packet, self.question, limit) else { return Outcome::Slow };
        let Some((apex, code)) = turned.records(found, &mut writer) else { return Outcome::Slow };
        if writer.answers() == 0 && !writer.is_truncated() {
            let authority = responder.authority(apex);
            let owner = responder.names.before_apex(&self.question.name, apex);
            writer.soa(owner, authority.negative_ttl_s, &authority.soa, zone.serial());
        }
        let truncated = writer.is_truncated();
        let code = u16::from(code);
        let length = writer.finish(self.end(responder, code));
        Outcome::Answered { length, code, truncated }
    }
}

/// One question, and where its answer starts to turn.
struct Turned<'a> {
    responder: &'a Responder,
    question: &'a Question,
    turn: u32,
}

impl Turned<'_> {
    /// Writes the answer records; returns the zone they are from, and the response code. `None` when the
    /// slow path must do it.
    fn records(&self, found: &Found<'_>, writer: &mut Writer<'_>) -> Option<(Apex, u8)> {
        let qtype = self.question.qtype;
        let apex = match found {
            Found::Missing(apex) => return Some((*apex, rcode::NXDOMAIN)),
            Found::Empty(apex) => *apex,
            Found::Closed { .. } | Found::Holders { .. } | Found::Prepared { .. } | Found::Foreign => {
                return None;
            }
            Found::Top(_) if matches!(qtype, rtype::SOA | rtype::NS) => return None,
            Found::Top(apex) => *apex,
            _ if qtype == rtype::TXT => return None,
            Found::Endpoints(selection) if selection.tag.is_some() || selection.entry.has_hosts => {
                return None;
            }
            Found::Endpoints(selection) => {
                self.endpoints(selection, writer);
                selection.apex
            }
            Found::Virtual { entry, spot, apex } => {
                let ttl = self.responder.service_ttl(entry, *apex);
                match qtype {
                    rtype::A | rtype::AAAA => {
                        let mut wanted = spot.ips().filter(|ip| is_family(*ip, qtype));
                        wanted.all(|ip| writer.address(ttl, ip));
                    }
                    rtype::SRV => {
                        let target = |out: &mut [u8]| self.responder.virtual_target(entry, out);
                        if let Some(name) = writer.srv(ttl, 1, spot.socket.port(), target) {
                            spot.ips().all(|ip| writer.additional_address(name, ttl, ip));
                        }
                    }
                    _ => {}
                }
                *apex
            }
            Found::Node { entry, .. } if entry.host().is_some() => return None,
            Found::Node { entry, apex } => {
                let mut wanted = entry.addresses.iter().filter(|ip| is_family(**ip, qtype));
                wanted.all(|ip| writer.address(self.responder.ttl(*apex), *ip));
                *apex
            }
            Found::Address { ip, apex } => {
                if is_family(*ip, qtype) {
                    writer.address(self.responder.ttl(*apex), *ip);
                }
                *apex
            }
        };
        Some((apex, rcode::NOERROR))
    }

    fn endpoints(&self, selection: &Selection<'_>, writer: &mut Writer<'_>) {
        let ttl = self.responder.service_ttl(selection.entry, selection.apex);
        let most = self.responder.udp_answers(selection.apex, self.question.edns.is_some());
        let qtype = self.question.qtype;
        match qtype {
            rtype::A | rtype::AAAA => {
                let family = if qtype == rtype::A { Family::V4 } else { Family::V6 };
                let all = selection.entry.rotated_addresses(selection.which, family, self.turn);
                all.take(most).all(|ip| writer.address(ttl, ip));
            }
            rtype::SRV if selection.has_ports() => self.services(selection, ttl, most, writer),
            _ => {}
        }
    }

    fn services(&self, selection: &Selection<'_>, ttl: u32, most: usize, writer: &mut Writer<'_>) {
        let mut names = [0; MAX_TARGETS];
        let endpoints = || {
            let all = selection.entry.rotated(selection.which, self.turn);
            all.filter(|endpoint| selection.gives(endpoint)).take(most)
        };
        for (at, endpoint) in endpoints().enumerate() {
            let target = |out: &mut [u8]| self.responder.srv_target(endpoint, selection.apex, out);
            let Some(name) = writer.srv(ttl, endpoint.weight, endpoint.port, target) else { return };
            if let Some(slot) = names.get_mut(at) {
                *slot = name;
            }
        }
        let mut seen: [Option<IpAddr>; MAX_TARGETS] = [None; MAX_TARGETS];
        for (at, endpoint) in endpoints().take(MAX_TARGETS).enumerate() {
            let ip = endpoint.ip();
            if seen[..at].contains(&ip) {
                continue;
            }
            seen[at] = ip;
            if !ip.is_none_or(|ip| writer.additional_address(names[at], ttl, ip)) {
                return;
            }
        }
    }
}

/// True when `ip` is of the family that an address type asks for.
pub(crate) fn is_family(ip: IpAddr, qtype: u16) -> bool {
    match qtype {
        rtype::A => ip.is_ipv4(),
        rtype::AAAA => ip.is_ipv6(),
        _ => false,
    }
}
