//! What outlives a restart: the account's key, certificates with their keys, and how long an authority is to be
//! left alone. A folder for this alone, files for nobody else to read, each replaced as a whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::AcmeError;
use super::key::{AccountKey, base64url};
use super::order::Issued;
use crate::disk;

/// Failures of one name, and when it may be tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Patience {
    pub(super) failures: u32,
    /// Seconds since 1970.
    pub(super) until: i64,
}

/// The folder; nowhere for a node that forgets everything.
#[derive(Debug, Clone)]
pub(super) struct Store(Option<PathBuf>);

impl Store {
    /// Makes the folder where it is not there.
    pub(super) fn open(folder: Option<PathBuf>) -> Result<Store, AcmeError> {
        if let Some(path) = &folder {
            disk::make_folder(path).map_err(|cause| failed("make the folder", path, cause))?;
        }
        Ok(Store(folder))
    }

    /// The key of our account at this authority, made where there is none.
    pub(super) fn account(&self, directory: &str) -> Result<Arc<AccountKey>, AcmeError> {
        // One account for each authority: whoever tries with another first keeps both apart.
        let place = base64url(&digest(&SHA256, directory.as_bytes()).as_ref()[..9]);
        let file = format!("account-{place}.key");
        if let Some(text) = self.read(&file)? {
            let pkcs8 =
                STANDARD.decode(text.trim()).map_err(|why| super::crypto("read the account's key", why))?;
            return AccountKey::from_pkcs8(&pkcs8).map(Arc::new);
        }
        let key = AccountKey::generate()?;
        self.write(&file, &STANDARD.encode(key.pkcs8()))?;
        Ok(Arc::new(key))
    }

    /// The certificate that was kept for a name.
    pub(super) fn certificate(&self, name: &str) -> Result<Option<Issued>, AcmeError> {
        // The key stands first, so that one file holds both and neither is ever without the other.
        Ok(self.read(&file(name, "pem"))?.and_then(|text| {
            let at = text.find("-----BEGIN CERTIFICATE-----")?;
            Some(Issued { key: text[..at].to_owned(), chain: text[at..].to_owned() })
        }))
    }

    /// Keeps a certificate.
    pub(super) fn keep(&self, name: &str, issued: &Issued) -> Result<(), AcmeError> {
        self.write(&file(name, "pem"), &format!("{}{}", issued.key, issued.chain))
    }

    /// How long a name is to be left alone.
    pub(super) fn patience(&self, name: &str) -> Patience {
        let text = self.read(&file(name, "wait")).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Keeps it.
    pub(super) fn be_patient(&self, name: &str, patience: Patience) -> Result<(), AcmeError> {
        match patience.failures {
            0 => self.remove(&file(name, "wait")),
            _ => self.write(&file(name, "wait"), &serde_json::to_string(&patience).unwrap_or_default()),
        }
    }

    fn read(&self, file: &str) -> Result<Option<String>, AcmeError> {
        let Some(path) = self.0.as_ref().map(|folder| folder.join(file)) else { return Ok(None) };
        disk::read(&path).map_err(|cause| failed("read", &path, cause))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), AcmeError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let path = folder.join(file);
        disk::replace(&path, text.as_bytes()).map_err(|cause| failed("write", &path, cause))
    }

    fn remove(&self, file: &str) -> Result<(), AcmeError> {
        let Some(path) = self.0.as_ref().map(|folder| folder.join(file)) else { return Ok(()) };
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, cause)),
            _ => Ok(()),
        }
    }
}

/// A name has letters, digits, hyphens, dots and perhaps an asterisk: all but that may stand in a file's name.
fn file(name: &str, kind: &str) -> String {
    format!("{}.{kind}", name.replace('*', "_any"))
}

fn failed(attempted: &'static str, path: &Path, cause: io::Error) -> AcmeError {
    AcmeError::File { attempted, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_for_nobody_else_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("certificates");
        let store = Store::open(Some(inside.clone())).unwrap();
        let key = store.account("https://a.example").unwrap();
        assert_eq!(store.account("https://a.example").unwrap().pkcs8(), key.pkcs8());
        assert_ne!(store.account("https://b.example").unwrap().pkcs8(), key.pkcs8());
        let made = rcgen::generate_simple_self_signed(vec!["*.a.example".to_owned()]).unwrap();
        let issued = Issued { chain: made.cert.pem(), key: made.signing_key.serialize_pem() };
        store.keep("*.a.example", &issued).unwrap();
        assert_eq!(store.certificate("*.a.example").unwrap(), Some(issued));
        store.be_patient("a", Patience { failures: 2, until: 9 }).unwrap();
        assert_eq!(store.patience("a").failures, 2);
        store.be_patient("a", Patience::default()).unwrap();
        assert_eq!(store.patience("a"), Patience::default());
        for entry in std::fs::read_dir(inside).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
