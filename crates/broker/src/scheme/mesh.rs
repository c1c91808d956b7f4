//! `quic://node/service`: a service of one node of the mesh, through the mesh even where an address would lead there.
//!
//! The other node judges by its own rules: it knows this one by its certificate, and is told for whom it asks.

use consul::broker::{Problem, ProblemKind};
use route::Caller;

use super::tcp::within;
use super::unreachable;
use crate::answer::denied;
use crate::door::{UNIX, Visit};
use crate::hand::{self, Handed};
use crate::reach::malformed;
use crate::uri::Uri;

pub(super) async fn connect(visit: Visit<'_>, uri: &Uri) -> Result<Handed, Problem> {
    let Visit { door, local, who } = visit;
    let service = uri.service.as_deref().ok_or_else(|| malformed("write quic://node/service"))?;
    let mesh = door.mesh.as_ref().ok_or_else(|| {
        let text =
            "this node has no links to others: `portolan init` or `portolan join` makes it part of a cluster";
        Problem::new(ProblemKind::Unsupported, text)
    })?;
    let allowed = local.with_routes(|routes| routes.permit(Caller::by(&who.principal, UNIX), service));
    let (backend, permit) = allowed.map_err(|denial| denied(&denial))?;
    let mut last = Problem::new(
        ProblemKind::Unhealthy,
        format!("no healthy instance of \"{service}\" on node \"{}\"", uri.host),
    );
    for endpoint in backend.endpoints.iter().filter(|endpoint| *endpoint.node == *uri.host) {
        match within(local.config().connect_timeout, mesh.dial(endpoint, &permit)).await {
            Ok(stream) => {
                let mut connected = hand::describe(endpoint);
                connected.service = backend.service.clone();
                return hand::over(visit, permit, stream, connected).await;
            }
            Err(cause) => last = unreachable(uri, cause),
        }
    }
    Err(last)
}
