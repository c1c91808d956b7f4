//! Certificates, keys and authorities in files, and whether the files are still those that were read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::TlsError;

/// A certificate with its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its authority, in this order.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Longest file that is read: a bundle of all authorities of the world has 300 KiB.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |cause| TlsError::File { what, path: path.to_owned(), cause };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MOST_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has {size} bytes"))));
    }
    std::fs::read(path).map_err(failed)
}

/// The certificates in a file, at least one.
pub(super) fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(what, path)?;
    certificates_in(what, &bytes).map_err(|cause| in_file(path, cause))
}

pub(super) fn certificates_in(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause| TlsError::Pem { what, cause };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all.map_err(failed)? {
        none if none.is_empty() => Err(failed(rustls::pki_types::pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

/// The key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read("a private key", path)?;
    key_in(&bytes).map_err(|cause| in_file(path, cause))
}

pub(super) fn key_in(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|cause| TlsError::Pem { what: "a private key", cause })
}

/// Says where a thing that is no PEM stands.
fn in_file(path: &Path, error: TlsError) -> TlsError {
    match error {
        TlsError::Pem { what, cause } => {
            let cause = io::Error::new(io::ErrorKind::InvalidData, cause.to_string());
            TlsError::File { what, path: path.to_owned(), cause }
        }
        other => other,
    }
}

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("authorities", path)? {
        roots.add(certificate).map_err(|cause| TlsError::Authority { path: path.to_owned(), cause })?;
    }
    Ok(roots)
}

/// Files that somebody has read, to be read again when one of them changed.
#[derive(Debug, Default)]
pub struct Watched(Vec<(PathBuf, Option<Stamp>)>);

impl Watched {
    /// These files, as they are now.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Watched {
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        Watched(paths.into_iter().map(stamped).collect())
    }

    /// True when one of them is another than it was when this was last asked.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, before) in &mut self.0 {
            let now = stamp(path);
            changed |= std::mem::replace(before, now) != now;
        }
        changed
    }
}

/// Time of the last change, size and number of a file.
pub(super) type Stamp = (SystemTime, u64, u64);

/// What tells that a file was replaced or rewritten. Links are followed: renewal programs switch them.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
