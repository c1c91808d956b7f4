//! `portolan/*`, our own: services with the virtual addresses that really hold on this host, and what a name
//! leads to.

use std::sync::Arc;
use std::time::Duration;

use acl::{Resource, Right};
use catalog::{Service, Snapshot, Status, VirtualIp};
use consul::Labels;
use consul::own::{Endpoint, Resolution, ServiceSummary, StatusCounts, Virtual};
use route::{Backend, Target, VirtualSocket};

use crate::Api;
use crate::access::Caller;
use crate::catalog_paths::named;
use crate::http::{Answer, Failure, Request};
use crate::read::{ReadOptions, Scope, settle, with_fields};

/// Opening a listener takes microseconds; whoever takes this long is stuck.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Most listeners that one list opens.
const MAX_OPENED: usize = 256;

/// `GET portolan/services`: every service in one line. Blocks like a view; `?open` opens the listeners of
/// virtual addresses first, at most 256.
pub(crate) async fn services(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let options = ReadOptions::parse(&request.parts.query, &api.node.datacenter)?;
    let (snapshot, index) = settle(&api, &Scope::AllNodes, &options).await?;
    let caller = again(&api, &request, &snapshot)?;
    let visible: Vec<_> = caller.lens(&snapshot).services().collect();
    let mut to_open = if request.parts.query.has("open") { MAX_OPENED } else { 0 };
    let mut shown = Vec::with_capacity(snapshot.service_count());
    for service in visible {
        if service.virtual_ip.is_some() && to_open > 0 && opened(&api, service).is_none() {
            to_open -= 1;
            open(&api, service).await;
        }
        shown.push(summary(&api, &snapshot, service));
    }
    Ok(with_fields(&api, Answer::json_as(&shown, options.pretty)?, index, &options))
}

/// `GET portolan/resolve/:name`: where to connect. Opens the virtual address, because whoever asks is about
/// to use it.
pub(crate) async fn resolve(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let name = named(&request.parts, "service name")?;
    let options = ReadOptions::parse(&request.parts.query, &api.node.datacenter)?;
    let (snapshot, index) = settle(&api, &Scope::Service(name.clone()), &options).await?;
    again(&api, &request, &snapshot)?.may(Resource::Service, Right::Read, &name)?;
    let service = snapshot
        .service(&name)
        .ok_or_else(|| Failure::not_found(format!("no service named {name:?} is registered")))?;
    if service.virtual_ip.is_some() {
        open(&api, service).await;
    }
    let backend = Backend::project(&snapshot, service);
    let resolution = Resolution {
        name: service.name.clone(),
        r#virtual: virtual_of(&api, service),
        endpoints: backend.endpoints.iter().map(|endpoint| shown_endpoint(&snapshot, endpoint)).collect(),
        registered: backend.registered,
    };
    Ok(with_fields(&api, Answer::json_as(&resolution, options.pretty)?, index, &options))
}

/// Whoever asks, as the rules are after the wait.
fn again(api: &Api, request: &Request, now: &Snapshot) -> Result<Caller, Failure> {
    Ok(api.desk.again(now, &request.parts.caller)?.unwrap_or_else(|| request.parts.caller.clone()))
}

async fn open(api: &Api, service: &Service) {
    if tokio::time::timeout(OPEN_TIMEOUT, api.open_virtual.open(&service.name)).await.is_err() {
        tracing::warn!(service = %service.name, "opening a virtual address takes longer than {OPEN_TIMEOUT:?}");
    }
}

fn opened(api: &Api, service: &Service) -> Option<VirtualSocket> {
    api.facts.now().virtual_sockets.get(&*service.name.to_ascii_lowercase()).cloned()
}

/// The virtual address as it holds here, else as it would.
pub(crate) fn virtual_of(api: &Api, service: &Service) -> Option<Virtual> {
    let VirtualIp(address) = service.virtual_ip?;
    Some(match opened(api, service) {
        Some(socket) => Virtual {
            address: socket.address.ip().to_string().into(),
            address_v6: socket.six.map(|six| six.to_string()).unwrap_or_default().into(),
            port: socket.address.port(),
            open: true,
            moved: socket.moved.unwrap_or_default(),
        },
        None => Virtual { address: address.to_string().into(), port: service.port, ..Virtual::default() },
    })
}

fn summary(api: &Api, snapshot: &Snapshot, service: &Service) -> ServiceSummary {
    let mut instances = StatusCounts::default();
    for instance in service.iter() {
        match snapshot.health(instance) {
            Status::Passing => instances.passing += 1,
            Status::Warning => instances.warning += 1,
            Status::Critical => instances.critical += 1,
        }
    }
    ServiceSummary {
        name: service.name.clone(),
        kind: match service.kind {
            catalog::Kind::Service | catalog::Kind::Native => "service",
            catalog::Kind::Netsel => "netsel",
            catalog::Kind::Tunnel => "tunnel",
        }
        .into(),
        tags: service.tags(),
        port: service.port,
        r#virtual: virtual_of(api, service),
        instances,
        create_index: service.create_index,
        modify_index: service.touched_index,
    }
}

pub(crate) fn shown_endpoint(snapshot: &Snapshot, endpoint: &route::Endpoint) -> Endpoint {
    let (address, port) = match &endpoint.target {
        Target::Ip(socket) => (socket.ip().to_string().into(), socket.port()),
        Target::Host(host, port) => (host.clone(), *port),
    };
    let instance = snapshot.instance(&endpoint.node, &endpoint.id);
    let meta = instance.map(|instance| instance.def.meta.iter());
    Endpoint {
        node: endpoint.node.clone(),
        id: endpoint.id.clone(),
        address,
        port,
        status: endpoint.status.as_str().into(),
        weight: endpoint.weight,
        tags: endpoint.tags.to_vec(),
        meta: meta.into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect::<Labels>(),
    }
}
