//! The table: every endpoint with its method, its path, what it needs, and who answers.
//!
//! To add an endpoint, write its function in the file of its family and add one row here. A `*` ends a
//! pattern: what follows the prefix is the endpoint's parameter, slashes included, because ids and keys may
//! contain them. The longest prefix wins, and an exact path wins over every prefix.

use std::pin::Pin;
use std::sync::Arc;

use http::Method;

use crate::http::{Answer, Failure, Parts, Request};
use crate::read::View;
use crate::{
    Api, agent, archive_paths as snapshot, catalog_paths as catalog, cluster_paths as cluster, coordinates,
    events, exposures, health_paths as health, kv, own, probes, query, rules, session, status, topics, txn,
    ui,
};

/// One endpoint.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) needs: Needs,
    pub(crate) handler: Handler,
}

/// What a request must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: whoever reaches the listener may ask.
    Nothing,
    Read(Resource),
    Write(Resource),
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Agent,
    Service,
    Node,
    Key,
    Session,
    Query,
    Event,
    Topic,
    Operator,
}

type Acting = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

/// Who answers.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// A view of the snapshot: may block, is shared, carries an index.
    View(fn(&Parts) -> Result<View, Failure>),
    /// A look at this node, now.
    Look(fn(&Api, &Parts) -> Result<Answer, Failure>),
    /// Anything that reads a body, submits a command or waits.
    Act(fn(Arc<Api>, Request) -> Acting),
}

/// One endpoint, for those who list or walk them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// HTTP method.
    pub method: &'static str,
    /// Path; a `*` with a name at its end stands for the parameter.
    pub pattern: &'static str,
    /// True when it changes something.
    pub writes: bool,
}

/// Every endpoint, in the order of the table.
pub fn endpoints() -> impl ExactSizeIterator<Item = Endpoint> {
    ROUTES.iter().map(|route| Endpoint {
        method: route.method.as_str(),
        pattern: route.pattern,
        writes: matches!(route.needs, Needs::Write(_)),
    })
}

use Needs::{Nothing, Read, Write};
use Resource::{Agent, Event, Key, Node, Operator, Query, Service, Session, Topic};

macro_rules! act {
    ($function:path) => {
        Handler::Act(|api, request| Box::pin($function(api, request)))
    };
}

const fn get(pattern: &'static str, needs: Needs, handler: Handler) -> Route {
    Route { method: Method::GET, pattern, needs, handler }
}

const fn put(pattern: &'static str, needs: Needs, handler: Handler) -> Route {
    Route { method: Method::PUT, pattern, needs, handler }
}

const fn post(pattern: &'static str, needs: Needs, handler: Handler) -> Route {
    Route { method: Method::POST, pattern, needs, handler }
}

const fn delete(pattern: &'static str, needs: Needs, handler: Handler) -> Route {
    Route { method: Method::DELETE, pattern, needs, handler }
}

use Handler::{Look, View as Views};

