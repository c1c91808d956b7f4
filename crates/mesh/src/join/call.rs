//! The caller's side of joining.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use webpki::EndEntityCert;

use super::read_reply;
use crate::dial;
use crate::frame;
use crate::identity::KeyHash;
use crate::judge::{self, Disbelief, Invalid, Role};
use crate::link;
use crate::tls::{self, Said};

/// How long one address may take, the answer included.
const TIME: Duration = Duration::from_secs(25);
/// How long an address may take to answer at all.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No address worked; what each said.
    #[error("reach a server of the cluster: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// A server of the cluster said no.
    #[error("{address} refused: {reason}")]
    Refused {
        /// Which.
        address: SocketAddr,
        /// Its words.
        reason: String,
    },
    /// Sent, and no answer came: the request may have been carried out.
    #[error("{address} did not answer, and may have acted all the same: {cause}")]
    Unanswered {
        /// Which.
        address: SocketAddr,
        /// What happened to the connection.
        cause: String,
    },
}

/// Sends `request` to the first of `addresses` (each `host:port`) whose certificate leads to a root with the key
/// hash `ca`, and returns the reply. Nothing is sent to any other.
///
/// # Errors
/// [`JoinError`]. Another address is tried only as long as nothing was sent.
pub async fn call(addresses: &[String], ca: KeyHash, request: &[u8]) -> Result<Vec<u8>, JoinError> {
    let mut tries = Vec::new();
    for address in dial::resolve(addresses, &mut tries).await {
        let (endpoint, connection) = match connect(address, ca).await {
            Ok(connected) => connected,
            Err(error) => {
                tries.push(format!("{address}: {error}"));
                continue;
            }
        };
        let exchange = async {
            let (mut send, mut receive) = connection.open_bi().await?;
            frame::write(&mut send, request).await?;
            send.finish()?;
            read_reply(&mut receive).await
        };
        let answer = tokio::time::timeout(TIME, exchange).await;
        let closed = connection.close_reason().map(|error| link::ending(&error).0);
        connection.close(0u32.into(), b"done");
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        return match answer {
            Ok(Ok(reply)) => reply.map_err(|reason| JoinError::Refused { address, reason }),
            Ok(Err(error)) => {
                let cause = closed.unwrap_or_else(|| link::with_causes(&error));
                Err(JoinError::Unanswered { address, cause })
            }
            Err(_) => Err(JoinError::Unanswered { address, cause: format!("nothing came in {TIME:?}") }),
        };
    }
    Err(JoinError::Unreachable(tries))
}

async fn connect(address: SocketAddr, ca: KeyHash) -> Result<(Endpoint, quinn::Connection), String> {
    let here: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(here).map_err(|error| format!("bind {here}: {error}"))?;
    let said = Said::default();
    let config = client(ca, said.clone()).map_err(|error| link::with_causes(&error))?;
    let connecting = endpoint.connect_with(config, address, tls::SNI).map_err(|error| error.to_string())?;
    match tokio::time::timeout(CONNECT_TIME, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(error)) => Err(said.take().unwrap_or_else(|| link::ending(&error).0)),
        Err(_) => Err(format!("no answer in {CONNECT_TIME:?}")),
    }
}

fn client(ca: KeyHash, said: Said) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ByRoot { ca, provider, said }))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![tls::ALPN_JOIN.to_vec()];
    let quic = QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))?;
    Ok(ClientConfig::new(Arc::new(quic)))
}

/// Believes whoever's chain ends in the root with this key, which must be shown along.
#[derive(Debug)]
struct ByRoot {
    ca: KeyHash,
    provider: Arc<CryptoProvider>,
    said: Said,
}

impl ByRoot {
    fn judge(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Disbelief> {
        let is_root = |cert: &&CertificateDer<'_>| KeyHash::of_certificate(cert) == Ok(self.ca);
        let root = others.iter().find(is_root).ok_or_else(|| {
            Disbelief::Invalid(
                Invalid::Stranger,
                format!("it is not of the cluster whose root has the key {}", self.ca),
            )
        })?;
        let unreadable = |error: webpki::Error| Disbelief::Invalid(Invalid::Otherwise, error.to_string());
        let anchor = webpki::anchor_from_trusted_cert(root).map_err(unreadable)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(unreadable)?;
        judge::path(&leaf, others, &[anchor], Role::Server, UnixTime::now()).map(drop)
    }
}

impl ServerCertVerifier for ByRoot {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, others)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|disbelief| self.said.of(disbelief))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls::only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
