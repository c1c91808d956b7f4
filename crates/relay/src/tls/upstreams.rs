//! Which services are reached by TLS, and how they are verified.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use route::{Endpoint, Target};

use super::client::{Client, ClientSettings, Speak};
use crate::stream::Stream;

/// By service name in lower case. Shared by all data threads; replaced as a whole.
#[derive(Debug, Default)]
pub struct Upstreams {
    by_service: ArcSwap<HashMap<Arc<str>, Client>>,
    /// For endpoints that say that they speak TLS, without a word on how they are verified: as in a browser.
    usual: OnceLock<Option<Client>>,
}

impl Upstreams {
    /// Reaches these services by TLS, whatever their instances say, and verifies them so.
    pub fn set(&self, by_service: HashMap<Arc<str>, Client>) {
        self.by_service.store(Arc::new(by_service));
    }

    /// True when HTTP toward this endpoint goes through TLS: its service is configured so, or it says so itself by
    /// its protocol (`https`, `h2`, `grpcs`).
    pub(crate) fn secures(&self, service: &str, endpoint: &Endpoint) -> bool {
        matches!(endpoint.protocol.as_deref(), Some("https" | "h2" | "grpcs")) || self.get(service).is_some()
    }

    fn get(&self, service: &str) -> Option<Client> {
        let known = self.by_service.load();
        match known.is_empty() {
            true => None,
            false => known.get(&*service.to_ascii_lowercase()).cloned(),
        }
    }

    /// Whether a connection stays as it is. Bytes that are relayed unseen are secured only where the
    /// service is configured so: their client may speak TLS itself.
    pub(crate) fn leaves_plain(&self, service: &str, endpoint: &Endpoint, speak: Speak) -> bool {
        self.get(service).is_none() && (speak == Speak::Bytes || !self.secures(service, endpoint))
    }

    /// Secures a fresh connection.
    pub(crate) async fn secure(
        &self,
        service: &str,
        endpoint: &Endpoint,
        speak: Speak,
        stream: Stream,
    ) -> std::io::Result<Stream> {
        let client = match self.get(service) {
            Some(client) => client,
            None => self.usual()?,
        };
        let dialed = match &endpoint.target {
            Target::Ip(address) => address.ip().to_string(),
            Target::Host(host, _) => host.to_string(),
        };
        client.secure(stream, &dialed, speak).await
    }

    fn usual(&self) -> std::io::Result<Client> {
        let made = self.usual.get_or_init(|| match Client::new(&ClientSettings::default()) {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::error!(%error, "cannot set TLS up toward endpoints");
                None
            }
        });
        made.clone().ok_or_else(|| std::io::Error::other("TLS toward endpoints could not be set up"))
    }
}
