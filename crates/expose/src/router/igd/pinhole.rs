//! Pinholes of IGD 2: WANIPv6FirewallControl:1. A router opens one only to who asks for itself, so all of it is asked
//! over IPv6, from the address that shall be reached.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::description::Service;
use super::soap::{self, Fault, Values};
use super::{AS_ASKED, description};
use crate::router::{BoxFuture, Gateway, MapError, Mapping};
use crate::wish::{Port, Protocol};

/// Longest lease of such a pinhole, in seconds: section 2.3 of the service's definition.
const DAY: u32 = 86_400;
/// "No such entry".
const GONE: u32 = 704;

/// A router that has such a service.
pub struct Pinholes {
    name: String,
    router: IpAddr,
    client: Ipv6Addr,
    service: Service,
    /// The router's own number for each.
    numbers: Mutex<BTreeMap<Port, String>>,
}

/// Searches from one of our addresses; routers that open pinholes.
pub async fn find(client: Ipv6Addr, gateway: Option<SocketAddr>) -> Vec<Arc<dyn Gateway>> {
    let mut found: Vec<Arc<dyn Gateway>> = Vec::new();
    for answer in super::answers(client.into(), gateway).await {
        let Ok(services) = super::describe(&answer, description::pinholes).await else { continue };
        for service in services.into_iter().take(1) {
            let name = format!("UPnP IGD 2 at {}", service.base);
            let numbers = Mutex::default();
            let router = Pinholes { name, router: answer.from, client, service, numbers };
            if router.is_willing().await && !found.iter().any(|known| known.router() == answer.from) {
                found.push(Arc::new(router));
            }
        }
    }
    found
}

impl Pinholes {
    async fn call(&self, action: &str, arguments: &[(&str, &str)]) -> Result<Values, Fault> {
        soap::call(&self.service, action, arguments).await
    }

    /// Some have the service, and a switch for it.
    async fn is_willing(&self) -> bool {
        let status = self.call("GetFirewallStatus", &[]).await;
        status.is_ok_and(|values| {
            values
                .get("InboundPinholeAllowed")
                .is_some_and(|allowed| matches!(&**allowed, "1" | "true" | "yes"))
        })
    }

    fn numbers(&self) -> MutexGuard<'_, BTreeMap<Port, String>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self, port: Port) -> Option<String> {
        self.numbers().get(&port).cloned()
    }

    /// A router that knows the pinhole already takes it for the same.
    async fn open(&self, mapping: &Mapping, lease: Duration) -> Result<Duration, MapError> {
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(AS_ASKED).clamp(1, DAY);
        let (client, port) = (self.client.to_string(), mapping.internal.to_string());
        let protocol = match mapping.external.protocol {
            Protocol::Tcp => "6",
            Protocol::Udp => "17",
        };
        let lease = seconds.to_string();
        let arguments = [
            ("RemoteHost", ""),
            ("RemotePort", "0"),
            ("InternalClient", &*client),
            ("InternalPort", &port),
            ("Protocol", protocol),
            ("LeaseTime", &lease),
        ];
        let values = self.call("AddPinhole", &arguments).await.map_err(meaning)?;
        let number = values.get("UniqueID").cloned();
        let number = number.ok_or_else(|| MapError::Refused("it gives the pinhole no number".into()))?;
        self.numbers().insert(mapping.external, number);
        Ok(Duration::from_secs(seconds.into()))
    }

    async fn close(&self, mapping: &Mapping) -> Result<(), MapError> {
        let number = match self.number(mapping.external) {
            Some(number) => number,
            // An earlier life's: asked for again, the router tells its number.
            None => {
                self.open(mapping, Duration::from_secs(60)).await?;
                self.number(mapping.external).unwrap_or_default()
            }
        };
        match self.call("DeletePinhole", &[("UniqueID", &number)]).await {
            Ok(_) | Err(Fault::Upnp(GONE, _)) => {
                self.numbers().remove(&mapping.external);
                Ok(())
            }
            Err(fault) => Err(meaning(fault)),
        }
    }

    async fn is_there(&self, mapping: &Mapping) -> Result<bool, MapError> {
        let Some(number) = self.number(mapping.external) else { return Ok(false) };
        match self.call("GetPinholePackets", &[("UniqueID", &number)]).await {
            Ok(_) => Ok(true),
            // Who cannot tell is taken at its word until the lease is half over.
            Err(Fault::Upnp(code, _)) => Ok(code != GONE),
            Err(Fault::Silent(why)) => Err(MapError::Silent(why)),
        }
    }
}

fn meaning(fault: Fault) -> MapError {
    fault.meaning(&[606, 702, 703, 708], &[501, 701])
}

impl Gateway for Pinholes {
    fn name(&self) -> &str {
        &self.name
    }

    fn router(&self) -> IpAddr {
        self.router
    }

    fn client(&self) -> IpAddr {
        self.client.into()
    }

    fn map<'a>(&'a self, mapping: &'a Mapping, lease: Duration) -> BoxFuture<'a, Result<Duration, MapError>> {
        Box::pin(self.open(mapping, lease))
    }

    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>> {
        Box::pin(self.close(mapping))
    }

    fn holds<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>> {
        Box::pin(self.is_there(mapping))
    }

    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>> {
        Box::pin(std::future::ready(Ok(self.client.into())))
    }

    fn ours<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>> {
        // It keeps no words beside them; what a killed run left ends with its lease.
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
