//! From what is asked for to a connection, by the rules; or a refusal that every protocol has words for.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use relay::Stream;
use relay::balance::Flight;
use route::{Caller, Denial, PeerHost, Permit, Principal};
use tokio::net::{TcpStream, UnixStream};

use super::accept::{Client, Scheme};
use super::target::Target;
use crate::libipc::Generation;

/// A connection to what was asked for.
pub(super) struct Reached {
    pub(super) permit: Permit,
    pub(super) stream: Stream,
    /// Counted as long as it lives.
    pub(super) flight: Option<Flight>,
    /// How libipc's frames look there.
    pub(super) generation: Generation,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Nobody would do, and nobody proved anything.
    #[error("prove who you are")]
    Unproven,
    /// The rules say no, or the thing is not for anybody out there.
    #[error("this is not allowed")]
    Forbidden,
    /// There is no such name.
    #[error("there is no such service")]
    Unknown,
    /// There is, and nothing of it answers.
    #[error("the service cannot be reached")]
    Unreachable(io::ErrorKind),
}

impl Refusal {
    /// As HTTP says it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::Unproven => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Refusal::Forbidden => StatusCode::FORBIDDEN,
            Refusal::Unknown => StatusCode::NOT_FOUND,
            Refusal::Unreachable(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// As SOCKS says it (RFC 1928, section 6).
    pub(super) fn socks(&self) -> u8 {
        match self {
            Refusal::Unproven | Refusal::Forbidden => 2,
            Refusal::Unknown => 4,
            Refusal::Unreachable(io::ErrorKind::ConnectionRefused) => 5,
            Refusal::Unreachable(io::ErrorKind::NetworkUnreachable) => 3,
            Refusal::Unreachable(_) => 4,
        }
    }

    pub(super) fn note(&self, client: &Client) {
        client.face.metrics.refused(match self {
            Refusal::Unproven => "unproven",
            Refusal::Forbidden => "forbidden",
            Refusal::Unknown => "unknown",
            Refusal::Unreachable(_) => "unreachable",
        });
    }
}

/// Reaches `target` for `principal`, who comes by `scheme`.
pub(super) async fn reach(
    client: &Client,
    principal: &Principal,
    scheme: Scheme,
    target: &Target,
) -> Result<Reached, Refusal> {
    let caller = Caller::by(principal, scheme.word()).from_address(client.peer.ip().to_canonical());
    match target {
        Target::Service(name) => by_name(client, caller, name).await,
        Target::Host(host, port) => match virtual_of(client, host) {
            Some(name) => by_name(client, caller, &name).await,
            None => by_address(client, caller, host, *port).await,
        },
    }
}

/// Virtual addresses are names, too: who resolved one here asks for its service.
fn virtual_of(client: &Client, host: &str) -> Option<String> {
    let address: std::net::Ipv4Addr = host.parse().ok()?;
    client.local.with_routes(|routes| routes.backend_of(address).map(|backend| backend.service.to_string()))
}

async fn by_name(client: &Client, caller: Caller<'_>, name: &str) -> Result<Reached, Refusal> {
    let local = &client.local;
    match local.with_routes(|routes| routes.permit(caller, name)) {
        Ok((backend, permit)) => {
            let connection = relay::connect(local, &backend, &permit, None).await;
            let connection = connection.map_err(|error| {
                tracing::info!(client = %client.peer, %error, "could not reach a service for the gateway");
                let last = error.attempts.last();
                Refusal::Unreachable(last.map_or(io::ErrorKind::NotFound, |attempt| attempt.cause.kind()))
            })?;
            let (stream, flight) = (connection.stream, Some(connection.flight));
            Ok(Reached { permit, stream, flight, generation: Generation::C })
        }
        Err(Denial::UnknownService { name }) => in_a_folder(client, caller, &name).await,
        Err(denial) => Err(refused(client, &denial)),
    }
}

/// A service of libipc's on this host. Whoever may not reach a name is not told whether there is one.
async fn in_a_folder(client: &Client, caller: Caller<'_>, name: &str) -> Result<Reached, Refusal> {
    let permit = client.local.with_routes(|routes| routes.permit_to(caller, name));
    let permit = permit.map_err(|denial| refused(client, &denial))?;
    for folder in &client.face.folders {
        match folder.connect(name).await {
            Ok(Some(socket)) => {
                let stream = UnixStream::from_std(socket.into());
                let stream = stream.map_err(|cause| Refusal::Unreachable(cause.kind()))?;
                let stream = Stream::Other(Box::new(stream));
                return Ok(Reached { permit, stream, flight: None, generation: folder.generation });
            }
            Ok(None) => {}
            Err(cause) => {
                tracing::info!(client = %client.peer, %cause, service = name, "could not reach a local service");
                return Err(Refusal::Unreachable(cause.kind()));
            }
        }
    }
    Err(Refusal::Unknown)
}

/// An address, or a name of somebody else's: only where a rule names it.
async fn by_address(client: &Client, caller: Caller<'_>, host: &str, port: u16) -> Result<Reached, Refusal> {
    let peer = PeerHost { name: host.into(), port: Some(port) };
    let permit = client.local.with_routes(|routes| routes.permit_host(caller, &peer));
    let permit = permit.map_err(|denial| refused(client, &denial))?;
    let is_address = host.parse::<IpAddr>().is_ok();
    let patience = client.local.config().connect_timeout;
    let dialing = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in tokio::net::lookup_host((host, port)).await? {
            // What a rule names by its address is meant; a name may lead wherever its owner likes.
            if !is_address && is_internal(address) {
                last = io::Error::new(io::ErrorKind::PermissionDenied, format!("{host} leads to {address}"));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(cause) => last = cause,
            }
        }
        Err(last)
    };
    let dialed = tokio::time::timeout(patience, dialing).await;
    let stream = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|cause| {
        tracing::info!(client = %client.peer, %cause, host, port, "could not reach an address for the gateway");
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Refusal::Forbidden,
            kind => Refusal::Unreachable(kind),
        }
    })?;
    Ok(Reached { permit, stream: Stream::Tcp(stream), flight: None, generation: Generation::C })
}

/// Addresses that mean this host, this network, or nobody in particular.
fn is_internal(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || first == 0
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

fn refused(client: &Client, denial: &Denial) -> Refusal {
    match denial {
        Denial::Forbidden { .. } => {
            tracing::info!(client = %client.peer, %denial, "refused at the gateway");
            Refusal::Forbidden
        }
        Denial::UnknownService { .. } => Refusal::Unknown,
        Denial::NoEndpoint { .. } => Refusal::Unreachable(io::ErrorKind::NotFound),
        Denial::Circle { .. } | Denial::OtherScheme { .. } => {
            tracing::warn!(client = %client.peer, %denial, "refused at the gateway");
            Refusal::Unreachable(io::ErrorKind::Unsupported)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_this_host_or_network_is_internal() {
        for internal in [
            "127.0.0.1",
            "127.77.3.4",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_internal(SocketAddr::new(internal.parse().unwrap(), 1)), "{internal}");
        }
        for public in ["1.1.1.1", "100.128.0.1", "2606:4700::1111"] {
            assert!(!is_internal(SocketAddr::new(public.parse().unwrap(), 1)), "{public}");
        }
    }
}
