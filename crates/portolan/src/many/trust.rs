//! What cluster knows of certificates, as the mesh wants it, and the mesh's door for those who join.

use bytes::Bytes;
use cluster::join::Door;
use cluster::{Credentials, Peers};
use futures_util::future::BoxFuture;
use mesh::join::JoinError;
use mesh::{KeyHash, Naming, Trust, TrustError};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use state::{Publisher, Reader};

/// Whom the mesh believes, from the node's credentials.
///
/// # Errors
/// A certificate or key that TLS cannot use.
pub(crate) fn trust(credentials: &Credentials) -> Result<Trust, TrustError> {
    let certificate = |der: &Vec<u8>| CertificateDer::from(der.clone());
    let chain = credentials.chain.iter().map(certificate).collect();
    let roots: Vec<_> = credentials.roots.iter().map(certificate).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key.to_vec()));
    let naming = Naming::Spiffe { domain: credentials.cluster.clone() };
    let denied = credentials.denied.iter().map(|key| KeyHash(key.0));
    Ok(Trust::new(naming, chain, &key, &roots)?.deny(denied).with_clock_ahead_ms(credentials.clock_ahead_ms))
}

/// Hands changed credentials to the mesh, for as long as there is anybody who changes them.
pub(crate) async fn follow(mut credentials: Reader<Credentials>, to: Publisher<Trust>) {
    while let Some(next) = credentials.next().await {
        match trust(&next) {
            Ok(trust) => to.publish(trust),
            Err(error) => {
                tracing::error!(%error, "the renewed certificate cannot be used; the former one stays")
            }
        }
    }
}

/// The same for whom to link with.
pub(crate) async fn follow_peers(mut peers: Reader<Peers>, to: Publisher<mesh::Peers>) {
    while let Some(next) = peers.next().await {
        to.publish_if_changed(mesh::Peers((*next).clone()));
    }
}

/// The way to a server that nobody has proven anything to yet.
pub(crate) struct MeshDoor;

impl Door for MeshDoor {
    fn call<'a>(
        &'a self,
        address: &'a str,
        roots: &'a [catalog::KeyHash],
        request: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            let addresses = [address.to_owned()];
            let mut failed = "no root is known to check it by".to_owned();
            for root in roots {
                match mesh::join::call(&addresses, KeyHash(root.0), &request).await {
                    Ok(reply) => return Ok(reply.into()),
                    // Nothing was sent: it may prove another root.
                    Err(error @ JoinError::Unreachable(_)) => failed = error.to_string(),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Err(failed)
        })
    }
}
