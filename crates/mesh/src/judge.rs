//! Whether a certificate chain is believed. Called by TLS during a handshake, and again for live links
//! whenever the trust changes.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::identity::{self, KeyHash, NotNamed};
use crate::trust::Trust;

/// A peer whose certificate was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Hash of its public key.
    pub key: KeyHash,
}

/// Why a certificate chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// No certificate was shown.
    #[error("it showed no certificate")]
    NoCertificate,
    /// No path to a trusted root, or out of its time, or for another use.
    #[error("its certificate is not valid: {1}")]
    Invalid(Invalid, String),
    /// The certificate names no node of this cluster.
    #[error("its certificate names no node of this cluster: {0}")]
    Unnamed(#[from] NotNamed),
    /// A good certificate of somebody else.
    #[error("its certificate is for {found:?}, not for {wanted:?}")]
    OtherName {
        /// Whose it is.
        found: String,
        /// Who was called.
        wanted: String,
    },
    /// On the deny list.
    #[error("its key {0} is denied")]
    Denied(KeyHash),
}

/// The ways in which a chain can be invalid that a peer is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// No trusted root signed it.
    Stranger,
    /// Anything else.
    Otherwise,
}

/// What a certificate is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// A clock that shows less was never set: this program is younger (2026-01-01). Boards without a battery boot
/// in 1970; their certificates are judged by the moment that they began to be valid.
const NO_CLOCK_BEFORE: Duration = Duration::from_secs(1_767_225_600);

impl Trust {
    /// Believes a chain (leaf first), or says why not.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        at: UnixTime,
    ) -> Result<Peer, Disbelief> {
        let (leaf, intermediates) = chain.split_first().ok_or(Disbelief::NoCertificate)?;
        let parsed = EndEntityCert::try_from(leaf).map_err(invalid)?;
        let keys = path(&parsed, intermediates, &self.anchors, role, at)?;
        if let Some(denied) = keys.iter().find(|key| self.denied.contains(key)) {
            return Err(Disbelief::Denied(*denied));
        }
        let name = identity::name_of(leaf, &self.naming)?;
        Ok(Peer { name, key: keys[0] })
    }

    /// Believes a chain of the peer that was called by `name`.
    pub(crate) fn judge_as(
        &self,
        name: &str,
        chain: &[CertificateDer<'_>],
        role: Role,
        at: UnixTime,
    ) -> Result<Peer, Disbelief> {
        let peer = self.judge(chain, role, at)?;
        let parsed = chain.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok());
        if parsed.is_some_and(|leaf| identity::is_named(&leaf, &self.naming, name)) {
            return Ok(Peer { name: name.to_owned(), ..peer });
        }
        Err(Disbelief::OtherName { found: peer.name, wanted: name.to_owned() })
    }

    /// This host's clock, corrected.
    pub(crate) fn time(&self) -> UnixTime {
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let corrected = now.saturating_add(self.clock_ahead_ms / 1000).max(0);
        UnixTime::since_unix_epoch(Duration::from_secs(corrected.unsigned_abs()))
    }
}

/// Key hashes along the path from the leaf up, without the root's.
pub(crate) fn path(
    leaf: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    role: Role,
    at: UnixTime,
) -> Result<Vec<KeyHash>, Disbelief> {
    match path_at(leaf, intermediates, anchors, role, at) {
        Err(webpki::Error::CertNotValidYet { not_before, .. }) if never_set(at) => {
            path_at(leaf, intermediates, anchors, role, not_before).map_err(invalid)
        }
        other => other.map_err(invalid),
    }
}

fn never_set(clock: UnixTime) -> bool {
    clock.as_secs() < NO_CLOCK_BEFORE.as_secs()
}

fn path_at(
    leaf: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    role: Role,
    at: UnixTime,
) -> Result<Vec<KeyHash>, webpki::Error> {
    let usage = match role {
        Role::Server => KeyUsage::server_auth(),
        Role::Client => KeyUsage::client_auth(),
    };
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let path = leaf.verify_for_usage(algorithms.all, anchors, intermediates, at, usage, None, None)?;
    let hash = |spki: &[u8]| KeyHash::of_public_key(spki);
    let mut keys = vec![hash(leaf.subject_public_key_info().as_ref())];
    keys.extend(path.intermediate_certificates().map(|cert| hash(cert.subject_public_key_info().as_ref())));
    Ok(keys)
}

fn invalid(error: webpki::Error) -> Disbelief {
    let kind = match error {
        webpki::Error::CertExpired { .. } => Invalid::Expired,
        webpki::Error::CertNotValidYet { .. } => Invalid::NotYet,
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Invalid::Stranger,
        _ => Invalid::Otherwise,
    };
    let text = match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "no root of this cluster signed it".to_owned()
        }
        webpki::Error::CertExpired { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            format!("it ran out {ago} s ago by this host's clock")
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            let ahead = not_before.as_secs().saturating_sub(time.as_secs());
            format!("it begins in {ahead} s by this host's clock")
        }
        other => other.to_string(),
    };
    Disbelief::Invalid(kind, text)
}
