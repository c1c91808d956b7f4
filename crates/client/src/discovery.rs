//! Finding others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consul::listing::ServiceEntry;
use futures_util::Stream;
use tokio::net::TcpStream;

use crate::http::escape;
use crate::retry::Backoff;
use crate::{Client, Error, Status};

/// Longest that one instance is waited for by [`Client::connect`].
const DIAL: Duration = Duration::from_secs(3);
/// How long a watch's query waits for news.
const WAIT: Duration = Duration::from_secs(120);
/// Longest wait after a failed query.
const MOST_BACKOFF: Duration = Duration::from_secs(5);

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Node name.
    pub node: Arc<str>,
    /// Id, unique on its node.
    pub id: Arc<str>,
    /// Service name.
    pub service: Arc<str>,
    /// IP address or host name.
    pub address: Arc<str>,
    /// Port, 0 when it has none.
    pub port: u16,
    /// Tags.
    pub tags: Vec<Arc<str>>,
    /// Labels.
    pub meta: BTreeMap<Arc<str>, Arc<str>>,
    /// The worst of its checks.
    pub status: Status,
    /// Share of traffic.
    pub weight: u16,
}

impl Instance {
    /// `address:port`, ready to be dialed.
    pub fn authority(&self) -> String {
        match self.address.contains(':') {
            true => format!("[{}]:{}", self.address, self.port),
            false => format!("{}:{}", self.address, self.port),
        }
    }
}

impl From<ServiceEntry> for Instance {
    fn from(entry: ServiceEntry) -> Instance {
        let (node, service) = (entry.node, entry.service);
        let checks = entry.checks.iter().map(|check| Status::of(&check.status));
        let status = checks.max().unwrap_or(Status::Passing);
        let weight = match status {
            Status::Passing => service.weights.passing,
            Status::Warning => service.weights.warning,
            Status::Critical => 0,
        };
        Instance {
            node: node.node,
            id: service.id,
            service: service.service,
            address: if service.address.is_empty() { node.address } else { service.address },
            port: service.port,
            tags: service.tags,
            meta: service.meta.unwrap_or_default(),
            status,
            weight,
        }
    }
}

impl Client {
    /// Every service with all its tags.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn services(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        Ok(self.get("/v1/catalog/services").await?.value)
    }

    /// Every instance of a service, whatever its health, in the daemon's stable order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instances(&self, service: &str) -> Result<Vec<Instance>, Error> {
        let path = format!("/v1/health/service/{}", escape(service));
        Ok(self.get::<Vec<ServiceEntry>>(&path).await?.value.into_iter().map(Instance::from).collect())
    }

    /// The instances of a service that pass and have a port, in a random order that follows their weights.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NoInstance`] when there is none.
    pub async fn resolve(&self, service: &str) -> Result<Vec<Instance>, Error> {
        let path = format!("/v1/health/service/{}?passing", escape(service));
        let entries = self.get::<Vec<ServiceEntry>>(&path).await?.value;
        let mut instances: Vec<_> = entries.into_iter().map(Instance::from).collect();
        instances.retain(|instance| instance.port != 0 && instance.weight != 0);
        if instances.is_empty() {
            return Err(Error::NoInstance { service: service.into() });
        }
        // Exponential keys: sorting by them draws without replacement in proportion to the weights.
        instances.sort_by_cached_key(|instance| {
            let key = -(1.0 - fastrand::f64()).ln() / f64::from(instance.weight);
            (key * 1e12) as u64
        });
        Ok(instances)
    }

    /// The service's stable address on this host, opened if it was not; none when it has none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn virtual_address(&self, service: &str) -> Result<Option<std::net::SocketAddr>, Error> {
        let path = format!("/v1/portolan/resolve/{}", escape(service));
        let found = self.get::<consul::own::Resolution>(&path).await?.value.r#virtual;
        Ok(found.and_then(|found| Some((found.address.parse::<std::net::IpAddr>().ok()?, found.port).into())))
    }

    /// A connection to a passing instance; another one is tried when the first cannot be reached.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Dial`] with every attempt when none could be reached.
    pub async fn connect(&self, service: &str) -> Result<TcpStream, Error> {
        let mut attempts = Vec::new();
        for instance in self.resolve(service).await? {
            let authority = instance.authority();
            match tokio::time::timeout(DIAL, TcpStream::connect(&authority)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => attempts.push(format!("{authority}: {cause}")),
                Err(_) => attempts.push(format!("{authority}: no answer within {DIAL:?}")),
            }
        }
        Err(Error::Dial { service: service.into(), attempts })
    }

    /// Follows the passing instances of a service.
    pub fn watch(&self, service: &str) -> Watch {
        Watch::new(self.clone(), service, true)
    }

    /// Follows all instances of a service.
    pub fn watch_all(&self, service: &str) -> Watch {
        Watch::new(self.clone(), service, false)
    }
}

/// The instances of a service, as whole lists, each time they change.
///
/// A daemon that cannot be reached is no empty list: the last one stands until the daemon answers again.
///
/// ```no_run
/// # async fn example(client: portolan_client::Client) {
/// let mut watch = client.watch("web");
/// loop {
///     let instances = watch.next().await;
///     println!("{} instances", instances.len());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    client: Client,
    path: String,
    index: u64,
    last: Option<Arc<[Instance]>>,
    backoff: Backoff,
}

impl Watch {
    fn new(client: Client, service: &str, passing: bool) -> Watch {
        let query = if passing { "?passing" } else { "" };
        let path = format!("/v1/health/service/{}{query}", escape(service));
        Watch { client, path, index: 0, last: None, backoff: Backoff::up_to(MOST_BACKOFF) }
    }

    /// Waits for the next list that differs from the last one; the first call returns the list as it is.
    /// May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Arc<[Instance]> {
        loop {
            match self.client.get_after::<Vec<ServiceEntry>>(&self.path, self.index, WAIT).await {
                Ok(answer) => {
                    self.backoff.reset();
                    // An index that went back means another history: start over.
                    self.index = if answer.index < self.index { 0 } else { answer.index };
                    let list: Arc<[Instance]> = answer.value.into_iter().map(Instance::from).collect();
                    if self.last.as_ref() != Some(&list) {
                        self.last = Some(list.clone());
                        return list;
                    }
                }
                Err(cause) => {
                    tracing::debug!(error = %cause, path = self.path, "watch failed; trying again");
                    tokio::time::sleep(self.backoff.wait()).await;
                }
            }
        }
    }

    /// The same as a stream that never ends.
    pub fn into_stream(self) -> impl Stream<Item = Arc<[Instance]>> + Send {
        futures_util::stream::unfold(self, |mut watch| async {
            let list = watch.next().await;
            Some((list, watch))
        })
    }
}
