//! The cluster's own certificate authority: a root, an issuer per server, leaves that live a day.
//!
//! Certificates are rebuilt from few facts (cluster id, name, key, validity): their subjects follow from
//! them, so nothing here parses X.509.

mod alone;
mod check;
mod files;
mod profile;
mod service;
mod shown;

pub use alone::Alone;
pub use check::{Lapse, lapse};
pub use files::{Issued, issue_files, issue_standalone};
pub use profile::{Validity, node_uri, service_uri};
pub use service::{ServiceCertificate, certify_service};
pub use shown::{Shown, shown};

use rcgen::{CertificateParams, Issuer};

use crate::error::{Error, crypto};
use crate::keys::{Key, PublicKey, hash_of_certificate};
use crate::time::{DAY_MS, HOUR_MS, YEAR_MS};
use catalog::KeyHash;

/// A root is believed this long.
pub const ROOT_MS: u64 = 20 * YEAR_MS;
/// A server's issuer is believed this long; it is made anew when a quarter is left.
pub const ISSUER_MS: u64 = 2 * YEAR_MS;
/// A node's certificate is believed this long; it is renewed at two thirds.
pub const LEAF_MS: u64 = DAY_MS;
/// Certificates begin this long before they are made: clocks differ.
pub const BACKDATE_MS: u64 = HOUR_MS;
/// A known key may renew this long after its certificate ran out.
pub const RENEWAL_MS: u64 = 30 * DAY_MS;

/// The root of a cluster.
pub struct Root {
    cluster: String,
    key: Key,
    certificate: Vec<u8>,
}

impl Root {
    /// A new root for a cluster.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn generate(cluster: &str, now_ms: u64) -> Result<Root, Error> {
        let key = Key::generate()?;
        let params = profile::root(cluster, key.hash(), Validity::from_now(now_ms, ROOT_MS))?;
        let certificate = params.self_signed(key.pair()).map_err(crypto("make a root certificate"))?;
        Ok(Root { cluster: cluster.into(), certificate: certificate.der().to_vec(), key })
    }

    /// A root from its parts.
    ///
    /// # Errors
    /// The key is another certificate's.
    pub fn from_parts(cluster: &str, key: Key, certificate: Vec<u8>) -> Result<Root, Error> {
        if hash_of_certificate(&certificate)? != key.hash() {
            let reason = "it belongs to another root certificate".into();
            return Err(Error::Crypto { attempted: "use the root's key", reason });
        }
        Ok(Root { cluster: cluster.into(), key, certificate })
    }

    /// The cluster that it is the root of.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Certifies a server's issuer.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn sign_issuer(&self, key: &PublicKey, now_ms: u64) -> Result<Vec<u8>, Error> {
        let params = profile::issuer(&self.cluster, key.hash(), Validity::from_now(now_ms, ISSUER_MS))?;
        self.sign(&params, key)
    }

    /// Certifies another root's key, so that who knows only this root follows to that one.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn cross_sign(&self, next: &Root, now_ms: u64) -> Result<Vec<u8>, Error> {
        let key = next.key.public();
        let params = profile::root(&next.cluster, key.hash(), Validity::from_now(now_ms, ISSUER_MS))?;
        self.sign(&params, &key)
    }

    fn sign(&self, params: &CertificateParams, key: &PublicKey) -> Result<Vec<u8>, Error> {
        let own = profile::root(&self.cluster, self.key.hash(), Validity::default())?;
        let issuer = Issuer::from_params(&own, self.key.pair());
        let signed = params.signed_by(key, &issuer).map_err(crypto("sign with the root's key"))?;
        Ok(signed.der().to_vec())
    }
}

/// What a server signs with.
pub struct Authority {
    cluster: String,
    key: Key,
    /// The issuer's certificate, then what leads from it to older roots.
    path: Vec<Vec<u8>>,
}

impl Authority {
    /// From its parts: the key, the issuer's certificate and what follows it in a chain.
    ///
    /// # Errors
    /// The key is another certificate's.
    pub fn from_parts(cluster: &str, key: Key, path: Vec<Vec<u8>>) -> Result<Authority, Error> {
        let own = path.first().map(|der| hash_of_certificate(der)).transpose()?;
        if own != Some(key.hash()) {
            let reason = "it belongs to another certificate".into();
            return Err(Error::Crypto { attempted: "use this server's signing key", reason });
        }
        Ok(Authority { cluster: cluster.into(), key, path })
    }

    /// The cluster that it signs for.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The issuer's certificate, then what leads from it to older roots.
    pub(crate) fn path(&self) -> &[Vec<u8>] {
        &self.path
    }

    /// Hash of its key.
    pub fn hash(&self) -> KeyHash {
        self.key.hash()
    }

    /// The issuer's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        self.path.first().map_or(&[], Vec::as_slice)
    }

    /// Certifies a node's key: the chain to show, leaf first, root left out.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn sign_node(&self, node: &str, key: &PublicKey, validity: Validity) -> Result<Vec<Vec<u8>>, Error> {
        self.sign(&profile::node(&self.cluster, node, validity)?, key)
    }

    /// Certifies a program's key for use outside the mesh of the cluster (px, tests, other tools).
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn sign_workload(
        &self,
        name: &str,
        key: &PublicKey,
        validity: Validity,
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.sign(&profile::workload(&self.cluster, name, validity)?, key)
    }

    /// Certifies a service's key.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn sign_service(
        &self,
        (datacenter, service): (&str, &str),
        key: &PublicKey,
        validity: Validity,
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.sign(&profile::service(&self.cluster, datacenter, service, validity)?, key)
    }

    fn sign(&self, params: &CertificateParams, key: &PublicKey) -> Result<Vec<Vec<u8>>, Error> {
        let own = profile::issuer(&self.cluster, self.key.hash(), Validity::default())?;
        let issuer = Issuer::from_params(&own, self.key.pair());
        let leaf = params.signed_by(key, &issuer).map_err(crypto("sign a certificate"))?;
        let mut chain = vec![leaf.der().to_vec()];
        chain.extend(self.path.iter().cloned());
        Ok(chain)
    }
}
