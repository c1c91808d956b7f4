//! The certificates that this host can show, by the name that a client asks for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::{self, CertificateFiles};
use super::{TlsError, provider};

/// A certificate with its chain and key, found good.
#[derive(Debug, Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// DNS names in lower case, some with `*.` in front.
    names: Arc<[Box<str>]>,
}

impl Pair {
    /// From what others made: the certificate, those between it and its authority, and its key.
    ///
    /// # Errors
    /// [`TlsError::Pair`] when the key is another certificate's or of an unknown kind.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Pair, TlsError> {
        let names = chain.first().map(names).unwrap_or_default();
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|cause| {
            let what = names.first().map_or_else(|| "a certificate".to_owned(), |name| format!("\"{name}\""));
            TlsError::Pair { what, cause }
        })?;
        Ok(Pair { certified: Arc::new(certified), names: names.into() })
    }

    /// From PEM texts.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Pair, TlsError> {
        Pair::new(files::certificates_in("a certificate", chain)?, files::key_in(key)?)
    }

    fn from_files(files: &CertificateFiles) -> Result<Pair, TlsError> {
        let chain = files::certificates("a certificate", &files.certificate)?;
        Pair::new(chain, files::key(&files.key)?)
    }

    /// Names that it stands for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

fn names(certificate: &CertificateDer<'static>) -> Vec<Box<str>> {
    super::dns_names(certificate).into_iter().map(String::into_boxed_str).collect()
}

/// When each of two files was last changed, their sizes and numbers.
type Stamps = [Option<files::Stamp>; 2];

#[derive(Debug)]
struct FromFiles {
    files: CertificateFiles,
    stamps: Stamps,
    /// What was good last.
    pair: Option<Pair>,
    /// Pairs that were good so far.
    read: u64,
    /// Why the last reading failed; read again until it does not, since that may pass: no descriptors, no permission yet.
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Sources {
    files: Vec<FromFiles>,
    handed_in: BTreeMap<String, Pair>,
    otherwise: Option<Pair>,
}

/// What the handshake looks at. Replaced as a whole.
#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what stands after `*.`.
    below: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For a client that names nobody: the first file's.
    first: Option<Arc<CertifiedKey>>,
    /// For whom there is no other.
    otherwise: Option<Arc<CertifiedKey>>,
}

/// All certificates of this host. Shared; a change is seen by the next handshake.
///
/// Kinds of method: [`Certificates::use_files`] says which files, [`Certificates::refresh`] reads those that
/// changed, [`Certificates::put`] and [`Certificates::remove`] are for whoever obtains certificates at run time.
#[derive(Default)]
pub struct Certificates {
    sources: Mutex<Sources>,
    table: ArcSwap<Table>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("names", &self.names()).finish()
    }
}

impl Certificates {
    /// None yet.
    pub fn new() -> Arc<Certificates> {
        Arc::default()
    }

    /// Takes these files' certificates and no others'. One that cannot be read is left out, or stays what it
    /// was if it had been read before; the errors say which.
    pub fn use_files(&self, wanted: &[CertificateFiles]) -> Vec<TlsError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut sources.files);
        for files in wanted {
            let at = known.iter().position(|known| known.files == *files);
            let fresh = || FromFiles {
                files: files.clone(),
                stamps: Stamps::default(),
                pair: None,
                read: 0,
                failed: None,
            };
            sources.files.push(at.map_or_else(fresh, |at| known.swap_remove(at)));
        }
        let errors = sources.files.iter_mut().filter_map(FromFiles::refresh).collect();
        self.publish(&sources);
        errors
    }

    /// Reads the files that changed since they were read, and those that could not be. An error is told once.
    pub fn refresh(&self) -> Vec<TlsError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<u64> = sources.files.iter().map(|from| from.read).collect();
        let errors = sources.files.iter_mut().filter_map(FromFiles::refresh).collect();
        if sources.files.iter().map(|from| from.read).ne(before) {
            self.publish(&sources);
        }
        errors
    }

    /// Takes a certificate that somebody obtained, in the place of what was put under `key` before. Where a file
    /// has a certificate for the same name, the file's is shown: it is what the operator wrote down.
    pub fn put(&self, key: &str, pair: Pair) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.handed_in.insert(key.to_owned(), pair);
        self.publish(&sources);
    }

    /// Takes a certificate for clients that no other is for: those who do not look at it.
    pub fn put_otherwise(&self, pair: Pair) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.otherwise = Some(pair);
        self.publish(&sources);
    }

    /// Forgets what was put under `key`.
    pub fn remove(&self, key: &str) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.handed_in.remove(key).is_some() {
            self.publish(&sources);
        }
    }

    /// All names that there is a certificate for, sorted; wildcards as `*.` and the rest.
    pub fn names(&self) -> Vec<String> {
        let table = self.table.load();
        let below = table.below.keys().map(|name| format!("*.{name}"));
        let mut names: Vec<String> = table.by_name.keys().map(|name| name.to_string()).chain(below).collect();
        names.sort_unstable();
        names
    }

    /// True when there is a certificate to show to a client that asks for `name`, or for nobody.
    pub fn has(&self, name: Option<&str>) -> bool {
        self.table.load().find(name).is_some()
    }

    fn publish(&self, sources: &Sources) {
        let mut table = Table::default();
        let files = sources.files.iter().filter_map(|from| from.pair.as_ref());
        table.otherwise = sources.otherwise.as_ref().map(|pair| pair.certified.clone());
        table.first = files.clone().next().map(|pair| pair.certified.clone());
        // What comes first stays.
        for pair in files.chain(sources.handed_in.values()) {
            for name in pair.names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut table.below, suffix),
                    None => (&mut table.by_name, name),
                };
                map.entry(name.into()).or_insert_with(|| pair.certified.clone());
            }
        }
        self.table.store(Arc::new(table));
    }
}

