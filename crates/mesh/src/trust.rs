//! Who this node is, and whom it believes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::sign::CertifiedKey;

use crate::identity::{self, KeyHash, NotNamed};

/// How a certificate says its holder's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// Exactly one URI `spiffe://<domain>/node/<name>`, and nothing else that is a URI.
    Spiffe {
        /// The cluster's trust domain.
        domain: String,
    },
    /// Its DNS names, for certificates that were made elsewhere (px). The first one is the holder's name.
    Dns,
}

/// This node's certificate and the cluster's trust. A whole state: publish another one to renew a
/// certificate, to change the roots or to deny a key; links follow without being cut, unless they are
/// judged otherwise by it.
#[derive(Clone)]
pub struct Trust {
    pub(crate) naming: Naming,
    pub(crate) name: String,
    pub(crate) own: Arc<CertifiedKey>,
    /// The own chain with the roots behind it, for those who join and know a root's hash only.
    pub(crate) own_with_roots: Arc<CertifiedKey>,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
    pub(crate) denied: BTreeSet<KeyHash>,
    pub(crate) clock_ahead_ms: i64,
}

/// Peers to be linked with: name to addresses, each `host:port` or `ip:port`. Names are resolved again
/// at each try. Others may link with this node without being named here, if their certificate is good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peers(pub BTreeMap<String, Vec<String>>);

/// A certificate, key or root that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No certificate was given.
    #[error("this node's certificate chain is empty")]
    NoCertificate,
    /// No root was given.
    #[error("no trusted root was given: nobody could be believed")]
    NoRoot,
    /// The key is of a kind that is not supported, or no key.
    #[error("read this node's private key")]
    Key(#[source] rustls::Error),
    /// The key is another certificate's.
    #[error("this node's private key does not belong to its certificate")]
    KeyMismatch,
    /// A root that is no certificate.
    #[error("read trusted root {at}: {cause}")]
    Root {
        /// Which one, from 0.
        at: usize,
        /// What is wrong with it.
        cause: webpki::Error,
    },
    /// The own certificate is another node's.
    #[error("this node's certificate is for {}, not for {wanted:?}", names.join(", "))]
    OtherName {
        /// What this node is called.
        wanted: String,
        /// What the certificate says.
        names: Vec<String>,
    },
    /// The own certificate has no name, or two.
    #[error("read the name in this node's own certificate")]
    Name(#[source] NotNamed),
}

impl Trust {
    /// A trust from the own chain (leaf first, then intermediates), its key, and the roots.
    ///
    /// # Errors
    /// What cannot be used, and why. Validity in time is not looked at: a node whose certificate has run
    /// out must start in order to renew it.
    pub fn new(
        naming: Naming,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        roots: &[CertificateDer<'static>],
    ) -> Result<Trust, TrustError> {
        let leaf = chain.first().ok_or(TrustError::NoCertificate)?;
        let name = identity::name_of(leaf, &naming).map_err(TrustError::Name)?;
        let anchors = anchors(roots)?;
        let signer = rustls::crypto::ring::sign::any_supported_type(key).map_err(TrustError::Key)?;
        let with_roots = chain.iter().chain(roots).cloned().collect();
        let own = CertifiedKey::new(chain, signer.clone());
        match own.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(TrustError::KeyMismatch),
        }
        let own_with_roots = Arc::new(CertifiedKey::new(with_roots, signer));
        Ok(Trust {
            naming,
            name,
            own: Arc::new(own),
            own_with_roots,
            anchors,
            denied: BTreeSet::new(),
            clock_ahead_ms: 0,
        })
    }

    /// The same, with these keys refused: of nodes, and of intermediates with all that they signed.
    #[must_use]
    pub fn deny(mut self, keys: impl IntoIterator<Item = KeyHash>) -> Trust {
        self.denied.extend(keys);
        self
    }

    /// The same under another of the names in its own certificate.
    ///
    /// # Errors
    /// The certificate has no such name.
    pub fn named(mut self, name: &str) -> Result<Trust, TrustError> {
        let names =
            self.own.cert.first().map(|leaf| identity::names_of(leaf, &self.naming)).unwrap_or_default();
        if !names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(TrustError::OtherName { wanted: name.to_owned(), names });
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// The same, with what must be added to this host's clock to have the servers' time.
    #[must_use]
    pub fn with_clock_ahead_ms(mut self, ahead: i64) -> Trust {
        self.clock_ahead_ms = ahead;
        self
    }

    /// This node's name, as its certificate says it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn anchors(roots: &[CertificateDer<'static>]) -> Result<Vec<TrustAnchor<'static>>, TrustError> {
    if roots.is_empty() {
        return Err(TrustError::NoRoot);
    }
    let anchor = |(at, root)| {
        let anchor =
            webpki::anchor_from_trusted_cert(root).map_err(|cause| TrustError::Root { at, cause })?;
        Ok(anchor.to_owned())
    };
    roots.iter().enumerate().map(anchor).collect()
}

/// Without the key.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("naming", &self.naming)
            .field("name", &self.name)
            .field("roots", &self.anchors.len())
            .field("denied", &self.denied)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// Peers from pairs of a name and its addresses.
    pub fn of<N, A, I>(pairs: impl IntoIterator<Item = (N, I)>) -> Peers
    where
        N: Into<String>,
        A: Into<String>,
        I: IntoIterator<Item = A>,
    {
        let all = |addresses: I| addresses.into_iter().map(Into::into).collect();
        Peers(pairs.into_iter().map(|(name, addresses)| (name.into(), all(addresses))).collect())
    }
}
