//! Who this node is, from the files in its data directory.
//!
//! `cluster/` holds `cluster.json` (names, numbers, times, the servers known last), `node.key` and `node.pem`
//! (this node's key and chain), `ca.pem` (every root that is trusted), and on servers `issuer.key`,
//! `issuer.pem` and, unless it was taken away, `ca.key` (the root's key, and `ca.next.key` while another one follows). Everything is mode 0600, written
//! whole or not at all; `cluster.json` comes last, so that what it promises is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalog::{KeyHash, Role};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use crate::ca::{Authority, Root, Validity};
use crate::disk;
use crate::error::Error;
use crate::keys::{Key, hash_of_certificate};

/// Version of `cluster.json`.
const VERSION: u32 = 1;

/// What `cluster.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Version of this form.
    pub version: u32,
    /// The cluster's id, also its trust domain.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// What it does.
    pub role: Role,
    /// Its number in the order; 0 for an agent.
    pub server_id: u64,
    /// Number of its disk.
    pub disk: u64,
    /// Where others reach its mesh.
    pub addresses: Vec<String>,
    /// Time in which its certificate counts.
    pub validity: Validity,
    /// Time in which its issuer counts, on a server.
    #[serde(default)]
    pub issuer_validity: Validity,
    /// Hash of the first operator's token, where this node began the cluster.
    #[serde(default)]
    pub operator: Option<String>,
    /// Servers as known last, so that one is found before the order was replayed.
    #[serde(default)]
    pub servers: BTreeMap<String, Server>,
}

/// A server as known last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its number in the order.
    pub server_id: u64,
    /// Number of its disk.
    pub disk: u64,
    /// Where others reach its mesh.
    pub addresses: Vec<String>,
}

