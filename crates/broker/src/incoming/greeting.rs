//! tcpd's greeting: a service's name, then `ok`, then the service.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use relay::balance::Flight;
use relay::pump::{self, Prefix};
use relay::{Local, Stream};
use route::{Caller, Denial, End, Permit, Routes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::Stranger;
use crate::door::Door;
use crate::hand;
use crate::uri::is_service_name;

/// Longest greeting, in bytes: a name and an end of line.
const LONGEST: usize = 128;

/// The name that a client says. Whole in the first read, as the original reads it: there is no mark of its end.
pub(super) async fn hear(stream: &mut Stream) -> io::Result<String> {
    let mut bytes = [0; LONGEST];
    let length = stream.read(&mut bytes).await?;
    match named(&bytes[..length]) {
        Some(name) => Ok(name.to_owned()),
        None if length == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        None => {
            let _ = stream.write_all(b"no").await;
            Err(io::Error::new(io::ErrorKind::InvalidData, "what it says is no service's name"))
        }
    }
}

/// The service's name in a greeting. Some clients end the line, or the string.
pub(crate) fn named(greeting: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(greeting).ok()?;
    let name = text.trim_end_matches(['\n', '\r', '\0']);
    (greeting.len() < LONGEST && is_service_name(name)).then_some(name)
}

/// Where a name leads, connected.
struct Reached {
    stream: Stream,
    permit: Permit,
    /// Counted as long as the connection lives.
    _flight: Option<Flight>,
}

/// Says `ok` and relays, or says `no`.
pub(super) async fn answer(
    door: &Arc<Door>,
    local: &Rc<Local>,
    mut stream: Stream,
    stranger: &Stranger,
    name: &str,
    here: SocketAddr,
) -> io::Result<()> {
    let reached = match reach(door, local, stranger, name, here).await {
        Ok(reached) => reached,
        Err(why) => {
            let _ = stream.write_all(b"no").await;
            let _ = stream.shutdown().await;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("\"{name}\": {why}")));
        }
    };
    stream.write_all(b"ok").await?;
    stream.flush().await?;
    tokio::select! {
        outcome = pump::run(local, reached.permit, stream, reached.stream, Prefix::default(), None) => {
            outcome.broken.map_or(Ok(()), |broken| Err(io::Error::other(broken)))
        }
        () = door.cut.started() => Ok(()),
    }
}

async fn reach(
    door: &Arc<Door>,
    local: &Rc<Local>,
    stranger: &Stranger,
    name: &str,
    here: SocketAddr,
) -> Result<Reached, String> {
    let said = |denial: Denial| denial.to_string();
    let led = local.with_routes(|routes| routes.lead(name)).map_err(said)?;
    let End::Service(name) = &led.end else {
        return Err("it leads out of this host again, which is not for programs of other hosts".to_owned());
    };
    let found = local.with_routes(|routes| {
        let caller = caller(routes, stranger, name);
        hand::service(routes, caller, name)
    });
    match found {
        Ok((backend, permit)) => {
            let connection = relay::connect(local, &backend, &permit, Some(here)).await;
            let connection = connection.map_err(|error| error.to_string())?;
            Ok(Reached { stream: connection.stream, permit, _flight: Some(connection.flight) })
        }
        Err(Denial::UnknownService { .. }) => {
            let permit = local.with_routes(|routes| {
                let caller = caller(routes, stranger, name);
                routes.permit_to(caller, name)
            });
            let permit = permit.map_err(said)?;
            for folder in &door.folders {
                if let Some(socket) = folder.connect(name).await.map_err(|error| error.to_string())? {
                    let socket = UnixStream::from_std(socket.into()).map_err(|error| error.to_string())?;
                    return Ok(Reached { stream: Stream::Other(Box::new(socket)), permit, _flight: None });
                }
            }
            Err("there is no such service here".to_owned())
        }
        Err(denial) => Err(said(denial)),
    }
}

/// The stranger as the rules are asked about it. Of a certificate with several names, the one that the first rule is
/// about: a rule is about a certificate when it is about any of its names.
fn caller<'a>(routes: &Routes, stranger: &'a Stranger, service: &str) -> Caller<'a> {
    let caller = Caller::by(&stranger.principal, &stranger.scheme).from_address(stranger.from.ip());
    let named = |host| Caller { host: Some(host), ..caller };
    let place = |caller: &Caller<'_>| routes.policy().ruling(caller, service).rule.unwrap_or(u32::MAX);
    stranger.names.iter().map(named).min_by_key(place).unwrap_or(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_one_name() {
        for greeting in [&b"authd"[..], b"authd\n", b"authd\r\n", b"authd\0"] {
            assert_eq!(named(greeting), Some("authd"));
        }
        for odd in [&b""[..], b"\n", b"a/b", b"../authd", b"a b", b"\xff", b"a\nb", &[b'a'; 128]] {
            assert_eq!(named(odd), None, "{odd:?}");
        }
    }
}
