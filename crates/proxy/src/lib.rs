//! Listeners that lead to services by name.
//!
//! TCP: by virtual address, by a name in the first line (NetSel's form), by configured listener. UDP: by
//! virtual address and by configured listener. HTTP/1.1 and HTTP/2 by host name and path. Everything runs
//! on the data threads of [`relay`]; this crate says which service a connection is for and carries out what
//! [`route`] decides. It never asks the store: it reads [`route::Routes`].
//!
//! Where to look: a new way to match HTTP requests is a line in `http/table.rs`; what is refused, and with
//! which words, is the table in `http/refusal.rs`; header rules are in `http/headers.rs`.

mod config;
mod first_line;
pub mod fuzz;
mod http;
mod listeners;
mod meant;
mod metrics;
mod preface;
mod public;
mod serve;
mod tcp;
mod tls;
mod virtuals;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use relay::Relay;
use relay::accept::Accept;
use relay::limit::Limits;
use relay::tls::Certificates;
use relay::udp::Toward;
use route::Facts;
use state::{Drain, Reader};

pub use config::{
    By, Config, FieldName, FieldRules, FieldValue, Http, HttpRoute, Rate, RouteOptions, ServiceListener,
    Size, Span,
};
pub use http::explain::{Way, explain};
pub use listeners::{BindError, Listeners};
pub use metrics::Metrics;
pub use public::{Public, Shown};
pub use tls::config::{Site, Tls, Upstream};
pub use virtuals::{Openings, Transports, VirtualListeners, virtual_listeners};

use http::headers::Signature;
use listeners::Group;
use serve::{Entrance, Face, Live, Role, toward_meant, udp_config};
use tls::keep::Keep;

/// What connections get to end in once they are told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the proxy is handed.
pub struct Inputs {
    /// The data threads, with the routes that they read.
    pub relay: Relay,
    /// What this host observed.
    pub facts: Reader<Facts>,
    /// This node's name.
    pub node: Arc<str>,
    /// Requests for listeners of virtual addresses.
    pub openings: Openings,
    /// Certificates for TLS. Those of the configuration's files are the proxy's business; whoever obtains others
    /// puts them here.
    pub certificates: Arc<Certificates>,
    /// What the listeners for the world serve.
    pub shown: Shown,
    /// Counters.
    pub metrics: Metrics,
}

/// Serves until the drain starts; then stops accepting, lets connections finish for the configured time,
/// and cuts the rest off. A new configuration takes effect for rules, limits of heads and time; listeners and
/// limits of connections stay as they were at the start.
pub async fn run(mut config: Reader<Config>, listeners: Listeners, inputs: Inputs, drain: Drain) {
    let first = config.now();
    let (mut cut_trigger, cut) = state::drain();
    let face = Arc::new(face(&first, &inputs, drain.clone(), cut));
    face.open_log(&first);
    let entrance = Entrance::new(face.clone());
    open(&entrance, listeners);
    let virtuals = tokio::spawn(virtuals::serve(inputs.openings, entrance));
    let mut look = tokio::time::interval(tls::keep::LOOK_EVERY);
    loop {
        tokio::select! {
            () = drain.started() => break,
            _ = look.tick() => look_at_files(&face).await,
            changed = config.next() => match changed {
                Some(changed) => face.follow(&changed),
                None => {
                    drain.started().await;
                    break;
                }
            },
        }
    }
    virtuals.abort();
    let (patience, limits) = (face.live.load().config.drain, face.limits.clone());
    // From here on connections alone hold it, and what they are cut by.
    drop(face);
    if !cut_trigger.idle(patience).await {
        tracing::info!(left = limits.taken(), "the time to finish is over: cutting connections off");
        cut_trigger.finish(FAREWELL).await;
    }
}

/// Reading files may take its time.
async fn look_at_files(face: &Arc<Face>) {
    let face = face.clone();
    // It fails only when the runtime is going down.
    let _ = tokio::task::spawn_blocking(move || face.tls.look()).await;
}

fn face(config: &Config, inputs: &Inputs, drain: Drain, cut: Drain) -> Face {
    Face {
        live: ArcSwap::from_pointee(Live::new(config.clone())),
        tls: Keep::new(&config.tls, inputs.certificates.clone(), &inputs.relay),
        shown: inputs.shown.clone(),
        relay: inputs.relay.clone(),
        limits: Limits::new(config.max_connections, config.max_connections_per_address),
        metrics: inputs.metrics.clone(),
        log: ArcSwapOption::empty(),
        facts: inputs.facts.clone(),
        node: inputs.node.clone(),
        signature: Signature::new(&inputs.node),
        drain,
        cut,
    }
}

/// Gives each data thread its socket of every listener.
fn open(entrance: &Entrance, listeners: Listeners) {
    let Listeners { named, http, tls, public_http, public_tls, tcp, udp, transparent, led } = listeners;
    let roles = named.into_iter().map(|group| (Role::Named, group));
    let roles = roles.chain(http.into_iter().map(|group| (Role::Http, group)));
    let roles = roles.chain(tls.into_iter().map(|group| (Role::Tls, group)));
    let roles = roles.chain(public_http.into_iter().map(|group| (Role::PublicHttp, group)));
    let roles = roles.chain(public_tls.into_iter().map(|group| (Role::PublicTls, group)));
    let roles =
        roles.chain(tcp.into_iter().map(|(listener, group)| (Role::Service(listener, group.address), group)));
    let roles = roles.chain(transparent.into_iter().map(|group| (Role::Transparent, group)));
    let face = &entrance.face;
    for (role, Group { address, sockets }) in roles {
        let accept: Arc<dyn Accept> = Arc::new(entrance.with(role));
        for (thread, socket) in sockets.into_iter().enumerate() {
            let (limits, accept, drain) = (face.limits.clone(), accept.clone(), face.drain.clone());
            face.relay.run_on(thread % face.relay.threads(), move |local| {
                let never = std::future::pending();
                let serving = relay::accept::serve(local.clone(), socket, limits, accept, drain, never);
                tokio::task::spawn_local(async move { virtuals::report(address, serving.await) });
            });
        }
    }
    let datagrams = udp.into_iter().map(|(service, group)| (Toward::Service(service), group));
    let datagrams = datagrams.chain(led.into_iter().map(|group| (toward_meant(face), group)));
    for (toward, Group { address, sockets }) in datagrams {
        for (thread, socket) in sockets.into_iter().enumerate() {
            let (config, drain) = (udp_config(face, toward.clone()), face.drain.clone());
            face.relay.run_on(thread % face.relay.threads(), move |local| {
                let never = std::future::pending();
                let serving = relay::udp::serve(local.clone(), socket, config, drain, never);
                tokio::task::spawn_local(async move { virtuals::report(address, serving.await) });
            });
        }
    }
}
