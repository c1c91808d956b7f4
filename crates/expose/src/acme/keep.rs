//! Keeps a certificate for every name that wants one: from the disk, else from the authority, renewed when a third
//! of its life is left; after a failure with more and more patience, which a restart does not shorten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use relay::tls::{CertificateDer, Certificates, Pair};
use rustls::pki_types::pem::PemObject as _;
use state::{Drain, Publisher, Reader};

use super::order::{Issued, Proof, Show, obtain};
use super::store::{Patience, Store};
use super::talk::Talk;
use super::validity::{Validity, validity};
use super::{Acme, AcmeError, Challenge, crypto};
use crate::causes::chain;
use crate::http::{Base, TlsFiles, TlsSettings};
use crate::names::{Key, Provider, Rdata};
use crate::wish::NameKind;

/// Clocks jump: nothing is slept over longer.
const LOOK: Duration = Duration::from_secs(600);
/// Longest patience after failures.
const MOST: Duration = Duration::from_secs(12 * 3600);

/// Token to authorization: what the plain public listener shows under `/.well-known/acme-challenge/`.
pub type Proofs = BTreeMap<Arc<str>, Arc<str>>;

/// How the certificate of a name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is one.
    Holds {
        /// Who gave it.
        by: Arc<str>,
        /// Until when it counts, in seconds since 1970; `None` where somebody else looks after it.
        until: Option<i64>,
        /// Why it could not be renewed, if that was tried.
        trouble: Option<Arc<str>>,
    },
    /// There is none.
    Missing(Arc<str>),
}

/// Name to its standing.
pub type Certified = BTreeMap<Arc<str>, Standing>;

/// What the keeper is handed.
pub struct Inputs {
    /// Names that shall have a certificate.
    pub wanted: Reader<BTreeSet<Arc<str>>>,
    /// Where proofs are shown over HTTP.
    pub proofs: Publisher<Proofs>,
    /// Where proofs are shown in the DNS.
    pub names: Option<Arc<dyn Provider>>,
    /// Where certificates are shown to clients. For a name that is there already nothing is obtained.
    pub certificates: Arc<Certificates>,
    /// Where certificates and keys are kept; nowhere for a node that forgets.
    pub folder: Option<PathBuf>,
    /// For those who want to know how it stands.
    pub certified: Publisher<Certified>,
}

/// Keeps certificates until the drain starts.
pub async fn run(settings: Acme, inputs: Inputs, drain: Drain) {
    let mut wanted = inputs.wanted.clone();
    let store = match Store::open(inputs.folder.clone()) {
        Ok(store) => store,
        Err(error) => {
            tracing::error!(error = chain(&error), "no certificates are kept");
            return drain.started().await;
        }
    };
    let base = base(&settings).map_err(|error| chain(&error));
    let mut keeper = Keeper { settings, inputs, store, base, known: BTreeMap::new() };
    let own: BTreeSet<Arc<str>> = keeper
        .settings
        .names
        .iter()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into())
        .collect();
    let mut is_told = true;
    loop {
        let names: BTreeSet<Arc<str>> = wanted.now().union(&own).cloned().collect();
        let next = tokio::select! {
            () = drain.started() => return,
            next = keeper.round(&names) => next,
        };
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(next) => {}
            news = wanted.next(), if is_told => is_told = news.is_some(),
        }
    }
}

fn base(settings: &Acme) -> Result<Base, AcmeError> {
    let base = Base::parse(&settings.directory)?;
    let tls = TlsSettings {
        files: TlsFiles { ca: settings.ca.clone(), ..TlsFiles::default() },
        skip_verify: false,
    };
    base.with_tls(&tls).map_err(|why| crypto("set up TLS to the authority", chain(&why)))
}

/// One name.
struct Known {
    /// What is shown to clients; `None` until there is something.
    validity: Option<Validity>,
    patience: Patience,
    said: Option<Arc<str>>,
}

struct Keeper {
    settings: Acme,
    inputs: Inputs,
    store: Store,
    base: Result<Base, String>,
    known: BTreeMap<Arc<str>, Known>,
}

