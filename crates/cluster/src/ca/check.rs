//! Whether a certificate was the cluster's, and since when it is not any more.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error as Webpki, KeyUsage, anchor_from_trusted_cert};

use catalog::KeyHash;

use crate::error::Error;
use crate::keys::sha256;

/// A certificate of ours, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lapse {
    /// Hash of its public key.
    pub key: KeyHash,
    /// How long ago it ran out, in milliseconds; 0 while it counts.
    pub ago_ms: u64,
}

/// Verifies a chain (leaf first) against roots, as it was when it last counted.
///
/// # Errors
/// [`Error::Crypto`]: it was never signed by one of them, or its time is still to come.
pub fn lapse(chain: &[Vec<u8>], roots: &[Vec<u8>], now_ms: u64) -> Result<Lapse, Error> {
    let der: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let roots: Vec<_> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let refused =
        |cause: Webpki| Error::Crypto { attempted: "verify a certificate", reason: cause.to_string() };
    let anchors: Result<Vec<_>, _> = roots.iter().map(anchor_from_trusted_cert).collect();
    let anchors = anchors.map_err(refused)?;
    let (leaf, path) = der.split_first().ok_or_else(|| refused(Webpki::UnknownIssuer))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
    let algorithms = [webpki::ring::ECDSA_P256_SHA256];
    let verify = |at: UnixTime| {
        leaf.verify_for_usage(&algorithms, &anchors, path, at, KeyUsage::client_auth(), None, None).map(drop)
    };
    let key = sha256(leaf.subject_public_key_info().as_ref());
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
    match verify(now) {
        Ok(()) => Ok(Lapse { key, ago_ms: 0 }),
        Err(Webpki::CertExpired { not_after, .. }) => {
            verify(not_after).map_err(refused)?;
            Ok(Lapse { key, ago_ms: now_ms.saturating_sub(not_after.as_secs() * 1000) })
        }
        Err(cause) => Err(refused(cause)),
    }
}
