//! `tls://host:port`: TLS with the system's authorities, or those of a file. With a service behind it, the greeting
//! inside.

use std::rc::Rc;
use std::sync::Arc;

use consul::broker::{Problem, ProblemKind, Socket};
use relay::tls::Speak;
use relay::{Local, Stream};

use super::tcp::{dial, greet, within};
use super::{Way, describe, permit, unreachable};
use crate::door::{Door, Who};
use crate::hand::{self, Handed};

pub(super) async fn connect(
    door: &Arc<Door>,
    local: &Rc<Local>,
    who: &Who,
    way: &Way<'_>,
) -> Result<Handed, Problem> {
    let uri = way.uri;
    if uri.credentials.as_ref().is_some_and(|credentials| !credentials.secret.is_empty()) {
        // Going on without would be less than was asked for.
        let text = "pre-shared keys are not there yet; without credentials the server is verified by its certificate";
        return Err(Problem::new(ProblemKind::Unsupported, text));
    }
    let permit = permit(local, who, way)?;
    let patience = local.config().connect_timeout;
    let stream = Stream::Tcp(dial(uri, patience).await?);
    let client = door.tls().map_err(|error| Problem::new(ProblemKind::Internal, error))?;
    let secured = within(patience, client.secure(stream, &uri.host, Speak::Bytes)).await;
    let mut secured = secured.map_err(|cause| unreachable(uri, cause))?;
    if let Some(service) = &uri.service {
        greet(&mut secured, service, patience).await.map_err(|cause| unreachable(uri, cause))?;
    }
    hand::over(door, local, who, permit, secured, describe(Socket::Unix, uri)).await
}
