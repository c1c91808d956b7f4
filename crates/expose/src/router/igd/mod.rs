//! UPnP Internet Gateway Device, versions 1 and 2: WANIPConnection and WANPPPConnection.
//!
//! Ours rather than a library's, for what the known ones lack: looking at a single mapping before taking it,
//! limits on what is read, and a time limit of our own.

pub mod description;
#[cfg(test)]
mod fake;
pub mod pinhole;
pub mod soap;
pub mod ssdp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::{BoxFuture, Gateway, MapError, Mapping};
use crate::causes::chain;
use crate::http::{Base, Limits};
use crate::wish::{Port, Protocol};
use description::Service;
use soap::{Fault, Values};

/// Longest that fetching a description may take.
const DESCRIBE: Duration = Duration::from_secs(4);
/// Most mappings of a router that are looked through.
const MOST_ENTRIES: u32 = 512;
/// The longest lease of IGD 2, in seconds: what "forever" means to routers that know no forever.
const WEEK: u32 = 604_800;
/// [`Igd::lease`] before the router objected to anything.
const AS_ASKED: u32 = u32::MAX;

/// A router found by its answer to a search.
pub struct Igd {
    name: String,
    router: IpAddr,
    client: Ipv4Addr,
    service: Service,
    /// Lease that this router takes, in seconds, once it refused the one that was asked for.
    lease: AtomicU32,
}

/// Searches from one of our addresses and asks who answers for a description.
pub async fn find(client: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Vec<Arc<dyn Gateway>> {
    let mut found: Vec<Arc<dyn Gateway>> = Vec::new();
    for answer in answers(client.into(), gateway.map(|address| (address, 0).into())).await {
        if found.iter().any(|known| known.router() == answer.from) {
            continue;
        }
        match describe(&answer, description::services).await {
            Ok(services) => found.extend(connected(&answer, client, services).await),
            Err(why) => tracing::warn!(router = %answer.from, why, "a router's description cannot be used"),
        }
    }
    found
}

/// Who answers to a search from one of our addresses.
async fn answers(client: IpAddr, gateway: Option<SocketAddr>) -> Vec<ssdp::Answer> {
    ssdp::search(client, gateway).await.unwrap_or_else(|cause| {
        tracing::debug!(%client, %cause, "cannot search for routers from here");
        Vec::new()
    })
}

/// Services of a device that answered, as one of the readers of descriptions finds them.
async fn describe(
    answer: &ssdp::Answer,
    read: fn(&str, &str) -> Result<Vec<Service>, String>,
) -> Result<Vec<Service>, String> {
    let (host, path) = match answer.location.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
        Some((host, path)) => (format!("http://{host}"), format!("/{path}")),
        None => (answer.location.clone(), "/".to_owned()),
    };
    let base = Base::parse(&host).map_err(|error| chain(&error))?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(|_| format!("its address \"{}\"", answer.location))?;
    let limits = Limits { time: DESCRIBE, body: description::MAX_XML };
    let got = base.send(request, limits).await.and_then(|got| got.good(&answer.location));
    let got = got.map_err(|error| chain(&error))?;
    read(&String::from_utf8_lossy(&got.body), &answer.location)
}

/// The service whose line is up; the first where none says so.
async fn connected(
    answer: &ssdp::Answer,
    client: Ipv4Addr,
    services: Vec<Service>,
) -> Option<Arc<dyn Gateway>> {
    let mut chosen = 0;
    if services.len() > 1 {
        for (at, service) in services.iter().enumerate() {
            let status = soap::call(service, "GetStatusInfo", &[]).await;
            if status.is_ok_and(|values| values.get("NewConnectionStatus").is_some_and(|s| s == "Connected"))
            {
                chosen = at;
                break;
            }
        }
    }
    let service = services.into_iter().nth(chosen)?;
    let (name, lease) = (format!("UPnP IGD at {}", service.base), AtomicU32::new(AS_ASKED));
    Some(Arc::new(Igd { name, router: answer.from, client, service, lease }))
}

impl Igd {
    async fn call(&self, action: &str, arguments: &[(&str, &str)]) -> Result<Values, Fault> {
        soap::call(&self.service, action, arguments).await
    }

    async fn add(&self, mapping: &Mapping, seconds: u32) -> Result<(), Fault> {
        let (external, internal) = (mapping.external.number.to_string(), mapping.internal.to_string());
        let (client, lease) = (self.client.to_string(), seconds.to_string());
        let arguments = [
            ("NewRemoteHost", ""),
            ("NewExternalPort", &external),
            ("NewProtocol", upper(mapping.external.protocol)),
            ("NewInternalPort", &internal),
            ("NewInternalClient", &client),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", &mapping.description),
            ("NewLeaseDuration", &lease),
        ];
        self.call("AddPortMapping", &arguments).await.map(drop)
    }

    /// Who has the port; `None` when it is free, or when the router cannot tell.
    async fn holder(&self, port: Port) -> Result<Option<String>, MapError> {
        let number = port.number.to_string();
        let arguments =
            [("NewRemoteHost", ""), ("NewExternalPort", &*number), ("NewProtocol", upper(port.protocol))];
        match self.call("GetSpecificPortMappingEntry", &arguments).await {
            Ok(values) => Ok(values.get("NewInternalClient").filter(|client| !client.is_empty()).cloned()),
            Err(Fault::Silent(why)) => Err(MapError::Silent(why)),
            Err(Fault::Upnp(..)) => Ok(None),
        }
    }

