//! From a request to an offer: who may, what was handed over, and its registration.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use catalog::{Command, InstanceDef, InstanceRegistration, Mode, Register};
use consul::broker::{Offered, Problem, ProblemKind, Request};
use relay::Local;
use route::Principal;
use sys::pass::Found;

use super::{MARK, Offer, Offers, Place, port};
use crate::door::{Door, Who};
use crate::reach::malformed;
use crate::seats::User;
use crate::uri::is_service_name;

/// Most tags of an offer, and the longest of them in bytes.
const MOST_TAGS: usize = 64;
const LONGEST_TAG: usize = 256;

/// Takes an offer: its registration, and the socket to accept on where one had to be made.
pub(crate) async fn take(
    door: &Arc<Door>,
    local: &Rc<Local>,
    who: &Who,
    request: &Request,
    descriptors: Vec<OwnedFd>,
) -> Result<(Offer, Offered, Option<OwnedFd>), Problem> {
    let unsupported = || Problem::new(ProblemKind::Unsupported, "this broker has no catalog to register in");
    let offers = door.offers.as_ref().ok_or_else(unsupported)?;
    let service = asked(request)?;
    may(door, offers, who, service)?;
    let busy = |why| Problem::new(ProblemKind::Busy, format!("too many offers: {why}"));
    let seat = offers.seats.take(User(who.caller.uid)).map_err(busy)?;
    let mut descriptors = descriptors.into_iter();
    let given = match (descriptors.next(), descriptors.next()) {
        (given, None) => given,
        _ => return Err(malformed("one socket is enough for an offer")),
    };
    let opened = opened(given)?;
    let id = id(offers, who, service, request.id.as_deref())?;
    let mut offer = Offer { offers: offers.clone(), id: id.clone(), serving: None, _seat: seat };
    let address = match opened.place {
        None => opened.address,
        Some(place) => {
            let place = Arc::new(place);
            offers.put(&id, place.clone());
            let (address, serving) =
                port::serve(door, local, offers, &id, place, service.into()).map_err(own_fault)?;
            offer.serving = Some(serving);
            address
        }
    };
    let command = Command::Register(Box::new(Register {
        on: offers.store.node().clone(),
        instance: Some(InstanceRegistration {
            def: definition(who, service, &id, &request.tags, address),
            replace_checks: true,
        }),
        ..Register::default()
    }));
    let refused = |error| Problem::new(ProblemKind::Internal, format!("register the offer: {error}"));
    offers.store.submit(command).await.map_err(refused)?;
    Ok((offer, Offered { service: service.into(), instance: id }, opened.made))
}

/// The service's name, of a request that asks for no more than there may be.
fn asked(request: &Request) -> Result<&str, Problem> {
    let too_much = request.tags.len() > MOST_TAGS || request.tags.iter().any(|tag| tag.len() > LONGEST_TAG);
    if too_much {
        return Err(malformed(format!("at most {MOST_TAGS} tags of {LONGEST_TAG} bytes")));
    }
    let service = request.name.as_deref().filter(|name| is_service_name(name));
    service.ok_or_else(|| malformed("`name` is no service's name"))
}

/// Who is somebody may be asked for it: in a guarded cluster a program offers the service that it is by its identity,
/// unless it is root's or the daemon's own user's.
fn may(door: &Door, offers: &Offers, who: &Who, service: &str) -> Result<(), Problem> {
    let owns = who.caller.uid == 0 || who.caller.uid == rustix::process::geteuid().as_raw();
    let is_service = match &who.principal {
        Principal::Identity { id } => **id == *format!("spiffe://{}/service/{service}", door.domain),
        _ => false,
    };
    if offers.store.now().mode() != Mode::Enforce || owns || is_service {
        return Ok(());
    }
    let text = format!(
        "{} may not offer \"{service}\": `broker.identities` says who is that service",
        who.principal
    );
    Err(Problem::new(ProblemKind::Denied, text))
}

/// The id that is asked for, if nobody else's instance has it; else a new one. It is kept until the offer ends.
fn id(offers: &Offers, who: &Who, service: &str, asked: Option<&str>) -> Result<Arc<str>, Problem> {
    match asked {
        Some(asked) if !is_service_name(asked) => Err(malformed("`id` is no instance's name")),
        Some(asked) => {
            let id = asked.into();
            let taken = || malformed(format!("an instance \"{asked}\" is registered on this node already"));
            offers.reserve(&id).then_some(id).ok_or_else(taken)
        }
        None => loop {
            let number = offers.number.fetch_add(1, Ordering::Relaxed);
            let id = format!("{service}-offered-{}-{number}", who.caller.pid).into();
            if offers.reserve(&id) {
                return Ok(id);
            }
        },
    }
}

/// What an offer comes with.
struct Opened {
    address: SocketAddr,
    place: Option<Place>,
    made: Option<OwnedFd>,
}

fn opened(given: Option<OwnedFd>) -> Result<Opened, Problem> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let Some(given) = given else {
        let listener = TcpListener::bind(loopback).map_err(own_fault)?;
        let address = listener.local_addr().map_err(own_fault)?;
        return Ok(Opened { address, place: None, made: Some(listener.into()) });
    };
    let at = |address, place| Opened { address, place, made: None };
    match sys::pass::found(&given).map_err(|error| malformed(format!("the socket: {error}")))? {
        Found::Tcp(address) => Ok(at(address, None)),
        // Closed here: the program's own end is what it lives by.
        Found::Unix(address) => Ok(at(loopback, Some(Place::listening(&given, address).map_err(own_fault)?))),
        Found::Packets(_) => Err(malformed("the socket listens for packets; services speak in streams")),
        Found::Connected => Ok(at(loopback, Some(Place::channel(given).map_err(own_fault)?))),
    }
}

fn definition(who: &Who, service: &str, id: &Arc<str>, tags: &[String], address: SocketAddr) -> InstanceDef {
    let meta = [(Arc::from(MARK), Arc::from(who.caller.uid.to_string()))];
    InstanceDef {
        tags: tags.iter().map(|tag| tag.as_str().into()).collect(),
        // A wildcard is wherever this node is.
        address: if address.ip().is_unspecified() { "".into() } else { address.ip().to_string().into() },
        meta: meta.into_iter().collect(),
        ..InstanceDef::new(id.clone(), service.into(), address.port())
    }
}

fn own_fault(error: io::Error) -> Problem {
    Problem::new(ProblemKind::Internal, format!("take the offer: {error}"))
}
