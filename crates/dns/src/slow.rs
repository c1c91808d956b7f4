//! The path for everything that is not plain: TCP, odd EDNS, compression in a question, TXT, PTR, CNAME,
//! the tops of zones, tags, and every error. On a library's types; still without a lock or an await.
//!
//! What it cannot finish it hands back as [`Verdict::Open`] or [`Verdict::Forward`].

mod compose;
mod indoors;
mod prepared;
mod records;
mod request;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use domain::base::iana::{OptRcode, Rtype};

use crate::guard::Now;
use crate::guard::cookie::Served;
use crate::lookup::{Client, Found, WhenClosed, lookup};
use crate::names::Apex;
use crate::responder::{PLAIN_UDP, Responder};
use crate::slow::compose::compose;
use crate::slow::records::{Sections, collect};
use crate::slow::request::{Refusal, Request};
use crate::zone::Zone;

/// How a query came, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What becomes of a packet.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Send this.
    Reply { bytes: Vec<u8>, code: u16, truncated: bool },
    /// Send nothing.
    Drop,
    /// Open the virtual address of the service that is registered under this name, then ask again.
    Open { service: Arc<str> },
    /// Not ours: ask another server.
    Forward,
}

/// One packet, who sent it and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'p> {
    pub(crate) packet: &'p [u8],
    pub(crate) transport: Transport,
    pub(crate) from: IpAddr,
    pub(crate) when_closed: WhenClosed,
    pub(crate) now: Now,
}

/// What of an answer does not come from its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    /// Most bytes.
    pub(crate) limit: usize,
    pub(crate) serial: u32,
    /// Other names are forwarded for this client.
    pub(crate) recursion: bool,
    /// What its cookie is answered with.
    pub(crate) cookie: Option<Served>,
    /// The records are left out, and the answer says so.
    pub(crate) slips: bool,
}

impl Query<'_> {
    fn envelope(
        &self,
        responder: &Responder,
        request: &Request<'_>,
        serial: u32,
        recursion: bool,
    ) -> Envelope {
        let cookie = request.edns.and_then(|edns| edns.cookie);
        Envelope {
            limit: limit(responder, request, self.transport),
            serial,
            recursion,
            cookie: cookie.and_then(|cookie| responder.guard.serve(&cookie, self.from, self.now)),
            slips: false,
        }
    }
}

/// Answers any packet. `turn` is a random number.
pub(crate) fn answer(responder: &Responder, zone: &Zone, query: Query<'_>, turn: u32) -> Verdict {
    let Query { packet, transport, from, when_closed, .. } = query;
    let serial = zone.serial();
    let request = match Request::read(packet) {
        Ok(request) => request,
        Err(Refusal::Drop) => return Verdict::Drop,
        Err(Refusal::Answer(request, code)) => {
            let envelope = query.envelope(responder, &request, serial, false);
            return compose(responder, &request, &Sections::of_code(code), envelope);
        }
    };
    let client = Client { when_closed, ..responder.client(zone, from) };
    let recursion = responder.forwards_for(client, from);
    let envelope = query.envelope(responder, &request, serial, recursion);
    let room = Room { transport, limit: envelope.limit };
    let sections = match sections(responder, zone, &request, client, room, turn) {
        Ok(sections) => sections,
        Err(Later::Open(service)) => return Verdict::Open { service },
        Err(Later::Forward) => {
            let is_forwarded = recursion && request.recursion_desired;
            match indoors::sections(responder, zone, &request, from) {
                // Of a public name we know the addresses inside; what else stands there, others know.
                Some(inside) if !inside.answers.is_empty() || !is_forwarded => inside,
                _ if is_forwarded => return Verdict::Forward,
                _ => Sections::of_code(OptRcode::REFUSED),
            }
        }
    };
    compose(responder, &request, &sections, envelope)
}

/// The answer that another server did not give.
pub(crate) fn failure(responder: &Responder, query: Query<'_>) -> Verdict {
    match Request::read(query.packet) {
        Ok(request) => {
            let envelope = query.envelope(responder, &request, 0, true);
            compose(responder, &request, &Sections::of_code(OptRcode::SERVFAIL), envelope)
        }
        Err(_) => Verdict::Drop,
    }
}

/// How an answer from another server is wrapped for the client; `None` when the query cannot be read.
pub(crate) fn envelope(responder: &Responder, query: Query<'_>) -> Option<Envelope> {
    let request = Request::read(query.packet).ok()?;
    Some(query.envelope(responder, &request, 0, true))
}

/// What a client beyond its rate gets: `None` when it has a cookie of ours and is answered all the same. With
/// `slips` it is told how to come back, as by the fast path.
pub(crate) fn limited(responder: &Responder, query: Query<'_>, slips: bool) -> Option<Verdict> {
    let Ok(request) = Request::read(query.packet) else { return Some(Verdict::Drop) };
    let envelope = Envelope { slips: true, ..query.envelope(responder, &request, 0, false) };
    let code = match envelope.cookie {
        Some(cookie) if cookie.is_known => return None,
        Some(_) => OptRcode::BADCOOKIE,
        None => OptRcode::NOERROR,
    };
    Some(match slips {
        true => compose(responder, &request, &Sections::of_code(code), envelope),
        false => Verdict::Drop,
    })
}

/// How much an answer can hold.
#[derive(Debug, Clone, Copy)]
struct Room {
    transport: Transport,
    /// Most bytes.
    limit: usize,
}

/// Why there are no records yet.
enum Later {
    Open(Arc<str>),
    Forward,
}

fn sections(
    responder: &Responder,
    zone: &Zone,
    request: &Request<'_>,
    client: Client,
    room: Room,
    turn: u32,
) -> Result<Sections, Later> {
    let asked = responder.names.classify(&request.lower);
    let found = lookup(zone, responder.rules, asked, client);
    let prepared = match found {
        Found::Prepared { name } => Some(prepared::run(zone, name)),
        _ => None,
    };
    let found = match &prepared {
        Some(Some(prepared)) => Found::Endpoints(prepared.selection()),
        Some(None) => Found::Missing(Apex::Consul),
        None => found,
    };
    match &found {
        Found::Closed { entry } => return Err(Later::Open(entry.name())),
        Found::Foreign => return Err(Later::Forward),
        _ => {}
    }
    if matches!(request.qtype, Rtype::AXFR | Rtype::IXFR) {
        // Nobody transfers a zone that changes with every registration; ask the API instead.
        return Ok(Sections::of_code(OptRcode::REFUSED));
    }
    let has_edns = request.edns.is_some();
    let most = |apex| match room.transport {
        Transport::Udp => responder.udp_answers(apex, has_edns),
        Transport::Tcp => usize::MAX,
    };
    Ok(collect(responder, zone, request, &found, turn, (room.limit, &most)))
}

fn limit(responder: &Responder, request: &Request<'_>, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => {
            let wanted = request.edns.map_or(PLAIN_UDP, |edns| edns.size.max(PLAIN_UDP));
            usize::from(wanted.min(responder.max_udp))
        }
    }
}
