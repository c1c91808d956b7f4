//! TLS toward clients: a certificate for them to verify, and what they prove in turn.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use relay::Stream;
use relay::tls::{
    Certificates, ClientAuthority, Pair, Secured, ServerConfig, Terms, TlsError, dns_names, hello,
};
use route::{PeerHost, Principal};

use super::Stranger;
use crate::config::Config;
use crate::psk::{self, Keys};

/// Most names of a certificate that are looked at.
const MOST_NAMES: usize = 32;

/// What is shown to clients, and asked of them.
#[derive(Debug)]
pub(super) struct Secure {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
    keys: Option<PathBuf>,
    /// Whether somebody who proves nothing is turned away.
    demands: bool,
}

impl Secure {
    pub(super) fn new(config: &Config) -> Result<Secure, TlsError> {
        let certificates = Certificates::new();
        if let Some(files) = &config.certificate
            && let Some(error) = certificates.use_files(std::slice::from_ref(files)).into_iter().next()
        {
            return Err(error);
        }
        if config.keys.is_some() {
            certificates.put_otherwise(made()?);
        }
        let clients = config.incoming.clients.clone();
        let clients = clients.map(|authorities| ClientAuthority { authorities, required: false });
        let demands = clients.is_some() || config.keys.is_some();
        let protocols = config.keys.iter().map(|_| psk::PROTOCOL.to_owned()).collect();
        let terms = Terms { protocols, clients };
        let server = terms.config(&certificates)?;
        Ok(Secure { certificates, config: server, keys: config.keys.clone(), demands })
    }

    pub(super) fn refresh(&self) {
        for error in self.certificates.refresh() {
            tracing::warn!(%error, "keep the certificate for other hosts as it was");
        }
    }

    /// The handshake, and who it is with.
    pub(super) async fn begin(&self, stream: Stream, from: SocketAddr) -> io::Result<(Stream, Stranger)> {
        let Secured { mut stream, protocol, chain, binding } =
            hello(stream).await?.secure(self.config.clone()).await?;
        let mut stranger = Stranger {
            principal: Principal::Anonymous { from: from.ip() },
            from,
            scheme: Cow::Borrowed("tls"),
            names: Vec::new(),
        };
        if protocol.as_deref() == Some(psk::PROTOCOL.as_bytes()) {
            let (Some(binding), Some(path)) = (binding, &self.keys) else {
                return Err(io::Error::other("keys are proven over TLS 1.3 alone"));
            };
            let keys = Keys::load(path).map_err(io::Error::other)?;
            let identity = psk::check(&mut stream, &binding, &keys).await?;
            stranger.principal = Principal::Identity { id: identity };
        } else if let Some(certificate) = chain.first() {
            let named = |name: String| PeerHost { name: name.into(), port: None };
            stranger.names = dns_names(certificate).into_iter().take(MOST_NAMES).map(named).collect();
        } else if self.demands {
            let text = "it shows no certificate and no pre-shared key";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok((stream, stranger))
    }
}

/// A certificate for those who verify us by a key.
fn made() -> Result<Pair, TlsError> {
    let made = rcgen::generate_simple_self_signed(vec!["broker.invalid".to_owned()]);
    let made = made.map_err(|cause| TlsError::Made(cause.to_string()))?;
    Pair::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
}
