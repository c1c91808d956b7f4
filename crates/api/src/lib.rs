//! The HTTP face: Consul's dialect over the catalog, probes, metrics, and a few paths of our own.
//!
//! It translates and decides nothing: a request becomes a command for the store or a view of its snapshot.
//! Every endpoint is one row of the table in `routes.rs` and one function; `serve` knows connections,
//! `http` what a handler sees of them, `read` how views block and are shared, `plan` how the catalog looks
//! in Consul's shapes.
//!
//! Who may do what is judged in one place, `access`: what a row of the table needs before its endpoint sees the
//! request, what its answer shows by the lens that the endpoint is handed instead of the snapshot.
//!
//! What is absent: no state of its own beside answers that may be forgotten, no clock in what is rendered.

mod access;
mod acl_paths;
mod agent;
mod archive_paths;
mod catalog_paths;
mod cluster_paths;
mod config;
mod connect;
mod contact;
mod coordinates;
mod events;
mod explain;
mod exposures;
mod filter;
pub mod fuzz;
mod health_paths;
mod http;
mod ids;
mod inputs;
mod kv;
mod metrics;
pub mod netsel;
mod openapi;
mod own;
mod plan;
mod probes;
mod query;
mod read;
mod router;
mod routes;
mod rules;
mod serve;
mod session;
mod status;
pub mod topics;
mod txn;
mod ui;

use std::sync::Arc;

use lease::{Leases, PassOn};
use route::{Facts, OpenVirtual, Routes};
use state::{Drain, Reader};
use store::Store;

pub use access::Needs;
pub use config::{Config, Limits};
pub use inputs::{
    Alone, Answering, Certified, Cluster, Condition, Control, Exposition, Exposure, Guest, GuestReply,
    Identity, Inputs, Refused, Unexposed, Web, Wish,
};
pub use metrics::Metrics;
pub use routes::{Endpoint, endpoints};
pub use serve::{BindError, Listeners, reserve, reserve_unix};

use contact::Contact;
use read::{Cache, Context, Gate};

/// Version of Consul's API that clients are told they speak to. Some read it and choose by it.
pub const CONSUL_VERSION: &str = "1.20.6";

/// Everything that a handler may use.
struct Api {
    config: Config,
    store: Store,
    leases: Arc<Leases>,
    pass_on: Arc<dyn PassOn>,
    facts: Reader<Facts>,
    routes: Reader<Routes>,
    open_virtual: Arc<dyn OpenVirtual>,
    node: Identity,
    control: Arc<dyn Control>,
    desk: access::Desk,
    cluster: Arc<dyn Cluster>,
    exposition: Arc<dyn Exposition>,
    exposure: Arc<dyn Exposure>,
    web: Arc<dyn Web>,
    metrics: Metrics,
    guests: Vec<Arc<dyn Guest>>,
    context: Context,
    gate: Gate,
    cache: Cache,
    leaves: connect::Leaves,
    contact: Contact,
    drain: Drain,
}

/// Serves until it is time to leave and every request has its answer.
pub async fn run(config: Config, listeners: Listeners, inputs: Inputs, drain: Drain) {
    let context = Context { datacenter: inputs.node.datacenter.clone() };
    let api = Arc::new(Api {
        desk: access::Desk::new(&inputs.node.datacenter, &config.operators),
        gate: Gate::new(config.limits.max_blocking, inputs.metrics.blocking.clone()),
        config,
        store: inputs.store,
        leases: inputs.leases,
        pass_on: inputs.pass_on,
        facts: inputs.facts,
        routes: inputs.routes,
        open_virtual: inputs.open_virtual,
        node: inputs.node,
        control: inputs.control,
        cluster: inputs.cluster,
        exposition: inputs.exposition,
        exposure: inputs.exposure,
        web: inputs.web,
        metrics: inputs.metrics,
        guests: inputs.guests,
        context,
        cache: Cache::default(),
        leaves: connect::Leaves::default(),
        contact: Contact::new(),
        drain: drain.clone(),
    });
    api.desk.set_default_token(api.config.default_token);
    tokio::join!(api.contact.follow(&api.store, &drain), serve::accept(&api, listeners, &drain));
}
