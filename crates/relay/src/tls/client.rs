//! TLS toward servers.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use super::{TlsError, files, provider};
use crate::stream::Stream;

/// How a server is verified, and what it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Name that the server's certificate must have, also asked for (SNI). Unset: what was dialed.
    pub name: Option<String>,
    /// Authorities in a PEM file. Unset: those of this host's system.
    pub ca: Option<PathBuf>,
    /// A certificate to show to servers that ask for one, with its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Sessions that are remembered, to be resumed.
const SESSIONS: usize = 256;

/// Secures connections to servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    /// By what is spoken under TLS: bytes, HTTP/1.1, HTTP/2.
    configs: Option<[Arc<ClientConfig>; 3]>,
    name: Option<ServerName<'static>>,
}

/// What will be spoken under TLS: offered by ALPN, and nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// Anything; nothing is offered.
    Bytes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Client {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(settings: &ClientSettings) -> Result<Client, TlsError> {
        let roots = match &settings.ca {
            Some(path) => files::authorities(path)?,
            None => system_roots(),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots);
        let mut config = match (&settings.certificate, &settings.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = files::certificates("a client certificate", certificate)?;
                let what = certificate.display().to_string();
                let unusable = |cause| TlsError::Pair { what, cause };
                builder.with_client_auth_cert(chain, files::key(key)?).map_err(unusable)?
            }
            _ => return Err(TlsError::Half),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let name = settings.name.as_deref().map(server_name).transpose()?;
        let offering = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            // A session remembers its protocol.
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Arc::new(config)
        };
        let (http1, http2) = (offering(b"http/1.1"), offering(b"h2"));
        Ok(Client { configs: Some([Arc::new(config), http1, http2]), name })
    }

    /// A client that secures nothing: for a service whose settings cannot be read.
    pub fn refusing() -> Client {
        Client { configs: None, name: None }
    }

    /// Secures a connection to `dialed`, a host name or an address. The caller bounds the time.
    ///
    /// # Errors
    /// The server is another one, or speaks no such protocol, or the connection failed.
    pub async fn secure(&self, stream: Stream, dialed: &str, speak: Speak) -> std::io::Result<Stream> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(dialed).map_err(std::io::Error::other)?,
        };
        let Some([plain, http1, http2]) = &self.configs else {
            return Err(std::io::Error::other("the settings of its TLS could not be read"));
        };
        let config = match speak {
            Speak::Bytes => plain,
            Speak::Http1 => http1,
            Speak::Http2 => http2,
        };
        let secured = TlsConnector::from(config.clone()).connect(name, stream).await?;
        if speak == Speak::Http2 && secured.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(std::io::Error::other("the server does not speak HTTP/2 (ALPN \"h2\")"));
        }
        Ok(Stream::Other(Box::new(secured)))
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}

/// The system's authorities; those that cannot be read are left out, as every program does.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
