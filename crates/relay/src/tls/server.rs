//! What a site demands of its clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::certificates::Certificates;
use super::{TlsError, files, provider};

/// Who may vouch for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthority {
    /// Authorities, in a PEM file.
    pub authorities: PathBuf,
    /// Turn clients away that show no certificate. One that shows a bad certificate is turned away always.
    pub required: bool,
}

/// What a site demands and offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Protocols offered (ALPN), the best first; none: the client's choice does not matter.
    pub protocols: Vec<String>,
    /// Who may vouch for clients; nobody is asked for a certificate when absent.
    pub clients: Option<ClientAuthority>,
}

impl Terms {
    /// A configuration for handshakes that shows `certificates`. Every one has a ticket key of its own: a
    /// session that began on a site where nobody is asked for a certificate cannot be resumed on one that asks.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn config(&self, certificates: &Arc<Certificates>) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(ClientAuthority { authorities, required }) => {
                let roots = files::authorities(authorities)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
                let unusable = |cause: rustls::server::VerifierBuilderError| TlsError::Authority {
                    path: authorities.clone(),
                    cause: rustls::Error::General(cause.to_string()),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
            }
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::Setup)?;
        // Tickets replace it, and a cache in memory would be filled by whoever connects.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}