pub(crate) static ROUTES: &[Route] = &[
    // The agent: this node and what is registered on it.
    get("/v1/agent/self", Read(Agent), Look(agent::about::show)),
    get("/v1/agent/members", Read(Node), Look(agent::about::members)),
    get("/v1/agent/version", Read(Agent), Look(agent::about::version)),
    get("/v1/agent/host", Read(Operator), Look(agent::about::host)),
    get("/v1/agent/metrics", Read(Agent), Look(agent::metrics::show)),
    get("/v1/agent/services", Read(Service), Look(agent::services::list)),
    get("/v1/agent/service/*id", Read(Service), act!(agent::services::show)),
    get("/v1/agent/checks", Read(Service), Look(agent::checks::list)),
    get("/v1/agent/health/service/id/*id", Read(Service), Look(agent::health::by_id)),
    get("/v1/agent/health/service/name/*name", Read(Service), Look(agent::health::by_name)),
    put("/v1/agent/service/register", Write(Service), act!(agent::services::register)),
    put("/v1/agent/service/deregister/*id", Write(Service), act!(agent::services::deregister)),
    put("/v1/agent/service/renew/*id", Write(Service), act!(agent::services::renew)),
    put("/v1/agent/service/maintenance/*id", Write(Service), act!(agent::maintenance::of_service)),
    put("/v1/agent/check/register", Write(Service), act!(agent::checks::register)),
    put("/v1/agent/check/deregister/*id", Write(Service), act!(agent::checks::deregister)),
    put("/v1/agent/check/pass/*id", Write(Service), act!(agent::reports::pass)),
    put("/v1/agent/check/warn/*id", Write(Service), act!(agent::reports::warn)),
    put("/v1/agent/check/fail/*id", Write(Service), act!(agent::reports::fail)),
    put("/v1/agent/check/update/*id", Write(Service), act!(agent::reports::update)),
    put("/v1/agent/maintenance", Write(Node), act!(agent::maintenance::of_node)),
    put("/v1/agent/reload", Write(Operator), Look(agent::control::reload)),
    put("/v1/agent/leave", Write(Operator), Look(agent::control::leave)),
    // The catalog: every node and every instance.
    put("/v1/catalog/register", Write(Node), act!(catalog::register)),
    put("/v1/catalog/deregister", Write(Node), act!(catalog::deregister)),
    get("/v1/catalog/datacenters", Nothing, Look(catalog::datacenters)),
    get("/v1/catalog/nodes", Read(Node), Views(catalog::nodes)),
    get("/v1/catalog/services", Read(Service), Views(catalog::services)),
    get("/v1/catalog/service/*name", Read(Service), Views(catalog::service)),
    get("/v1/catalog/connect/*name", Read(Service), Views(catalog::connect)),
    get("/v1/catalog/node/*name", Read(Node), Views(catalog::node)),
    get("/v1/catalog/node-services/*name", Read(Node), Views(catalog::node_services)),
    // Health: instances and checks with their verdicts.
    get("/v1/health/node/*name", Read(Node), Views(health::node)),
    get("/v1/health/checks/*name", Read(Service), Views(health::checks)),
    get("/v1/health/service/*name", Read(Service), Views(health::service)),
    get("/v1/health/connect/*name", Read(Service), Views(health::connect)),
    get("/v1/health/ingress/*name", Read(Service), Views(health::connect)),
    get("/v1/health/state/*state", Read(Node), Views(health::state)),
    // Sessions: who may hold locks on keys.
    put("/v1/session/create", Write(Session), act!(session::create)),
    put("/v1/session/destroy/*id", Write(Session), act!(session::destroy)),
    put("/v1/session/renew/*id", Write(Session), act!(session::renew)),
    get("/v1/session/info/*id", Read(Session), Views(session::info)),
    get("/v1/session/node/*name", Read(Session), Views(session::on_node)),
    get("/v1/session/list", Read(Session), Views(session::list)),
    // Prepared queries.
    get("/v1/query", Read(Query), Views(query::list)),
    post("/v1/query", Write(Query), act!(query::create)),
    get("/v1/query/*id", Read(Query), act!(query::read)),
    put("/v1/query/*id", Write(Query), act!(query::update)),
    delete("/v1/query/*id", Write(Query), act!(query::delete)),
    // Events.
    put("/v1/event/fire/*name", Write(Event), act!(events::fire)),
    get("/v1/event/list", Read(Event), act!(events::list)),
    // Keys.
    get("/v1/kv/*key", Read(Key), Views(kv::read)),
    put("/v1/kv/*key", Write(Key), act!(kv::put)),
    delete("/v1/kv/*key", Write(Key), act!(kv::delete)),
    put("/v1/txn", Write(Key), act!(txn::put)),
    // Status of the cluster.
    get("/v1/status/leader", Nothing, Look(status::leader)),
    get("/v1/status/peers", Nothing, Look(status::peers)),
    get("/v1/operator/raft/configuration", Read(Operator), Look(status::configuration)),
    get("/v1/operator/autopilot/health", Read(Operator), Look(status::health)),
    get("/v1/operator/autopilot/configuration", Read(Operator), Look(status::autopilot)),
    get("/v1/operator/usage", Read(Operator), Look(status::usage)),
    get("/v1/coordinate/nodes", Read(Node), Views(coordinates::nodes)),
    get("/v1/coordinate/node/*name", Read(Node), Views(coordinates::node)),
    get("/v1/coordinate/datacenters", Nothing, Look(coordinates::datacenters)),
    get("/v1/snapshot", Write(Operator), act!(snapshot::save)),
    put("/v1/snapshot", Write(Operator), act!(snapshot::restore)),
    // Our own.
    get("/v1/portolan/services", Read(Service), act!(own::services)),
    get("/v1/portolan/resolve/*name", Read(Service), act!(own::resolve)),
    get("/v1/portolan/topics", Read(Topic), Views(topics::list)),
    put("/v1/portolan/topics/*name", Write(Topic), act!(topics::retain)),
    delete("/v1/portolan/topics/*name", Write(Topic), act!(topics::remove)),
    get("/v1/portolan/topic/*name", Read(Topic), act!(topics::read)),
    put("/v1/portolan/topic/*name", Write(Topic), act!(topics::publish)),
    post("/v1/portolan/topic/*name", Write(Topic), act!(topics::publish)),
    // Reachability from outside.
    get("/v1/portolan/exposures", Read(Service), Look(exposures::list)),
    put("/v1/portolan/exposure/*service", Write(Operator), act!(exposures::set)),
    delete("/v1/portolan/exposure/*service", Write(Operator), act!(exposures::remove)),
    // The cluster.
    get("/v1/portolan/members", Read(Node), Look(cluster::members)),
    get("/v1/portolan/status", Read(Node), act!(cluster::status)),
    put("/v1/portolan/init", Write(Operator), act!(cluster::init)),
    put("/v1/portolan/join", Write(Operator), act!(cluster::join)),
    put("/v1/portolan/leave", Write(Operator), act!(cluster::leave)),
    put("/v1/portolan/remove/*name", Write(Operator), act!(cluster::remove)),
    get("/v1/portolan/tokens", Read(Operator), Look(cluster::tokens)),
    put("/v1/portolan/token", Write(Operator), act!(cluster::create_token)),
    delete("/v1/portolan/token/*id", Write(Operator), act!(cluster::revoke_token)),
    put("/v1/portolan/ca/rotate", Write(Operator), act!(cluster::rotate)),
    put("/v1/portolan/ca/deny/*key", Write(Operator), act!(cluster::deny)),
    delete("/v1/portolan/ca/deny/*key", Write(Operator), act!(cluster::allow)),
    // Who may reach what.
    get("/v1/portolan/rules", Read(Service), act!(rules::list)),
    put("/v1/portolan/rules", Write(Operator), act!(rules::replace)),
    put("/v1/portolan/rule", Write(Operator), act!(rules::put)),
    delete("/v1/portolan/rule/*id", Write(Operator), act!(rules::remove)),
    put("/v1/portolan/redirect/*name", Write(Operator), act!(rules::redirect)),
    delete("/v1/portolan/redirect/*name", Write(Operator), act!(rules::redirect_no_more)),
    put("/v1/portolan/mode/*mode", Write(Operator), act!(rules::set_mode)),
    // For supervisors and people.
    get("/ui", Nothing, Look(ui::lead)),
    get("/ui/*file", Nothing, Look(ui::file)),
    get("/metrics", Nothing, Look(probes::metrics)),
    get("/livez", Nothing, Look(probes::live)),
    get("/readyz", Nothing, Look(probes::ready)),
    get("/", Nothing, Look(probes::index)),
];

