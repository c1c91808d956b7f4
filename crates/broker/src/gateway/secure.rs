//! Clients that come with TLS: the name or the protocol that they ask for is a service's, or they go on as the others do.

use std::io;
use std::path::Path;
use std::sync::Arc;

use relay::Stream;
use relay::tls::{
    Certificates, ClientAuthority, Hello, Secured, ServerConfig, Terms, TlsError, hello, spiffe_id,
};
use route::Principal;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::accept::{Client, Scheme, by_first_bytes};
use super::config::Config;
use super::target::{self, Target};
use super::{pump, reach};
use crate::psk::{self, Keys};

/// What proxies are asked for by.
const OWN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How handshakes go; `None` when nobody can be let in, which is told.
pub(super) fn setup(config: &Config, certificates: &Arc<Certificates>) -> Option<Arc<ServerConfig>> {
    if config.listen_tls.is_empty() {
        return None;
    }
    let clients = config.client_ca.clone();
    let clients = clients.map(|authorities| ClientAuthority { authorities, required: false });
    let own = ["h2", "http/1.1"].into_iter().chain(config.keys.as_ref().map(|_| psk::PROTOCOL));
    let terms = Terms { protocols: own.map(String::from).collect(), clients };
    terms.config(certificates).map_err(|error| tell(&error)).ok()
}

pub(super) fn tell(error: &TlsError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "cannot use what the gateway's TLS needs");
}

/// Serves one connection to its end.
pub(super) async fn serve(mut client: Client, stream: TcpStream) {
    let Some(handshake) = client.face.handshakes.begin() else { return };
    let opened = match timeout(client.face.config.handshake_timeout, open(&client, stream)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(cause)) => {
            tracing::debug!(client = %client.peer, %cause, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            client.face.metrics.refused("slow");
            return;
        }
    };
    handshake.done();
    let Opened { service, stream, proven } = opened;
    client.proven = proven.or(client.proven);
    match service {
        None => by_first_bytes(client, stream).await,
        Some(service) => straight(client, service, stream).await,
    }
}

/// A handshake that is over.
struct Opened {
    /// What it was for.
    service: Option<String>,
    stream: Stream,
    /// Whom it was with.
    proven: Option<Principal>,
}

/// The handshake, with the proof of a key where one is offered.
async fn open(client: &Client, stream: TcpStream) -> io::Result<Opened> {
    let hello = hello(Stream::Tcp(stream)).await?;
    let config = client.face.tls.as_ref().ok_or_else(|| io::Error::other("TLS is not set up"))?;
    let (service, protocol) = asked(client, &hello);
    let keys = client.face.config.keys.as_deref();
    let keys = keys.filter(|_| hello.offers(psk::PROTOCOL.as_bytes()));
    let mut config = config.clone();
    match keys {
        // The proof comes first, whatever comes then.
        Some(_) => Arc::make_mut(&mut config).alpn_protocols = vec![psk::PROTOCOL.into()],
        // What is spoken inside is between the client and the service: nothing of ours is agreed on.
        None if service.is_some() => {
            Arc::make_mut(&mut config).alpn_protocols = protocol.into_iter().collect()
        }
        None => {}
    }
    let mut secured = hello.secure(config).await?;
    let proven = match keys {
        Some(path) => {
            let proven = by_key(&mut secured, path).await;
            Some(proven.inspect_err(|_| client.face.metrics.refused("unproven"))?)
        }
        None => client.by_certificate(&secured),
    };
    Ok(Opened { service, stream: secured.stream, proven })
}

/// Who proves a key of the file, over the exporter of this very handshake.
async fn by_key(secured: &mut Secured, path: &Path) -> io::Result<Principal> {
    let untied = || io::Error::other("keys are proven over TLS 1.3 alone");
    let binding = secured.binding.ok_or_else(untied)?;
    let keys = Keys::load(path).map_err(|error| {
        tracing::error!(%error, "nobody can prove a key at the gateway");
        io::Error::other(error)
    })?;
    Ok(Principal::Identity { id: psk::check(&mut secured.stream, &binding, &keys).await? })
}

/// The service whose name is asked for, and the protocol that names it, where one does.
fn asked(client: &Client, hello: &Hello) -> (Option<String>, Option<Vec<u8>>) {
    let domains = &client.face.config.domains;
    let known = |name: &str| client.local.with_routes(|routes| routes.known(name).is_some());
    for protocol in hello.offered().filter(|protocol| !OWN.contains(&&**protocol)) {
        let name = std::str::from_utf8(&protocol).ok().filter(|name| known(name));
        if let Some(name) = name.map(str::to_owned) {
            return (Some(name), Some(protocol));
        }
    }
    let name = hello.name().and_then(|name| target::service(name, domains));
    (name.filter(|name| known(name)).map(str::to_owned), None)
}

/// Bytes, and nothing before them.
async fn straight(client: Client, service: String, stream: Stream) {
    let Some(principal) = client.known() else {
        client.face.metrics.refused("unproven");
        return;
    };
    match reach::reach(&client, &principal, Scheme::Tls, &Target::Service(service)).await {
        Ok(reached) => {
            client.face.metrics.opened("tls");
            pump::run(&client, stream, reached, bytes::Bytes::new()).await;
        }
        Err(refusal) => refusal.note(&client),
    }
}

impl Client {
    fn by_certificate(&self, secured: &Secured) -> Option<Principal> {
        let domain = self.face.config.client_domain.as_ref().unwrap_or(&self.face.domain);
        let id = spiffe_id(secured.chain.first()?, domain)?;
        Some(Principal::Identity { id: id.into() })
    }
}