impl FromFiles {
    /// Reads the files unless they are those that were read.
    fn refresh(&mut self) -> Option<TlsError> {
        let stamp = |path: &Path| files::stamp(path);
        let stamps = [stamp(&self.files.certificate), stamp(&self.files.key)];
        if stamps == self.stamps && self.pair.is_some() && self.failed.is_none() {
            return None;
        }
        self.stamps = stamps;
        match Pair::from_files(&self.files) {
            Ok(pair) => {
                self.pair = Some(pair);
                self.read += 1;
                self.failed = None;
                None
            }
            Err(error) => {
                let why = format!("{error:?}");
                let is_news = self.failed.replace(why.clone()) != Some(why);
                is_news.then_some(error)
            }
        }
    }
}

impl Table {
    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        self.find_named(name).or(self.otherwise.as_ref())
    }

    fn find_named(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else { return self.first.as_ref() };
        let lower;
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                lower = name.to_ascii_lowercase();
                &*lower
            }
            false => name,
        };
        // One label for the asterisk (RFC 9525 section 6.3).
        let below = || self.below.get(name.split_once('.')?.1);
        self.by_name.get(name).or_else(below)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.table.load().find(hello.server_name()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn handed(names: &[&str]) -> Pair {
        let (chain, key) = pair(names);
        Pair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    /// What a client that asks for `name` is shown.
    fn shown(certificates: &Certificates, name: Option<&str>) -> Option<CertificateDer<'static>> {
        certificates.table.load().find(name).map(|certified| certified.cert[0].clone())
    }

    #[test]
    fn the_nearest_name_wins() {
        let certificates = Certificates::new();
        let (exact, below) = (handed(&["a.example.org"]), handed(&["*.example.org"]));
        certificates.put("exact", exact.clone());
        certificates.put("below", below.clone());
        let is = |name: &str, pair: &Pair| {
            shown(&certificates, Some(name)).is_some_and(|shown| shown == pair.certified.cert[0])
        };
        assert!(is("a.example.org", &exact) && is("A.Example.ORG", &exact));
        assert!(is("b.example.org", &below));
        for none in ["example.org", "a.b.example.org", "example.com"] {
            assert!(!certificates.has(Some(none)), "{none}");
        }
        assert!(!certificates.has(None), "a client that names nobody gets a file's or none");
        certificates.remove("exact");
        assert!(is("a.example.org", &below));
        assert_eq!(certificates.names(), ["*.example.org"]);
    }

    #[test]
    fn files_are_read_again_when_they_change_and_only_if_they_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { folder.path().join(name) };
        let files = CertificateFiles { certificate: at("c"), key: at("k") };
        let write = |(chain, key): &(String, String)| {
            std::fs::write(at("k"), key).unwrap();
            std::fs::write(at("c"), chain).unwrap();
        };
        let certificates = Certificates::new();
        let missing = certificates.use_files(std::slice::from_ref(&files));
        assert!(missing[0].to_string().contains("read a certificate from"), "{missing:?}");
        write(&pair(&["one.example"]));
        assert!(certificates.refresh().is_empty());
        assert_eq!(certificates.names(), ["one.example"]);
        assert!(certificates.has(None), "the first file's is shown to who names nobody");

        // Half a renewal: the certificate is another one, the key not yet.
        let next = pair(&["one.example", "two.example"]);
        std::fs::write(at("c"), &next.0).unwrap();
        assert_eq!(certificates.refresh().len(), 1);
        assert_eq!(certificates.names(), ["one.example"]);
        assert!(certificates.refresh().is_empty(), "said once");
        std::fs::write(at("k"), &next.1).unwrap();
        assert!(certificates.refresh().is_empty());
        assert_eq!(certificates.names(), ["one.example", "two.example"]);
        assert!(certificates.use_files(&[]).is_empty() && certificates.names().is_empty());
    }
}