/// Who this node is. `Debug` shows no key.
pub struct Identity {
    home: PathBuf,
    /// See [`Facts`].
    pub facts: Facts,
    /// This node's key.
    pub key: Key,
    /// Its chain, leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// Roots that are trusted, DER; the one that signs first.
    pub roots: Vec<Vec<u8>>,
    /// What a server signs with.
    pub authority: Option<Authority>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Certificates as PEM, one after another.
pub(crate) fn pem_of(chain: &[Vec<u8>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for der in chain {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            text.push_str(str::from_utf8(line).unwrap_or_default());
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

fn missing(path: &Path) -> Error {
    let reason = "it is missing; put it back from a backup, or remove the folder and join again".into();
    Error::Content { path: path.into(), reason }
}

fn read_needed(path: &Path) -> Result<String, Error> {
    disk::read(path)?.ok_or_else(|| missing(path))
}

pub(crate) fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let text = read_needed(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let broken = |reason: String| Error::Content { path: path.into(), reason };
    let chain = chain.map_err(|cause| broken(cause.to_string()))?;
    if chain.is_empty() {
        return Err(broken("it holds no certificate".into()));
    }
    Ok(chain.into_iter().map(|der| der.to_vec()).collect())
}

fn read_key(path: &Path) -> Result<Key, Error> {
    Key::from_pem(&read_needed(path)?)
        .map_err(|cause| Error::Content { path: path.into(), reason: cause.to_string() })
}

/// The number of a disk follows from the key that was made on it: a copy of neither is another node.
pub(crate) fn disk_number(key: &Key) -> u64 {
    let KeyHash(hash) = key.hash();
    u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
}

/// Whether a data directory holds an identity.
pub fn exists(data: &Path) -> bool {
    data.join("cluster/cluster.json").exists()
}

impl Identity {
    /// Reads the identity in a data directory.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] where there is none; otherwise which file is missing or wrong, and what to do.
    pub fn load(data: &Path) -> Result<Identity, Error> {
        let home = data.join("cluster");
        let path = home.join("cluster.json");
        let text = disk::read(&path)?.ok_or_else(|| Error::NoIdentity { path: data.into() })?;
        let facts: Facts = serde_json::from_str(&text)
            .map_err(|cause| Error::Content { path: path.clone(), reason: cause.to_string() })?;
        if facts.version != VERSION {
            let reason = format!("it is of version {}, this program reads version {VERSION}", facts.version);
            return Err(Error::Content { path, reason });
        }
        let key = read_key(&home.join("node.key"))?;
        let chain = read_chain(&home.join("node.pem"))?;
        belongs(&home.join("node.pem"), &chain, &key)?;
        let roots = read_chain(&home.join("ca.pem"))?;
        let authority = match facts.role {
            Role::Server => Some(read_authority(&home, &facts.cluster)?),
            Role::Agent => None,
        };
        Ok(Identity { home, facts, key, chain, roots, authority })
    }

    /// An identity that is about to be written for the first time.
    pub(crate) fn new(data: &Path, facts: Facts, key: Key) -> Identity {
        let home = data.join("cluster");
        Identity { home, facts, key, chain: Vec::new(), roots: Vec::new(), authority: None }
    }

    /// Writes everything that may have changed.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self) -> Result<(), Error> {
        disk::make_directory(&self.home)?;
        let write = |name: &str, text: String| disk::write_private(&self.home.join(name), text.as_bytes());
        write("node.key", self.key.to_pem())?;
        write("node.pem", pem_of(&self.chain))?;
        write("ca.pem", pem_of(&self.roots))?;
        if let Some(authority) = &self.authority {
            write("issuer.key", authority.key().to_pem())?;
            write("issuer.pem", pem_of(authority.path()))?;
        }
        let text = serde_json::to_string_pretty(&self.facts)
            .map_err(|cause| Error::Content { path: self.home.clone(), reason: cause.to_string() })?;
        write("cluster.json", text + "\n")
    }

    /// Where the files are.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Hash of the key of the root that signs.
    ///
    /// # Errors
    /// The root is no certificate.
    pub fn root_hash(&self) -> Result<KeyHash, Error> {
        hash_of_certificate(self.roots.first().map_or(&[], Vec::as_slice))
    }

    /// Hashes of the keys of every root that is trusted, the one that signs first.
    pub fn root_hashes(&self) -> impl Iterator<Item = Result<KeyHash, Error>> + '_ {
        self.roots.iter().map(|der| hash_of_certificate(der))
    }

    /// What this server signs with.
    ///
    /// # Errors
    /// [`Error::NotServer`].
    pub fn authority(&self, attempted: &'static str) -> Result<&Authority, Error> {
        let node = || self.facts.node.clone();
        self.authority.as_ref().ok_or_else(|| Error::NotServer { attempted, node: node() })
    }

    /// The root that signs with its key, where that is on this host.
    ///
    /// # Errors
    /// [`Error::NoRootKey`], or what is wrong with the file.
    pub fn root(&self, attempted: &'static str) -> Result<Root, Error> {
        let active = self.roots.first().cloned().unwrap_or_default();
        let hash = hash_of_certificate(&active)?;
        for name in ["ca.key", "ca.next.key"] {
            let path = self.home.join(name);
            let Some(text) = disk::read(&path)? else { continue };
            let broken = |cause: Error| Error::Content { path, reason: cause.to_string() };
            let key = Key::from_pem(&text).map_err(broken)?;
            if key.hash() == hash {
                return Root::from_parts(&self.facts.cluster, key, active);
            }
        }
        Err(Error::NoRootKey { attempted, path: self.home.join("ca.key") })
    }

    /// Keeps the root's key here.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn keep_root_key(&self, pem: &str) -> Result<(), Error> {
        disk::make_directory(&self.home)?;
        disk::write_private(&self.home.join("ca.key"), pem.as_bytes())
    }
}

fn belongs(path: &Path, chain: &[Vec<u8>], key: &Key) -> Result<(), Error> {
    let leaf = chain.first().map_or(&[][..], Vec::as_slice);
    if hash_of_certificate(leaf)? == key.hash() {
        return Ok(());
    }
    let reason = "it is for another key than the one beside it; put back the two that belong together".into();
    Err(Error::Content { path: path.into(), reason })
}

fn read_authority(home: &Path, cluster: &str) -> Result<Authority, Error> {
    let path = home.join("issuer.pem");
    let chain = read_chain(&path)?;
    let key = read_key(&home.join("issuer.key"))?;
    belongs(&path, &chain, &key)?;
    Authority::from_parts(cluster, key, chain)
}
