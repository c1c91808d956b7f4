//! `ws://host:port/service` and `wss://…`: a WebSocket whose path is the service, and bytes over it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consul::broker::{Problem, Socket};
use relay::Stream;
use relay::tls::Speak;

use super::tcp::{dial_at, dial_permitted, within};
use super::{Way, describe, permit, unreachable};
use crate::door::Visit;
use crate::hand::{self, Handed};
use crate::websocket::open;

pub(super) async fn connect(visit: Visit<'_>, way: &Way<'_>) -> Result<Handed, Problem> {
    let uri = way.uri;
    let is_secure = uri.scheme == "wss";
    let patience = visit.local.config().connect_timeout;
    let port = uri.port.unwrap_or(if is_secure { 443 } else { 80 });
    let (stream, permit) = if is_secure {
        let permit = permit(visit, way, None)?;
        let stream = Stream::Tcp(dial_at(uri, port, patience).await?);
        (super::tls::secure(visit.door, stream, way, Speak::Http1, patience).await?, permit)
    } else {
        let (stream, permit) = dial_permitted(visit, way, port).await?;
        (Stream::Tcp(stream), permit)
    };
    let path = format!("/{}", uri.service.as_deref().unwrap_or_default());
    let (host, extra) = (uri.authority(), authorization(way));
    let opened =
        within(patience, async { open(stream, &host, &path, &extra).await.map_err(std::io::Error::other) });
    let socket = opened.await.map_err(|cause| unreachable(uri, cause))?;
    let stream = Stream::Other(Box::new(socket));
    hand::over(visit, permit, stream, describe(Socket::Unix, uri)).await
}

/// Who asks, as HTTP has it: a user and what proves it (RFC 7617), or a token alone (RFC 6750).
fn authorization(way: &Way<'_>) -> String {
    let Some(credentials) = &way.uri.credentials else { return String::new() };
    match (&*credentials.user, &*credentials.secret) {
        (token, "") => format!("Authorization: Bearer {token}\r\n"),
        (user, secret) => {
            format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{secret}")))
        }
    }
}
