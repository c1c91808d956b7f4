//! TLS 1.3 as links use it: both sides show a certificate, [`Trust::judge`] decides, and the certificate shown is
//! always the newest.
//!
//! Deliberately absent: tickets, session resumption and early data. Each would let a peer in by what was
//! believed earlier, and early data could be replayed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    ServerConfig, SignatureScheme,
};
use state::Reader;

use crate::judge::{Disbelief, Invalid, Role};
use crate::trust::Trust;

/// Links between nodes.
pub(crate) const ALPN_NODE: &[u8] = b"portolan";
/// Joining: the caller has no certificate yet.
pub(crate) const ALPN_JOIN: &[u8] = b"portolan-join";
/// What is put into SNI. Peers are known by their certificates, and an observer need not learn their names.
pub(crate) const SNI: &str = "portolan.invalid";

/// The server's side of every port of the mesh: nodes, those who join, and guests.
pub(crate) fn server(trust: &Reader<Trust>, guests: &[Vec<u8>]) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier {
            trust: trust.clone(),
            expect: None,
            provider,
            said: Said::default(),
        }))
        .with_cert_resolver(Arc::new(Newest(trust.clone())));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![ALPN_NODE.to_vec(), ALPN_JOIN.to_vec()];
    config.alpn_protocols.extend_from_slice(guests);
    Ok(config)
}

/// The caller's side towards the node called `expect`.
pub(crate) fn client(trust: &Reader<Trust>, expect: &str) -> Result<(ClientConfig, Said), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let said = Said::default();
    let verifier = Verifier {
        trust: trust.clone(),
        expect: Some(expect.to_owned()),
        provider: provider.clone(),
        said: said.clone(),
    };
    let own = Arc::new(rustls::sign::SingleCertAndKey::from(trust.now().own.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(own);
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![ALPN_NODE.to_vec()];
    Ok((config, said))
}

/// Shows the certificate of the moment. Who joins gets the roots too: all that it knows is a hash of one.
struct Newest(Reader<Trust>);

impl ResolvesServerCert for Newest {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let trust = self.0.now();
        let joins = hello.alpn().is_some_and(|mut offered| offered.any(|alpn| alpn == ALPN_JOIN));
        Some(if joins { trust.own_with_roots.clone() } else { trust.own.clone() })
    }
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newest")
    }
}

/// Judges peers by the trust of the moment.
struct Verifier {
    trust: Reader<Trust>,
    expect: Option<String>,
    provider: Arc<CryptoProvider>,
    said: Said,
}

impl Verifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
    ) -> Result<(), Error> {
        let trust = self.trust.now();
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let judged = match &self.expect {
            Some(name) => trust.judge_as(name, &chain, role, trust.time()),
            None => trust.judge(&chain, role, trust.time()),
        };
        judged.map(drop).map_err(|disbelief| {
            if role == Role::Client {
                tracing::info!(%disbelief, "a caller's certificate is not believed");
            }
            self.said.of(disbelief)
        })
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
}

/// What a verifier said last: TLS hands on the kind of an error, and not its words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Option<String>>>);

impl Said {
    /// Keeps the words; the error's kind becomes the alert, by which the other side can tell them apart.
    pub(crate) fn of(&self, disbelief: Disbelief) -> Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(disbelief.to_string());
        Error::InvalidCertificate(match disbelief {
            Disbelief::Invalid(Invalid::Expired, _) => CertificateError::Expired,
            Disbelief::Invalid(Invalid::NotYet, _) => CertificateError::NotValidYet,
            Disbelief::Invalid(Invalid::Stranger, _) => CertificateError::UnknownIssuer,
            Disbelief::Denied(_) => CertificateError::Revoked,
            _ => CertificateError::ApplicationVerificationFailure,
        })
    }

    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Server).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// TLS cannot make it depend on the ALPN: links without a certificate end right after the handshake.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, intermediates, Role::Client).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

pub(crate) fn only_tls13() -> Error {
    Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expect", &self.expect).finish_non_exhaustive()
    }
}
