//! `tls://host:port`: TLS with the system's authorities, those of a file, or a pre-shared key. With a service behind
//! it, the greeting inside.

use std::time::Duration;

use consul::broker::{Problem, ProblemKind, Socket};
use relay::Stream;
use relay::tls::{Keyed, Speak};

use super::tcp::{dial, greet, within};
use super::{Way, describe, permit, unreachable};
use crate::door::{Door, Visit, Who};
use crate::hand::{self, Handed};
use crate::psk::{self, Key, Keys};
use crate::reach::malformed;

pub(super) async fn connect(visit: Visit<'_>, way: &Way<'_>) -> Result<Handed, Problem> {
    let uri = way.uri;
    let key = key(visit.door, visit.who, way)?;
    let permit = permit(visit, way, None)?;
    let patience = visit.local.config().connect_timeout;
    let stream = Stream::Tcp(dial(uri, patience).await?);
    let mut secured = match key {
        Some((identity, key)) => by_key(stream, way, &identity, &key, patience).await?,
        None => secure(visit.door, stream, way, Speak::Bytes, patience).await?,
    };
    if let Some(service) = &uri.service {
        greet(&mut secured, service, patience).await.map_err(|cause| unreachable(uri, cause))?;
    }
    hand::over(visit, permit, secured, describe(Socket::Unix, uri)).await
}

/// TLS with a server that its certificate proves.
pub(super) async fn secure(
    door: &Door,
    stream: Stream,
    way: &Way<'_>,
    speak: Speak,
    patience: Duration,
) -> Result<Stream, Problem> {
    let client = door.tls().map_err(|error| Problem::new(ProblemKind::Internal, error))?;
    let secured = within(patience, client.secure(stream, &way.uri.host, speak)).await;
    secured.map_err(|cause| unreachable(way.uri, cause))
}

/// TLS with a server that has the same key as we.
async fn by_key(
    stream: Stream,
    way: &Way<'_>,
    identity: &str,
    key: &Key,
    patience: Duration,
) -> Result<Stream, Problem> {
    let keyed = Keyed::new(psk::PROTOCOL).map_err(|error| Problem::new(ProblemKind::Internal, error))?;
    let proven = within(patience, async {
        let (mut secured, binding) = keyed.secure(stream, &way.uri.host).await?;
        psk::prove(&mut secured, &binding, identity, key).await?;
        Ok(secured)
    });
    proven.await.map_err(|cause| unreachable(way.uri, cause))
}

/// The identity and key that a URI names, if it does. A key that does not stand in it is one of this host's file, and
/// that is not for everybody on this host.
fn key(door: &Door, who: &Who, way: &Way<'_>) -> Result<Option<(String, Key)>, Problem> {
    let Some(credentials) = &way.uri.credentials else { return Ok(None) };
    let user = &credentials.user;
    if !psk::is_identity(user) {
        return Err(malformed("before the host stands an identity of letters, digits, `.`, `-` and `_`"));
    }
    if !credentials.secret.is_empty() {
        let key = Key::parse(&credentials.secret).map_err(malformed)?;
        return Ok(Some((user.clone(), key)));
    }
    let owns = who.caller.uid == 0 || who.caller.uid == rustix::process::geteuid().as_raw();
    if way.led_from.is_none() && !owns {
        let text = format!(
            "the keys of this host's file are not user {}'s: write the key of \"{user}\" behind it",
            who.caller.uid
        );
        return Err(Problem::new(ProblemKind::Denied, text));
    }
    let path = door.config.keys.as_deref();
    let path = path.ok_or_else(|| malformed(format!("no key of \"{user}\": `broker.keys` names no file")))?;
    let keys = Keys::load(path).map_err(|error| Problem::new(ProblemKind::Internal, error))?;
    let key = keys.of(user).map_err(|error| Problem::new(ProblemKind::Denied, error))?;
    Ok(Some((user.clone(), key.clone())))
}
