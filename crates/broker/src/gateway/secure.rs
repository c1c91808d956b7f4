//! Clients that come with TLS: the name or the protocol that they ask for is a service's, or they go on as the others do.

use std::io;
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

/// What proxies are asked for by.
const OWN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How handshakes go; `None` when nobody can be let in, which is told.
pub(super) fn setup(config: &Config, certificates: &Arc<Certificates>) -> Option<Arc<ServerConfig>> {
    if config.listen_tls.is_empty() {
        return None;
    }
    let clients = config.client_ca.clone();
    let clients = clients.map(|authorities| ClientAuthority { authorities, required: false });
    let terms = Terms { protocols: ["h2", "http/1.1"].map(String::from).into(), clients };
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
    let (service, secured) = opened;
    if let Some(proven) = client.by_certificate(&secured) {
        client.proven = Some(proven);
    }
    match service {
        None => by_first_bytes(client, secured.stream).await,
        Some(service) => straight(client, service, secured.stream).await,
    }
}

/// The handshake, and the service that it was for.
async fn open(client: &Client, stream: TcpStream) -> io::Result<(Option<String>, Secured)> {
    let hello = hello(Stream::Tcp(stream)).await?;
    let config = client.face.tls.as_ref().ok_or_else(|| io::Error::other("TLS is not set up"))?;
    let (service, protocol) = asked(client, &hello);
    let mut config = config.clone();
    if service.is_some() {
        // What is spoken inside is between the client and the service: nothing of ours is agreed on.
        let own = Arc::make_mut(&mut config);
        own.alpn_protocols = protocol.into_iter().collect();
    }
    Ok((service, hello.secure(config).await?))
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
