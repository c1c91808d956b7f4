//! Holds what TLS needs to the configuration and to the files that it names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use relay::Relay;
use relay::tls::{Certificates, Client, Handshakes, TlsError, Watched};

use super::config::{Tls, Upstream};
use super::sites::Sites;

/// How often files are looked at.
pub(crate) const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// What all TLS listeners share.
pub(crate) struct Keep {
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) sites: ArcSwap<Sites>,
    relay: Relay,
    settings: Mutex<Settings>,
    /// What is known of upstreams, each kept when its files go bad.
    clients: Mutex<HashMap<Arc<str>, (Upstream, Client)>>,
}

/// The settings in use.
#[derive(Default)]
struct Settings {
    config: Tls,
    /// Their files besides certificates.
    files: Watched,
    /// What could not be used of them when they were read last. It may pass, so they are read again.
    errors: Vec<String>,
}

impl Keep {
    /// Reads everything for the first time.
    pub(crate) fn new(config: &Tls, certificates: Arc<Certificates>, relay: &Relay) -> Keep {
        let keep = Keep {
            certificates,
            handshakes: Handshakes::new(config.max_handshakes, relay.metrics()),
            sites: ArcSwap::default(),
            relay: relay.clone(),
            settings: Mutex::default(),
            clients: Mutex::default(),
        };
        keep.follow(config);
        keep
    }

    /// Takes another configuration. Connections that stand are not touched.
    pub(crate) fn follow(&self, config: &Tls) {
        self.handshakes.allow(config.max_handshakes);
        self.tell(self.certificates.use_files(&config.certificates));
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        *settings =
            Settings { config: config.clone(), files: Watched::new(files(config)), errors: Vec::new() };
        self.build(&mut settings);
    }

    /// Reads what changed, and what could not be read. Blocks on files, so not for a data thread.
    pub(crate) fn look(&self) {
        self.tell(self.certificates.refresh());
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.files.changed() || !settings.errors.is_empty() {
            self.build(&mut settings);
        }
    }

    /// An error is told once, until it is another one.
    fn build(&self, settings: &mut Settings) {
        let (sites, mut errors) = Sites::new(&settings.config, &self.certificates);
        self.sites.store(Arc::new(sites));
        self.connect(&settings.config, &mut errors);
        let texts: Vec<String> = errors.iter().map(|error| format!("{error:?}")).collect();
        let before = std::mem::replace(&mut settings.errors, texts.clone());
        let news = errors.into_iter().zip(texts).filter(|(_, text)| !before.contains(text));
        self.tell(news.map(|(error, _)| error).collect());
    }

    /// How services are reached.
    fn connect(&self, config: &Tls, errors: &mut Vec<TlsError>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *clients);
        for upstream in &config.upstreams {
            let service: Arc<str> = upstream.service.to_ascii_lowercase().into();
            let made = Client::new(&upstream.settings());
            let known = before.remove(&service).filter(|(known, _)| known == upstream);
            let client = match (made, known) {
                (Ok(client), _) => client,
                (Err(error), known) => {
                    errors.push(error);
                    // A service that should be reached by TLS is never reached without.
                    known.map_or_else(Client::refusing, |(_, client)| client)
                }
            };
            clients.insert(service, (upstream.clone(), client));
        }
        let all = clients.iter().map(|(service, (_, client))| (service.clone(), client.clone()));
        self.relay.upstreams().set(all.collect());
    }

    fn tell(&self, errors: Vec<TlsError>) {
        for error in errors {
            self.relay.metrics().tls_reload_failures.inc();
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "cannot use what TLS needs");
        }
    }
}

/// Files that are read once and then watched; certificates look after themselves.
fn files(config: &Tls) -> Vec<std::path::PathBuf> {
    let of_sites = config.sites.iter().filter_map(|site| site.client_ca.clone());
    let of_upstreams = config
        .upstreams
        .iter()
        .flat_map(|upstream| [upstream.ca.clone(), upstream.certificate.clone(), upstream.key.clone()])
        .flatten();
    of_sites.chain(of_upstreams).collect()
}
