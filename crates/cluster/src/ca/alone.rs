//! The authority of one node that belongs to no cluster: certificates for services, where Consul's clients expect some.

use std::path::Path;

use crate::ca::files::private_root;
use crate::ca::service::{ServiceCertificate, certified};
use crate::ca::{Authority, ISSUER_MS, Root};
use crate::error::Error;
use crate::keys::Key;

/// Signs for the services of one node. Its root is kept in files, or as long as the value.
pub struct Alone {
    root: Vec<u8>,
    key: String,
    authority: Authority,
    until_ms: u64,
}

impl Alone {
    /// The authority of a trust domain: with its root in a directory, which is made by the first call, or in memory alone.
    ///
    /// # Errors
    /// A root whose two files do not belong together; what the disk says.
    pub fn open(domain: &str, dir: Option<&Path>, now_ms: u64) -> Result<Alone, Error> {
        let root = match dir {
            Some(dir) => private_root(domain, dir, now_ms)?,
            None => Root::generate(domain, now_ms)?,
        };
        let key = Key::generate()?;
        let certificate = root.sign_issuer(&key.public(), now_ms)?;
        let authority = Authority::from_parts(domain, key, vec![certificate])?;
        let until_ms = now_ms.saturating_add(ISSUER_MS);
        Ok(Alone {
            root: root.certificate().to_vec(),
            key: root.key().hash().to_string(),
            authority,
            until_ms,
        })
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        self.authority.cluster()
    }

    /// The root's certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Hash of the root's key, as text.
    pub fn root_key(&self) -> &str {
        &self.key
    }

    /// Makes a key for a service and certifies it.
    ///
    /// # Errors
    /// A service name that is none; [`Error::Crypto`].
    pub fn certify(&self, datacenter: &str, service: &str, now_ms: u64) -> Result<ServiceCertificate, Error> {
        certified(&self.authority, self.until_ms, (datacenter, service), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_in_files_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let now_ms = 1_800_000_000_000;
        let dir = folder.path().join("authority");
        let first = Alone::open("x.consul", Some(&dir), now_ms).unwrap();
        let again = Alone::open("x.consul", Some(&dir), now_ms + 1000).unwrap();
        assert_eq!((first.root(), first.root_key()), (again.root(), again.root_key()));
        assert_ne!(Alone::open("x.consul", None, now_ms).unwrap().root(), first.root());
        let made = again.certify("dc1", "web", now_ms).unwrap();
        assert_eq!(made.uri, "spiffe://x.consul/ns/default/dc/dc1/svc/web");
        assert!(again.certify("dc1", "no name", now_ms).is_err());
    }
}
