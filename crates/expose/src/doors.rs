//! Ports of this host that lead to services on other nodes: a home behind a carrier's NAT has its public port on a
//! rented machine, and the proxy there leads over the mesh.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use state::Failure;

use crate::router::BoxFuture;
use crate::wish::Port;

/// Whoever opens listeners that lead to a service.
pub trait OpenDoors: Send + Sync {
    /// Opens one on all addresses of this host.
    fn open(&self, port: Port, service: Arc<str>) -> BoxFuture<'_, io::Result<()>>;

    /// Closes one; connections that were accepted live on.
    fn close(&self, port: Port) -> BoxFuture<'_, ()>;
}

/// The doors that are open.
pub(crate) struct Doors {
    by: Arc<dyn OpenDoors>,
    open: BTreeMap<Port, Arc<str>>,
    barred: BTreeMap<Port, String>,
}

impl Doors {
    pub(crate) fn new(by: Arc<dyn OpenDoors>) -> Doors {
        Doors { by, open: BTreeMap::new(), barred: BTreeMap::new() }
    }

    /// Wished ones that are not open, and why.
    pub(crate) fn barred(&self) -> &BTreeMap<Port, String> {
        &self.barred
    }

    /// Closes what is not wished, opens what is.
    pub(crate) async fn settle(&mut self, wanted: &BTreeMap<Port, Arc<str>>) -> Vec<Failure> {
        let gone: Vec<Port> = self
            .open
            .iter()
            .filter(|(port, service)| wanted.get(port) != Some(service))
            .map(|(port, _)| *port)
            .collect();
        for port in gone {
            self.by.close(port).await;
            self.open.remove(&port);
        }
        let mut failures = Vec::new();
        self.barred.clear();
        for (port, service) in wanted {
            if self.open.contains_key(port) {
                continue;
            }
            match self.by.open(*port, service.clone()).await {
                Ok(()) => {
                    tracing::info!(%port, %service, "a door to a service on another node");
                    self.open.insert(*port, service.clone());
                }
                Err(cause) => {
                    let attempted = format!("listen on {port} for \"{service}\" on another node");
                    self.barred.insert(*port, format!("{attempted}: {cause}"));
                    failures.push(Failure { attempted, cause: cause.to_string() });
                }
            }
        }
        failures
    }
}