impl Keeper {
    /// Does what is due; how long nothing is.
    async fn round(&mut self, names: &BTreeSet<Arc<str>>) -> Duration {
        let gone: Vec<Arc<str>> = self.known.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            // The files stay: a service that comes back finds its certificate.
            self.inputs.certificates.remove(&name);
            self.known.remove(&name);
        }
        for name in names {
            let is_due = self.settings.terms_agreed && !self.inputs.certificates.has(Some(name));
            if is_due && !self.known.contains_key(name) {
                let known = self.load(name);
                self.known.insert(name.clone(), known);
            }
        }
        self.tell(names);
        let mut due: Vec<(i64, Arc<str>)> =
            self.known.iter().map(|(name, known)| (known.due(), name.clone())).collect();
        due.sort();
        for (_, name) in due.iter().filter(|(at, _)| *at <= now()) {
            self.renew(name).await;
            self.tell(names);
        }
        let next = self.known.values().map(Known::due).min().unwrap_or(i64::MAX);
        Duration::from_secs(u64::try_from(next.saturating_sub(now())).unwrap_or(0)).min(LOOK).max(SOON)
    }

    /// What an earlier life kept.
    fn load(&self, name: &Arc<str>) -> Known {
        let mut known = Known { validity: None, patience: self.store.patience(name), said: None };
        match self.store.certificate(name) {
            Ok(Some(issued)) => match self.show(name, &issued) {
                Ok(validity) => known.validity = Some(validity),
                Err(error) => {
                    tracing::warn!(%name, error = chain(&error), "a certificate that was kept is no good")
                }
            },
            Ok(None) => {}
            Err(error) => tracing::warn!(%name, error = chain(&error), "cannot read a certificate"),
        }
        known
    }

    /// Shows a certificate to clients.
    fn show(&self, name: &Arc<str>, issued: &Issued) -> Result<Validity, AcmeError> {
        let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes());
        let pair = pair.map_err(|error| crypto("use a certificate", chain(&error)))?;
        let leaf = CertificateDer::from_pem_slice(issued.chain.as_bytes());
        let leaf = leaf.map_err(|error| crypto("read a certificate", error))?;
        let validity = validity(&leaf).ok_or(AcmeError::Odd("validity in its certificate"))?;
        if validity.until <= now() {
            return Err(crypto("use a certificate", "it has expired"));
        }
        self.inputs.certificates.put(name, pair);
        Ok(validity)
    }

    async fn renew(&mut self, name: &Arc<str>) {
        let outcome = match &self.base {
            Ok(base) => self.issue(base, name).await,
            Err(why) => Err(crypto("use the directory's address", why)),
        };
        let kept = outcome.and_then(|issued| {
            self.store.keep(name, &issued)?;
            self.show(name, &issued)
        });
        let Some(known) = self.known.get_mut(name) else { return };
        match kept {
            Ok(validity) => {
                tracing::info!(%name, until = validity.until, by = self.settings.directory, "obtained a certificate");
                *known = Known { validity: Some(validity), patience: Patience::default(), said: None };
            }
            Err(error) => {
                let said = chain(&error);
                known.patience = patience(&self.settings, known.patience, error.after());
                let again_s = known.patience.until - now();
                tracing::warn!(%name, error = said, again_s, "cannot obtain a certificate");
                known.said = Some(said.into());
            }
        }
        if let Err(error) = self.store.be_patient(name, known.patience) {
            tracing::warn!(%name, error = chain(&error), "cannot keep how long to wait");
        }
    }

    async fn issue(&self, base: &Base, name: &Arc<str>) -> Result<Issued, AcmeError> {
        let key = self.store.account(&self.settings.directory)?;
        let mut talk = Talk::open(base, &self.settings.directory, key).await?;
        talk.enter(&self.settings.contact).await?;
        match (self.settings.challenge, &self.inputs.names) {
            (Challenge::Http01, _) => {
                obtain(&mut talk, name, Challenge::Http01, &OverHttp(&self.inputs.proofs)).await
            }
            (Challenge::Dns01, Some(names)) => {
                let show = InDns { names, wait: self.settings.dns_wait };
                obtain(&mut talk, name, Challenge::Dns01, &show).await
            }
            (Challenge::Dns01, None) => {
                Err(crypto("prove a name by dns-01", "nobody keeps public names ([[public_dns]])"))
            }
        }
    }

    fn tell(&self, names: &BTreeSet<Arc<str>>) {
        let standing = |name: &Arc<str>| (name.clone(), self.standing(name));
        self.inputs.certified.publish_if_changed(names.iter().map(standing).collect());
    }

    fn standing(&self, name: &Arc<str>) -> Standing {
        match self.known.get(name) {
            None if !self.inputs.certificates.has(Some(name)) => {
                Standing::Missing("no file has one, and acme.terms_agreed is not set".into())
            }
            None => Standing::Holds { by: "a file".into(), until: None, trouble: None },
            Some(Known { validity: Some(validity), said, .. }) if validity.until > now() => Standing::Holds {
                by: self.settings.directory.as_str().into(),
                until: Some(validity.until),
                trouble: said.clone(),
            },
            Some(Known { said: Some(said), .. }) => Standing::Missing(said.clone()),
            Some(Known { patience: Patience { failures: 1.., .. }, .. }) => {
                Standing::Missing("an earlier attempt failed; it is not yet time for another".into())
            }
            Some(_) => Standing::Missing("it is being obtained".into()),
        }
    }
}

