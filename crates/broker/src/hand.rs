//! How a connection becomes a descriptor in somebody else's hands.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use consul::broker::{Connected, Problem, ProblemKind, Socket};
use relay::Stream;
use relay::pump::{self, Prefix};
use route::{Backend, Caller, Denial, Endpoint, Permit, Routes, Target};
use sys::host::Transport;
use sys::pass::Kind;
use tokio::net::UnixStream;

use crate::answer::denied;
use crate::door::{Door, UNIX, Visit};
use crate::seats::User;

/// A connection that is ready to be handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) descriptor: OwnedFd,
    pub(crate) connected: Connected,
}

/// Resolves a service, judges, dials, and gives what came of it.
pub(crate) async fn connect(visit: Visit<'_>, name: &str) -> Result<Handed, Problem> {
    let Visit { door, local, who } = visit;
    let allowed = local.with_routes(|routes| service(routes, Caller::by(&who.principal, UNIX), name));
    let (backend, permit) = allowed.map_err(|denial| denied(&denial))?;
    if let Some((stream, at)) = relay::connect_at_once(local, &backend, &permit) {
        let connected = Connected { service: backend.service.clone(), ..describe(&backend.endpoints[at]) };
        return revocable(visit, permit, Transport::Tcp, stream.into(), connected);
    }
    let connection = relay::connect(local, &backend, &permit, None).await;
    let connection = connection.map_err(|error| Problem::new(ProblemKind::Unreachable, error))?;
    let endpoint = &backend.endpoints[connection.at];
    let mut connected = describe(endpoint);
    connected.service = backend.service.clone();
    if let Some(place) = door.offers.as_ref().and_then(|offers| offers.place(endpoint)) {
        connected.to = place.show().into();
    }
    over(visit, permit, connection.stream, connected).await
}

/// A service by its own name: redirections were followed already, and a name that keeps a share of its own must not
/// be dealt a second time.
pub(crate) fn service(
    routes: &Routes,
    caller: Caller<'_>,
    name: &str,
) -> Result<(Arc<Backend>, Permit), Denial> {
    let backend = routes.backend(name).ok_or_else(|| Denial::UnknownService { name: name.into() })?;
    let permit = routes.permit_to(caller, &backend.service)?;
    if backend.endpoints.is_empty() {
        let (name, registered) = (backend.service.clone(), backend.registered);
        return Err(Denial::NoEndpoint { name, registered });
    }
    Ok((backend.clone(), permit))
}

pub(crate) fn describe(endpoint: &Endpoint) -> Connected {
    let to = match &endpoint.target {
        Target::Ip(address) => address.to_string(),
        Target::Host(host, port) => format!("{host}:{port}"),
    };
    Connected {
        node: endpoint.node.clone(),
        instance: endpoint.id.clone(),
        ..crate::answer::connected(Socket::Tcp, to)
    }
}

/// Hands a socket of the kernel's over, out of whose path the daemon goes.
pub(crate) fn out_of_the_way(
    door: &Door,
    descriptor: OwnedFd,
    connected: Connected,
) -> Result<Handed, Problem> {
    let descriptor = plain(Ok(descriptor)).map_err(own_fault)?;
    door.metrics.handed.inc();
    Ok(Handed { descriptor, connected })
}

/// The same for a socket that the kernel ends for us when the rules no longer allow it, where it lets us.
pub(crate) fn revocable(
    visit: Visit<'_>,
    permit: Permit,
    transport: Transport,
    descriptor: OwnedFd,
    connected: Connected,
) -> Result<Handed, Problem> {
    if let Some(revocable) = &visit.door.revocable
        && !revocable.keep(visit.local, permit, transport, &descriptor).map_err(own_fault)?
    {
        return Err(Problem::new(ProblemKind::Denied, "the rules have just changed, and forbid it now"));
    }
    out_of_the_way(visit.door, descriptor, connected)
}

/// Makes a descriptor of a stream: the kernel's own socket where there is one, else one end of a pair whose other
/// end the daemon keeps moving.
pub(crate) async fn over(
    visit: Visit<'_>,
    permit: Permit,
    stream: Stream,
    connected: Connected,
) -> Result<Handed, Problem> {
    match stream {
        Stream::Tcp(stream) => {
            let descriptor = stream.into_std().map_err(own_fault)?.into();
            let connected = Connected { socket: Socket::Tcp, ..connected };
            revocable(visit, permit, Transport::Tcp, descriptor, connected)
        }
        Stream::Unix(stream) => {
            let descriptor = stream.into_std().map_err(own_fault)?.into();
            out_of_the_way(visit.door, descriptor, Connected { socket: Socket::Unix, ..connected })
        }
        stream @ Stream::Other(_) => {
            let descriptor = relayed(visit, permit, stream)?;
            Ok(Handed {
                descriptor,
                connected: Connected { socket: Socket::Unix, relayed: true, ..connected },
            })
        }
    }
}

/// A descriptor as programs expect it: one that waits.
fn plain(descriptor: io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let descriptor = descriptor?;
    sys::pass::set_blocking(descriptor.as_fd(), true)?;
    Ok(descriptor)
}

pub(crate) fn own_fault(error: io::Error) -> Problem {
    Problem::new(ProblemKind::Internal, format!("make a descriptor to hand over: {error}"))
}

/// One end of a pair; the other is relayed until both sides have ended, or the node goes.
fn relayed(visit: Visit<'_>, permit: Permit, up: Stream) -> Result<OwnedFd, Problem> {
    let seat = visit.door.relayed.take(User(visit.who.caller.uid)).map_err(|why| {
        Problem::new(ProblemKind::Busy, format!("too many connections go through the daemon: {why}"))
    })?;
    let (ours, theirs) = sys::pass::pair(Kind::Stream).map_err(own_fault)?;
    let theirs = plain(Ok(theirs)).map_err(own_fault)?;
    let ours = UnixStream::from_std(ours.into()).map_err(own_fault)?;
    let (door, local) = (visit.door.clone(), visit.local.clone());
    tokio::task::spawn_local(async move {
        let busy = local.busy();
        door.metrics.relayed.inc();
        let down = Stream::Other(Box::new(ours));
        tokio::select! {
            outcome = pump::run(&local, permit, down, up, Prefix::default(), None) => {
                if let Some(broken) = outcome.broken {
                    tracing::debug!(%broken, "a relayed connection of a local program broke");
                }
            }
            () = door.cut.started() => {}
        }
        door.metrics.relayed.dec();
        drop((seat, busy));
    });
    Ok(theirs)
}
