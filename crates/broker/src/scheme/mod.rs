//! URIs, each scheme in a file of its own. To add one: a sibling here, and its arm below.

mod mesh;
mod tcp;
mod tls;
mod udp;
pub(crate) mod unix;
mod ws;

use std::borrow::Cow;
use std::net::SocketAddr;

use consul::broker::{Connected, Problem, ProblemKind, Socket};
use route::{Caller, PeerHost, Permit};
use tokio::net::lookup_host;

use crate::answer::denied;
use crate::door::{Door, Visit};
use crate::hand::{Handed, out_of_the_way};
use crate::libipc::{self, Folder};
use crate::reach::{Ask, malformed};
use crate::uri::Uri;
use tcp::within;

/// A URI on its way.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) uri: &'a Uri,
    /// As it was written, for services that read it themselves.
    pub(crate) text: &'a str,
    /// The name that led to it by a redirection or the default route, which is what rules are about then.
    pub(crate) led_from: Option<&'a str>,
}

/// Reaches what a URI names.
pub(crate) async fn connect(visit: Visit<'_>, way: &Way<'_>, ask: &Ask<'_>) -> Result<Handed, Problem> {
    match &*way.uri.scheme {
        "unix" => unix::by_uri(visit, way.uri, ask).await,
        "tcp" => tcp::connect(visit, way).await,
        "udp" => udp::connect(visit, way).await,
        "tls" => tls::connect(visit, way).await,
        "ws" | "wss" => ws::connect(visit, way).await,
        "quic" => mesh::connect(visit, way.uri).await,
        _ => foreign(visit, way, ask).await,
    }
}

/// What the rules judge a URI by: the name that led to it, else the service that it asks for, else where it leads. The
/// host goes by its name, which a certificate proves later, or by that and the `address` that it has.
fn permit(visit: Visit<'_>, way: &Way<'_>, address: Option<SocketAddr>) -> Result<Permit, Problem> {
    let uri = way.uri;
    let authority = uri.authority();
    let service = way.led_from.or(uri.service.as_deref()).unwrap_or(&authority);
    let host = PeerHost { name: uri.host.to_ascii_lowercase().into(), port: uri.port };
    let resolved = address
        .map(|address| PeerHost { name: address.ip().to_canonical().to_string().into(), port: uri.port });
    let scheme = Cow::Owned(uri.scheme.clone());
    let caller = Caller::by(&visit.who.principal, &scheme).outward(&host, resolved.as_ref());
    let permit = visit.local.with_routes(|routes| routes.permit_to(caller, service));
    permit.map_err(|denial| denied(&denial))
}

/// The addresses of a URI's host that the rules let whoever asks go to.
async fn permitted(visit: Visit<'_>, way: &Way<'_>, port: u16) -> Result<Vec<(SocketAddr, Permit)>, Problem> {
    let found = within(visit.local.config().connect_timeout, lookup_host((&*way.uri.host, port))).await;
    let found = found.map_err(|cause| unreachable(way.uri, cause))?;
    let mut refusal = unreachable(way.uri, "the name has no address");
    let mut allowed = Vec::new();
    for address in found {
        match permit(visit, way, Some(address)) {
            Ok(permit) => allowed.push((address, permit)),
            Err(problem) => refusal = problem,
        }
    }
    if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
}

fn port(uri: &Uri) -> Result<u16, Problem> {
    uri.port.ok_or_else(|| malformed(format!("{uri} needs a port")))
}

fn describe(socket: Socket, uri: &Uri) -> Connected {
    let service = uri.service.as_deref().unwrap_or_default().into();
    Connected { service, ..crate::answer::connected(socket, uri.to_string()) }
}

fn unreachable(uri: &Uri, cause: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Unreachable, format!("reach {uri}: {cause}"))
}

/// A scheme of somebody else's: the local service of that name is asked.
async fn foreign(visit: Visit<'_>, way: &Way<'_>, ask: &Ask<'_>) -> Result<Handed, Problem> {
    permit(visit, way, None)?;
    let uri = way.uri;
    for folder in folders(visit.door, ask) {
        let asked = libipc::ask_protocol(folder, &uri.scheme, way.text).await;
        if let Some(socket) = asked.map_err(|cause| unreachable(uri, cause))? {
            return out_of_the_way(visit.door, socket, describe(Socket::Unix, uri));
        }
    }
    let text = format!("nothing here speaks \"{}\", and no local service of that name does", uri.scheme);
    Err(Problem::new(ProblemKind::Unsupported, text))
}

/// Folders in which a local service is looked for, the caller's own first.
fn folders<'a>(door: &'a Door, ask: &'a Ask<'_>) -> impl Iterator<Item = &'a Folder> {
    ask.folder.into_iter().chain(door.folders.iter().filter(|other| Some(*other) != ask.folder))
}