/// Two rounds are never nearer to each other.
const SOON: Duration = Duration::from_secs(1);

impl Known {
    /// When something is to be done, in seconds since 1970.
    fn due(&self) -> i64 {
        self.validity.map_or(0, |validity| validity.renew_at()).max(self.patience.until)
    }
}

/// Once more after one wait, then three times as long each time; as long as the authority says where it says more.
fn patience(settings: &Acme, before: Patience, said: Option<Duration>) -> Patience {
    let failures = before.failures.saturating_add(1);
    let own = settings.retry.saturating_mul(3u32.saturating_pow(failures - 1)).min(MOST);
    let wait = said.map_or(own, |said| own.max(said.min(2 * MOST)));
    let wait = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).max(1);
    Patience { failures, until: now().saturating_add(wait) }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// On the plain public listener.
struct OverHttp<'a>(&'a Publisher<Proofs>);

impl Show for OverHttp<'_> {
    async fn show(&self, proof: &Proof) -> Result<(), AcmeError> {
        let mut proofs = Proofs::clone(&self.0.now());
        proofs.insert(proof.token.as_str().into(), proof.authorization.as_str().into());
        self.0.publish(proofs);
        Ok(())
    }

    async fn hide(&self, proof: &Proof) {
        let mut proofs = Proofs::clone(&self.0.now());
        proofs.remove(&*proof.token);
        self.0.publish(proofs);
    }
}

/// By whoever keeps public names.
struct InDns<'a> {
    names: &'a Arc<dyn Provider>,
    wait: Duration,
}

fn place(proof: &Proof) -> Key {
    (format!("_acme-challenge.{}", proof.name).into(), NameKind::Txt)
}

impl Show for InDns<'_> {
    async fn show(&self, proof: &Proof) -> Result<(), AcmeError> {
        let values = [Rdata::Txt(proof.dns.as_str().into())].into();
        let shown = self.names.set(&place(proof), &values).await;
        shown.map_err(|cause| AcmeError::Dns { name: proof.name.clone(), cause })?;
        tokio::time::sleep(self.wait).await;
        Ok(())
    }

    async fn hide(&self, proof: &Proof) {
        if let Err(error) = self.names.remove(&place(proof)).await {
            tracing::warn!(name = proof.name, %error, "cannot remove a proof from the DNS");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_and_the_authority_may_ask_for_more() {
        let settings = Acme::default();
        let mut held = Patience::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            held = patience(&settings, held, None);
            waits.push((held.until - now() + 5) / 10 * 10);
        }
        assert_eq!(waits, [60, 180, 540, 1620, 4860, 14580, 43200, 43200, 43200]);
        let asked = patience(&settings, Patience::default(), Some(Duration::from_secs(7200)));
        assert!(asked.until - now() > 7000);
    }
}