/// Consul's access control lists, which are off.
pub(crate) static DISABLED: &[&str] = &["/v1/acl/", "/v1/agent/token/"];

/// Parts of Consul's API that are known and not here, so that the answer can say so.
pub(crate) static ABSENT: &[(&str, &str)] = &[
    ("/v1/coordinate/update", "coordinates set by clients are"),
    ("/v1/operator/keyring", "gossip keys are"),
    ("/v1/operator/raft/peer", "changing who votes over HTTP is"),
    ("/v1/operator/raft/transfer-leader", "choosing who leads over HTTP is"),
    ("/v1/operator/area", "network areas are"),
    ("/v1/operator/license", "licences are"),
    ("/v1/operator/segment", "network segments are"),
    ("/v1/connect/", "Consul's service mesh is"),
    ("/v1/agent/connect/", "Consul's service mesh is"),
    ("/v1/catalog/gateway-services/", "Consul's service mesh is"),
    ("/v1/discovery-chain/", "Consul's service mesh is"),
    ("/v1/config", "configuration entries are"),
    ("/v1/peering", "cluster peering is"),
    ("/v1/exported-services", "cluster peering is"),
    ("/v1/imported-services", "cluster peering is"),
    ("/v1/internal/", "Consul's internal endpoints are"),
    ("/v1/namespace", "namespaces other than \"default\" are"),
    ("/v1/partition", "partitions other than \"default\" are"),
    ("/v1/agent/join/", "joining over HTTP is"),
    ("/v1/agent/force-leave/", "removing members over HTTP is"),
    ("/v1/agent/monitor", "log streaming is"),
];
