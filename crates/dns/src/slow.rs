//! The path for everything that is not plain: TCP, odd EDNS, compression in a question, TXT, PTR, CNAME,
//! the tops of zones, tags, and every error. On a library's types; still without a lock or an await.
//!
//! What it cannot finish it hands back as [`Verdict::Open`] or [`Verdict::Forward`].

mod compose;
mod records;
mod request;

use std::net::IpAddr;
use std::sync::Arc;

use domain::base::iana::{OptRcode, Rtype};

use crate::lookup::{Client, Found, WhenClosed, lookup};
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
}

/// Answers any packet. `turn` is a random number.
pub(crate) fn answer(responder: &Responder, zone: &Zone, query: Query<'_>, turn: u32) -> Verdict {
    let Query { packet, transport, from, when_closed } = query;
    let request = match Request::read(packet) {
        Ok(request) => request,
        Err(Refusal::Drop) => return Verdict::Drop,
        Err(Refusal::Answer(request, code)) => {
            let limit = limit(responder, &request, transport);
            return compose(responder, &request, &Sections::of_code(code), limit, zone.serial(), false);
        }
    };
    let client = Client { when_closed, ..responder.client(zone, from) };
    let recursion = responder.forwards_for(client, from);
    let limit = limit(responder, &request, transport);
    let sections = match sections(responder, zone, &request, client, transport, turn) {
        Ok(sections) => sections,
        Err(Later::Open(service)) => return Verdict::Open { service },
        Err(Later::Forward) if recursion && request.recursion_desired => return Verdict::Forward,
        Err(Later::Forward) => Sections::of_code(OptRcode::REFUSED),
    };
    compose(responder, &request, &sections, limit, zone.serial(), recursion)
}

/// The answer that another server did not give.
pub(crate) fn failure(responder: &Responder, packet: &[u8], transport: Transport) -> Verdict {
    match Request::read(packet) {
        Ok(request) => {
            let limit = limit(responder, &request, transport);
            compose(responder, &request, &Sections::of_code(OptRcode::SERVFAIL), limit, 0, true)
        }
        Err(_) => Verdict::Drop,
    }
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
    transport: Transport,
    turn: u32,
) -> Result<Sections, Later> {
    let asked = responder.names.classify(&request.lower);
    let found = lookup(zone, responder.rules, asked, client);
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
    let most = |apex| match transport {
        Transport::Udp => responder.udp_answers(apex, has_edns),
        Transport::Tcp => usize::MAX,
    };
    Ok(collect(responder, zone, request, &found, turn, &most))
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