    async fn take(&self, mapping: &Mapping, lease: Duration) -> Result<Duration, MapError> {
        if let Some(holder) = self.holder(mapping.external).await?
            && holder != self.client.to_string()
        {
            return Err(MapError::Held(holder));
        }
        let asked = u32::try_from(lease.as_secs()).unwrap_or(WEEK);
        let mut seconds = match self.lease.load(Ordering::Relaxed) {
            AS_ASKED => asked,
            known => known,
        };
        // As asked, then forever, then a week: each is what some routers alone take.
        for _ in 0..3 {
            match self.add(mapping, seconds).await {
                Ok(()) => {
                    if seconds != asked {
                        self.lease.store(seconds, Ordering::Relaxed);
                    }
                    return Ok(Duration::from_secs(seconds.into()));
                }
                Err(Fault::Upnp(725 | 402 | 501, _)) if seconds == asked && asked != 0 => seconds = 0,
                Err(Fault::Upnp(402, _)) if seconds == 0 => seconds = WEEK,
                Err(fault) => return Err(self.meaning(fault, mapping.external).await),
            }
        }
        Err(MapError::Refused("no lease that we know is taken (errors 725 and 402)".into()))
    }

    async fn meaning(&self, fault: Fault, port: Port) -> MapError {
        match fault {
            Fault::Upnp(718, said) => match self.holder(port).await {
                Ok(Some(holder)) => MapError::Held(holder),
                _ => MapError::Held(format!("another host or the router itself (error 718 {said})")),
            },
            fault => fault.meaning(&[606, 729], &[501, 728]),
        }
    }

    async fn drop_mapping(&self, mapping: &Mapping) -> Result<(), MapError> {
        match self.holder(mapping.external).await? {
            Some(holder) if holder != self.client.to_string() => return Ok(()),
            _ => {}
        }
        let number = mapping.external.number.to_string();
        let protocol = upper(mapping.external.protocol);
        let arguments = [("NewRemoteHost", ""), ("NewExternalPort", &*number), ("NewProtocol", protocol)];
        match self.call("DeletePortMapping", &arguments).await {
            // 714: there is none.
            Ok(_) | Err(Fault::Upnp(714, _)) => Ok(()),
            Err(fault) => Err(self.meaning(fault, mapping.external).await),
        }
    }

    async fn list(&self, description: &str) -> Result<Vec<Mapping>, MapError> {
        let mut ours = Vec::new();
        for index in 0..MOST_ENTRIES {
            let index = index.to_string();
            match self.call("GetGenericPortMappingEntry", &[("NewPortMappingIndex", &index)]).await {
                Ok(values) => ours.extend(self.own_entry(&values, description)),
                // Past the end; 713 by the book, others in the field.
                Err(Fault::Upnp(..)) => break,
                Err(Fault::Silent(why)) => return Err(MapError::Silent(why)),
            }
        }
        Ok(ours)
    }

    fn own_entry(&self, values: &Values, description: &str) -> Option<Mapping> {
        let is_ours = *values.get("NewInternalClient")? == self.client.to_string()
            && values.get("NewPortMappingDescription")? == description;
        let protocol = match values.get("NewProtocol")?.to_ascii_uppercase().as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => return None,
        };
        let number = values.get("NewExternalPort")?.parse().ok()?;
        let internal = values.get("NewInternalPort")?.parse().ok()?;
        let external = Port { protocol, number };
        is_ours.then(|| Mapping { external, internal, description: description.into() })
    }
}

/// Some routers know the protocols in capitals only.
fn upper(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

impl Gateway for Igd {
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
        Box::pin(self.take(mapping, lease))
    }

    fn unmap<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<(), MapError>> {
        Box::pin(self.drop_mapping(mapping))
    }

    fn holds<'a>(&'a self, mapping: &'a Mapping) -> BoxFuture<'a, Result<bool, MapError>> {
        Box::pin(async {
            let (number, client) = (mapping.external.number.to_string(), self.client.to_string());
            let arguments = [
                ("NewRemoteHost", ""),
                ("NewExternalPort", &*number),
                ("NewProtocol", upper(mapping.external.protocol)),
            ];
            match self.call("GetSpecificPortMappingEntry", &arguments).await {
                Ok(values) => Ok(values.get("NewInternalClient") == Some(&client)
                    && values.get("NewInternalPort") == Some(&mapping.internal.to_string())),
                // 714: there is none. Who cannot tell is taken at its word until the lease is half over.
                Err(Fault::Upnp(code, _)) => Ok(code != 714),
                Err(Fault::Silent(why)) => Err(MapError::Silent(why)),
            }
        })
    }

    fn public_address(&self) -> BoxFuture<'_, Result<IpAddr, MapError>> {
        Box::pin(async {
            match self.call("GetExternalIPAddress", &[]).await {
                Ok(values) => {
                    let text = values.get("NewExternalIPAddress").map_or("", String::as_str);
                    text.parse().map_err(|_| MapError::Unable("it knows no public address".into()))
                }
                Err(fault) => Err(fault.meaning(&[], &[])),
            }
        })
    }

    fn ours<'a>(&'a self, description: &'a str) -> BoxFuture<'a, Result<Vec<Mapping>, MapError>> {
        Box::pin(self.list(description))
    }
}
