//! TLS toward servers that are known by a key instead of a certificate.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ConnectionCommon, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::{TlsError, provider};
use crate::stream::Stream;

/// What one handshake has and no other: its exporter (RFC 8446 section 7.5).
pub type Binding = [u8; 32];

/// By which the exporter is asked for.
const LABEL: &[u8] = b"EXPORTER-portolan-binding";

/// The binding of a handshake that is over.
pub(super) fn binding<Data>(session: &ConnectionCommon<Data>) -> Option<Binding> {
    let is_bound = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    is_bound.then(|| session.export_keying_material([0; 32], LABEL, None).ok()).flatten()
}

/// Secures connections to servers whose certificate says nothing, by TLS 1.3. **Whoever calls this has to prove the
/// server's key over the [`Binding`] before a byte of the program's is sent.** Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keyed(Arc<ClientConfig>);

impl Keyed {
    /// Asks for `protocol` by ALPN, and goes on with no other.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn new(protocol: &str) -> Result<Keyed, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&TLS13]).map_err(TlsError::Setup)?;
        let verifier = Arc::new(ByKey(provider()));
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Keyed(Arc::new(config)))
    }

    /// Secures a connection to `dialed`, a host name or an address. The caller bounds the time.
    ///
    /// # Errors
    /// The server does not speak the protocol, or the connection failed.
    pub async fn secure(&self, stream: Stream, dialed: &str) -> io::Result<(Stream, Binding)> {
        let name = ServerName::try_from(dialed.to_owned()).map_err(io::Error::other)?;
        let secured = TlsConnector::from(self.0.clone()).connect(name, stream).await?;
        let session = secured.get_ref().1;
        let agreed = session.alpn_protocol().is_some_and(|agreed| self.0.alpn_protocols[0] == agreed);
        match binding(session).filter(|_| agreed) {
            Some(binding) => Ok((Stream::Other(Box::new(secured)), binding)),
            None => Err(io::Error::other("it does not take pre-shared keys")),
        }
    }
}

/// Takes every certificate, and asks only that the server has its key: the rest is for the pre-shared one.
#[derive(Debug)]
struct ByKey(Arc<CryptoProvider>);

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("a key is proven over TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
