//! Certificates for programs that keep them in files.

use std::path::{Path, PathBuf};

use crate::ca::{Authority, Validity};
use crate::disk;
use crate::error::Error;
use crate::identity::pem_of;
use crate::keys::Key;
use crate::time::DAY_MS;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The private key, mode 0600.
    pub key: PathBuf,
    /// Its certificate and the issuer's.
    pub certificate: PathBuf,
    /// The roots to trust.
    pub roots: PathBuf,
    /// Time in which it counts.
    pub validity: Validity,
}

/// Writes `NAME.key`, `NAME.pem` and `ca.pem` into a directory, which is made if it is missing: a key with a
/// certificate for `name` as a DNS name (or an IP address). It is good for TLS on both sides, and not good for
/// the mesh of the cluster itself.
///
/// # Errors
/// A name that is none, a file that is there already, or what the disk says.
pub fn issue_files(
    authority: &Authority,
    roots: &[Vec<u8>],
    name: &str,
    days: u32,
    out: &Path,
    now_ms: u64,
) -> Result<Issued, Error> {
    catalog::validate::address("name", name)?;
    let validity = Validity::from_now(now_ms, u64::from(days.max(1)) * DAY_MS);
    let issued = Issued {
        key: out.join(format!("{name}.key")),
        certificate: out.join(format!("{name}.pem")),
        roots: out.join("ca.pem"),
        validity,
    };
    if issued.key.exists() {
        let reason = "it exists already; remove it first if it is to be replaced".into();
        return Err(Error::Content { path: issued.key, reason });
    }
    let key = Key::generate()?;
    let chain = authority.sign_workload(name, &key.public(), validity)?;
    disk::make_directory(out)?;
    disk::write_private(&issued.key, key.to_pem().as_bytes())?;
    disk::write_public(&issued.certificate, pem_of(&chain).as_bytes())?;
    disk::write_public(&issued.roots, pem_of(roots).as_bytes())?;
    Ok(issued)
}
