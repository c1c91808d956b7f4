//! What a request comes to.

use std::os::fd::OwnedFd;

use consul::broker::{
    Connected, LONGEST, Listed, Listing, Operation, Problem, ProblemKind, Reply, Request, VERSION,
};
use route::Denial;

use crate::door::Visit;
use crate::explain::explain;
use crate::hand::Handed;
use crate::offer::{self, Offer};
use crate::reach::{self, Ask, malformed};

/// A reply with what travels along.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) descriptor: Option<OwnedFd>,
}

/// Longest name that is looked up, in bytes.
const LONGEST_NAME: usize = 4096;

/// Carries a request out.
pub(crate) async fn to(
    visit: Visit<'_>,
    request: Request,
    descriptors: Vec<OwnedFd>,
    offers: &mut Vec<Offer>,
) -> Result<Answer, Problem> {
    let Visit { door, local, who } = visit;
    door.metrics.asked(request.op);
    if !descriptors.is_empty() && request.op != Operation::Offer {
        return Err(malformed("a descriptor came along, and this takes none"));
    }
    let reply = Reply { v: VERSION, ..Reply::default() };
    match request.op {
        Operation::Connect => {
            let name = named(&request)?;
            let ask = Ask { name, network: request.network.as_deref(), folder: None };
            let Handed { descriptor, connected } = reach::connect(visit, &ask).await?;
            let reply = Reply { connected: Some(connected), ..reply };
            Ok(Answer { reply, descriptor: Some(descriptor) })
        }
        Operation::List => {
            let listing = local.with_routes(|routes| list(routes, request.after.as_deref().unwrap_or("")));
            Ok(Answer { reply: Reply { listing: Some(listing), ..reply }, descriptor: None })
        }
        Operation::Explain => {
            let name = named(&request)?;
            let explanation = Some(explain(visit, name, &request)?);
            Ok(Answer { reply: Reply { explanation, ..reply }, descriptor: None })
        }
        Operation::Offer => {
            // What a program closed itself needs no place any more.
            offers.retain(|offer| !offer.has_ended());
            let (offer, offered, descriptor) = offer::take(door, local, who, &request, descriptors).await?;
            offers.push(offer);
            Ok(Answer { reply: Reply { offered: Some(offered), ..reply }, descriptor })
        }
    }
}

fn named(request: &Request) -> Result<&str, Problem> {
    match request.name.as_deref() {
        None | Some("") => Err(malformed("`name` is missing")),
        Some(name) if name.len() > LONGEST_NAME => Err(malformed("`name` is longer than 4096 bytes")),
        Some(name) if name.contains(char::is_control) => {
            Err(malformed("`name` has control characters in it"))
        }
        Some(name) => Ok(name),
    }
}

/// As many as fit a packet, in order of name.
fn list(routes: &route::Routes, after: &str) -> Listing {
    /// What a service takes beside its name, and what surrounds all of them.
    const ROOM: usize = 80;
    let after = after.to_ascii_lowercase();
    let mut listing = Listing::default();
    let mut length = 256;
    for backend in routes.backends().filter(|backend| *backend.service.to_ascii_lowercase() > *after) {
        // A name may double when it is written down: quotes and backslashes.
        length += backend.service.len() * 2 + ROOM;
        if length > LONGEST {
            listing.more = true;
            break;
        }
        listing.services.push(Listed {
            name: backend.service.clone(),
            registered: backend.registered,
            usable: backend.endpoints.len(),
        });
    }
    listing
}

/// What a denial is to a program.
pub(crate) fn denied(denial: &Denial) -> Problem {
    let kind = match denial {
        Denial::UnknownService { .. } => ProblemKind::Unknown,
        Denial::NoEndpoint { .. } => ProblemKind::Unhealthy,
        Denial::Forbidden { .. } => ProblemKind::Denied,
        Denial::Circle { .. } | Denial::OtherScheme { .. } => ProblemKind::Unsupported,
    };
    Problem::new(kind, denial)
}

/// Nothing known of where it leads but the service.
pub(crate) fn connected(socket: consul::broker::Socket, to: String) -> Connected {
    let (service, node, instance) = ("".into(), "".into(), "".into());
    Connected { socket, to: to.into(), service, node, instance, relayed: false }
}
