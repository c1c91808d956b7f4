//! Certificates for programs that keep them in files.

use std::path::{Path, PathBuf};

use crate::ca::{Authority, ISSUER_MS, Root, Validity};
use crate::disk;
use crate::error::Error;
use crate::identity::{Identity, pem_of, read_chain};
use crate::keys::Key;
use crate::time::DAY_MS;

/// Trust domain of a root that belongs to no cluster.
const PRIVATE: &str = "private";

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

/// Files for `name` from a private root that lives in the same directory (`ca.key`, `ca.pem`) and is made by the
/// first call: for programs that belong to no cluster.
///
/// # Errors
/// As [`issue_files`]; a root whose two files do not belong together.
pub fn issue_standalone(name: &str, days: u32, out: &Path, now_ms: u64) -> Result<Issued, Error> {
    catalog::validate::address("name", name)?;
    let root = private_root(PRIVATE, out, now_ms)?;
    let key = Key::generate()?;
    let certificate = root.sign_issuer(&key.public(), now_ms)?;
    // The issuer signs once and its key is forgotten: only the root is kept.
    let authority = Authority::from_parts(root.cluster(), key, vec![certificate])?;
    let latest_ms = now_ms.saturating_add(ISSUER_MS);
    write(&authority, &[root.certificate().to_vec()], latest_ms, (name, days, out), now_ms)
}

/// The root of a trust domain that lives in a directory; made, with its directory, where there is none.
pub(super) fn private_root(domain: &str, out: &Path, now_ms: u64) -> Result<Root, Error> {
    disk::make_directory(out)?;
    let (key, certificate) = (out.join("ca.key"), out.join("ca.pem"));
    let Some(pem) = disk::read(&key)? else {
        let root = Root::generate(domain, now_ms)?;
        disk::write_private(&key, root.key().to_pem().as_bytes())?;
        disk::write_public(&certificate, pem_of(&[root.certificate().to_vec()]).as_bytes())?;
        return Ok(root);
    };
    let roots = read_chain(&certificate)?;
    let root = roots.into_iter().next().unwrap_or_default();
    Root::from_parts(domain, Key::from_pem(&pem)?, root)
        .map_err(|cause| Error::Content { path: certificate, reason: cause.to_string() })
}

/// Writes `NAME.key`, `NAME.pem` and `ca.pem` into a directory, which is made if it is missing: a key with a
/// certificate for `name` as a DNS name (or an IP address), from this server's authority. It is good for TLS on
/// both sides, and not good for the mesh of the cluster itself.
///
/// # Errors
/// On an agent; a name that is none; more days than the issuer has left; a file that is there already; what the
/// disk says.
pub fn issue_files(
    identity: &Identity,
    name: &str,
    days: u32,
    out: &Path,
    now_ms: u64,
) -> Result<Issued, Error> {
    let authority = identity.authority("issue a certificate")?;
    write(authority, &identity.roots, identity.facts.issuer_validity.until_ms, (name, days, out), now_ms)
}

fn write(
    authority: &Authority,
    roots: &[Vec<u8>],
    latest_ms: u64,
    (name, days, out): (&str, u32, &Path),
    now_ms: u64,
) -> Result<Issued, Error> {
    catalog::validate::address("name", name)?;
    let validity = Validity::from_now(now_ms, u64::from(days.max(1)) * DAY_MS);
    if validity.until_ms > latest_ms {
        let left = latest_ms.saturating_sub(now_ms) / DAY_MS;
        let reason = format!("{days} days were asked for, and the issuer itself counts for {left} more");
        return Err(Error::Crypto { attempted: "issue a certificate", reason });
    }
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
