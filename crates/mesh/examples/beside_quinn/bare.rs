//! The library itself: one connection, streams without anything around them.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use rustls::pki_types::PrivateKeyDer;

use crate::{Opener, answer, loopback};

pub(crate) struct Bare(Connection, #[allow(dead_code, reason = "lives as long")] Endpoint);

impl Opener for Bare {
    type Stream = tokio::io::Join<RecvStream, SendStream>;

    async fn open(&self) -> Self::Stream {
        let (send, receive) = self.0.open_bi().await.unwrap();
        tokio::io::join(receive, send)
    }
}

/// The same windows and limits as a data link of the mesh.
fn transport() -> Arc<TransportConfig> {
    let limits = portolan_mesh::Limits::default();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.data_streams.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(limits.stream_window.into())
        .receive_window(limits.link_window.into())
        .send_window(u64::from(limits.link_window));
    Arc::new(transport)
}

pub(crate) async fn connect() -> Bare {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["bare.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls13 = &[&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(tls13)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(tls13)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let quic = QuicServerConfig::try_from(server).unwrap();
            let mut config = ServerConfig::with_crypto(Arc::new(quic));
            config.transport_config(transport());
            let endpoint = Endpoint::server(config, loopback()).unwrap();
            tell.send(endpoint.local_addr().unwrap()).unwrap();
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(answer(tokio::io::join(receive, send)));
            }
        });
    });
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    config.transport_config(transport());
    let endpoint = Endpoint::client(loopback()).unwrap();
    let connection = endpoint.connect_with(config, told.await.unwrap(), "bare.example").unwrap();
    Bare(connection.await.unwrap(), endpoint)
}
