//! The certificate of the port of its own.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("read {what} from {path}")]
    File {
        /// Certificate or key.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not make a server.
    #[error("use the certificate of {path}")]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: rustls::Error,
    },
}

/// Loads certificate and key; HTTP/2 (gRPC) and HTTP/1.1 by ALPN.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let file = |what, path: &PathBuf| {
        let path = path.clone();
        move |cause| TlsError::File { what, path, cause }
    };
    let certificates = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(file("a certificate chain", &tls.cert_file))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(file("a private key", &tls.key_file))?;
    let refused = |cause| TlsError::Certificate { path: tls.cert_file.clone(), cause };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
