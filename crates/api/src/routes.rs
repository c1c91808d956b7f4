//! The table: every endpoint with its method, its path, what whoever asks must be allowed, and who answers. The
//! router is made of it, so there is no endpoint without a need.
//!
//! To add an endpoint, write its function in the file of its family and add one row here. A `*` ends a
//! pattern: what follows the prefix is the endpoint's parameter, slashes included, because ids and keys may
//! contain them. The longest prefix wins, and an exact path wins over every prefix.

use std::pin::Pin;
use std::sync::Arc;

use acl::{Resource, Right};
use http::Method;

use crate::access::Needs;
use crate::http::{Answer, Failure, Parts, Request};
use crate::read::View;
use crate::{
    Api, acl_paths, agent, archive_paths as snapshot, catalog_paths as catalog, cluster_paths as cluster,
    connect, coordinates, events, explain, exposures, health_paths as health, kv, openapi, own, probes,
    query, rules, session, status, topics, txn, ui,
};

/// One endpoint.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) needs: Needs,
    pub(crate) handler: Handler,
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
    /// What a request must be allowed to do.
    pub needs: Needs,
}

/// Every endpoint, in the order of the table.
pub fn endpoints() -> impl ExactSizeIterator<Item = Endpoint> {
    ROUTES.iter().map(|route| Endpoint {
        method: route.method.as_str(),
        pattern: route.pattern,
        needs: route.needs,
    })
}

use Needs::{Each, Every, Filtered, Here, Named, Nothing, ReadKeys, Token, Whole, WriteKeys};
use Resource::{Acl, Agent, Event, Intention, Key, Node, Operator, Query, Service, Session, Topic};
use Right::{Read, Write};

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
    get("/v1/agent/self", Here(Agent, Read), Look(agent::about::show)),
    get("/v1/agent/members", Filtered, Look(agent::about::members)),
    get("/v1/agent/version", Here(Agent, Read), Look(agent::about::version)),
    get("/v1/agent/host", Whole(Operator, Read), Look(agent::about::host)),
    get("/v1/agent/metrics", Here(Agent, Read), Look(agent::metrics::show)),
    get("/v1/agent/services", Filtered, Look(agent::services::list)),
    get("/v1/agent/service/*id", Each(Service, Read), act!(agent::services::show)),
    get("/v1/agent/checks", Filtered, Look(agent::checks::list)),
    get("/v1/agent/health/service/id/*id", Each(Service, Read), Look(agent::health::by_id)),
    get("/v1/agent/health/service/name/*name", Named(Service, Read), Look(agent::health::by_name)),
    put("/v1/agent/service/register", Each(Service, Write), act!(agent::services::register)),
    put("/v1/agent/service/deregister/*id", Each(Service, Write), act!(agent::services::deregister)),
    put("/v1/agent/service/renew/*id", Each(Service, Write), act!(agent::services::renew)),
    put("/v1/agent/service/maintenance/*id", Each(Service, Write), act!(agent::maintenance::of_service)),
    put("/v1/agent/check/register", Each(Service, Write), act!(agent::checks::register)),
    put("/v1/agent/check/deregister/*id", Each(Service, Write), act!(agent::checks::deregister)),
    put("/v1/agent/check/pass/*id", Each(Service, Write), act!(agent::reports::pass)),
    put("/v1/agent/check/warn/*id", Each(Service, Write), act!(agent::reports::warn)),
    put("/v1/agent/check/fail/*id", Each(Service, Write), act!(agent::reports::fail)),
    put("/v1/agent/check/update/*id", Each(Service, Write), act!(agent::reports::update)),
    put("/v1/agent/maintenance", Here(Node, Write), act!(agent::maintenance::of_node)),
    put("/v1/agent/reload", Here(Agent, Write), act!(agent::control::reload)),
    put("/v1/agent/leave", Here(Agent, Write), Look(agent::control::leave)),
    put("/v1/agent/join/*address", Here(Agent, Write), Look(agent::control::join)),
    put("/v1/agent/force-leave/*node", Whole(Operator, Write), act!(agent::control::force_leave)),
    // The catalog: every node and every instance.
    put("/v1/catalog/register", Each(Node, Write), act!(catalog::register)),
    put("/v1/catalog/deregister", Each(Node, Write), act!(catalog::deregister)),
    get("/v1/catalog/datacenters", Nothing, Look(catalog::datacenters)),
    get("/v1/catalog/nodes", Filtered, Views(catalog::nodes)),
    get("/v1/catalog/services", Filtered, Views(catalog::services)),
    get("/v1/catalog/service/*name", Filtered, Views(catalog::service)),
    get("/v1/catalog/connect/*name", Filtered, Views(catalog::connect)),
    get("/v1/catalog/node/*name", Filtered, Views(catalog::node)),
    get("/v1/catalog/node-services/*name", Filtered, Views(catalog::node_services)),
    // Health: instances and checks with their verdicts.
    get("/v1/health/node/*name", Filtered, Views(health::node)),
    get("/v1/health/checks/*name", Filtered, Views(health::checks)),
    get("/v1/health/service/*name", Filtered, Views(health::service)),
    get("/v1/health/connect/*name", Filtered, Views(health::connect)),
    get("/v1/health/ingress/*name", Filtered, Views(health::ingress)),
    get("/v1/health/state/*state", Filtered, Views(health::state)),
    // Sessions: who may hold locks on keys.
    put("/v1/session/create", Each(Session, Write), act!(session::create)),
    put("/v1/session/destroy/*id", Each(Session, Write), act!(session::destroy)),
    put("/v1/session/renew/*id", Each(Session, Write), act!(session::renew)),
    get("/v1/session/info/*id", Filtered, Views(session::info)),
    get("/v1/session/node/*name", Filtered, Views(session::on_node)),
    get("/v1/session/list", Filtered, Views(session::list)),
    // Prepared queries.
    get("/v1/query", Filtered, Views(query::list)),
    post("/v1/query", Each(Query, Write), act!(query::create)),
    get("/v1/query/*id", Each(Query, Read), act!(query::read)),
    put("/v1/query/*id", Each(Query, Write), act!(query::update)),
    delete("/v1/query/*id", Each(Query, Write), act!(query::delete)),
    // Events.
    put("/v1/event/fire/*name", Named(Event, Write), act!(events::fire)),
    get("/v1/event/list", Filtered, act!(events::list)),
    // Keys.
    get("/v1/kv/*key", ReadKeys, Views(kv::read)),
    put("/v1/kv/*key", WriteKeys, act!(kv::put)),
    delete("/v1/kv/*key", WriteKeys, act!(kv::delete)),
    put("/v1/txn", Each(Key, Write), act!(txn::put)),
    // Who may reach what, in Consul's words.
    get("/v1/connect/intentions", Filtered, Views(connect::list)),
    post("/v1/connect/intentions", Each(Intention, Write), act!(connect::create)),
    get("/v1/connect/intentions/exact", Each(Intention, Read), Views(connect::exact)),
    put("/v1/connect/intentions/exact", Each(Intention, Write), act!(connect::put_exact)),
    delete("/v1/connect/intentions/exact", Each(Intention, Write), act!(connect::delete_exact)),
    get("/v1/connect/intentions/match", Each(Intention, Read), Views(connect::matching)),
    get("/v1/connect/intentions/check", Each(Service, Read), act!(connect::check)),
    get("/v1/connect/intentions/*id", Filtered, Views(connect::by_id)),
    put("/v1/connect/intentions/*id", Each(Intention, Write), act!(connect::update)),
    delete("/v1/connect/intentions/*id", Each(Intention, Write), act!(connect::delete)),
    get("/v1/config/service-intentions", Filtered, Views(connect::list_entries)),
    get("/v1/config/service-intentions/*name", Named(Intention, Read), Views(connect::show_entry)),
    delete("/v1/config/service-intentions/*name", Named(Intention, Write), act!(connect::delete_entry)),
    put("/v1/config", Each(Intention, Write), act!(connect::put_entry)),
    post("/v1/agent/connect/authorize", Each(Service, Write), act!(connect::authorize)),
    // Certificates of the cluster's authority.
    get("/v1/connect/ca/roots", Nothing, act!(connect::roots)),
    get("/v1/connect/ca/configuration", Whole(Operator, Read), Look(connect::configuration)),
    put("/v1/connect/ca/configuration", Whole(Operator, Write), Look(connect::configure)),
    get("/v1/agent/connect/ca/roots", Nothing, act!(connect::roots_of_agent)),
    get("/v1/agent/connect/ca/leaf/*service", Named(Service, Write), act!(connect::leaf)),
    // Who may do what.
    put("/v1/acl/bootstrap", Nothing, act!(acl_paths::bootstrap)),
    get("/v1/acl/replication", Nothing, Look(acl_paths::replication)),
    get("/v1/acl/tokens", Whole(Acl, Read), Views(acl_paths::tokens::list)),
    put("/v1/acl/token", Whole(Acl, Write), act!(acl_paths::tokens::create)),
    get("/v1/acl/token/self", Token, Look(acl_paths::tokens::own)),
    get("/v1/acl/token/*id", Whole(Acl, Read), Views(acl_paths::tokens::show)),
    put("/v1/acl/token/*id", Whole(Acl, Write), act!(acl_paths::tokens::update)),
    delete("/v1/acl/token/*id", Whole(Acl, Write), act!(acl_paths::tokens::delete)),
    get("/v1/acl/policies", Whole(Acl, Read), Views(acl_paths::policies::list)),
    put("/v1/acl/policy", Whole(Acl, Write), act!(acl_paths::policies::create)),
    get("/v1/acl/policy/*id", Whole(Acl, Read), Views(acl_paths::policies::show)),
    get("/v1/acl/policy/name/*name", Whole(Acl, Read), Views(acl_paths::policies::by_name)),
    put("/v1/acl/policy/*id", Whole(Acl, Write), act!(acl_paths::policies::update)),
    delete("/v1/acl/policy/*id", Whole(Acl, Write), act!(acl_paths::policies::delete)),
    get("/v1/acl/roles", Whole(Acl, Read), Views(acl_paths::roles::list)),
    put("/v1/acl/role", Whole(Acl, Write), act!(acl_paths::roles::create)),
    get("/v1/acl/role/*id", Whole(Acl, Read), Views(acl_paths::roles::show)),
    get("/v1/acl/role/name/*name", Whole(Acl, Read), Views(acl_paths::roles::by_name)),
    put("/v1/acl/role/*id", Whole(Acl, Write), act!(acl_paths::roles::update)),
    delete("/v1/acl/role/*id", Whole(Acl, Write), act!(acl_paths::roles::delete)),
    put("/v1/portolan/acl/default/*policy", Whole(Acl, Write), act!(acl_paths::set_default)),
    put("/v1/agent/token/*kind", Here(Agent, Write), act!(acl_paths::agent_token)),
    // Status of the cluster.
    get("/v1/status/leader", Nothing, Look(status::leader)),
    get("/v1/status/peers", Nothing, Look(status::peers)),
    get("/v1/operator/raft/configuration", Whole(Operator, Read), Look(status::configuration)),
    get("/v1/operator/autopilot/health", Whole(Operator, Read), Look(status::health)),
    get("/v1/operator/autopilot/configuration", Whole(Operator, Read), Look(status::autopilot)),
    get("/v1/operator/autopilot/state", Whole(Operator, Read), Look(status::state)),
    get("/v1/operator/usage", Whole(Operator, Read), Look(status::usage)),
    get("/v1/coordinate/nodes", Filtered, Views(coordinates::nodes)),
    get("/v1/coordinate/node/*name", Filtered, Views(coordinates::node)),
    get("/v1/coordinate/datacenters", Filtered, Look(coordinates::datacenters)),
    // All of it, tokens and all.
    get("/v1/snapshot", Whole(Acl, Write), act!(snapshot::save)),
    put("/v1/snapshot", Whole(Acl, Write), act!(snapshot::restore)),
    // Our own.
    get("/v1/portolan/services", Filtered, act!(own::services)),
    get("/v1/portolan/openapi.json", Nothing, Look(openapi::show)),
    get("/v1/portolan/resolve/*name", Named(Service, Read), act!(own::resolve)),
    get("/v1/portolan/topics", Filtered, Views(topics::list)),
    put("/v1/portolan/topics/*name", Named(Topic, Write), act!(topics::retain)),
    delete("/v1/portolan/topics/*name", Named(Topic, Write), act!(topics::remove)),
    get("/v1/portolan/topic/*name", Named(Topic, Read), act!(topics::read)),
    put("/v1/portolan/topic/*name", Named(Topic, Write), act!(topics::publish)),
    post("/v1/portolan/topic/*name", Named(Topic, Write), act!(topics::publish)),
    // Reachability from outside.
    get("/v1/portolan/exposures", Every(Service, Read), Look(exposures::list)),
    put("/v1/portolan/exposure/*service", Whole(Operator, Write), act!(exposures::set)),
    delete("/v1/portolan/exposure/*service", Whole(Operator, Write), act!(exposures::remove)),
    put("/v1/portolan/firewall/*word", Whole(Operator, Write), act!(exposures::firewall)),
    // The cluster.
    get("/v1/portolan/members", Filtered, Look(cluster::members)),
    get("/v1/portolan/status", Whole(Operator, Read), act!(cluster::status)),
    put("/v1/portolan/init", Whole(Operator, Write), act!(cluster::init)),
    put("/v1/portolan/join", Whole(Operator, Write), act!(cluster::join)),
    put("/v1/portolan/leave", Whole(Operator, Write), act!(cluster::leave)),
    put("/v1/portolan/remove/*name", Whole(Operator, Write), act!(cluster::remove)),
    get("/v1/portolan/tokens", Whole(Operator, Read), Look(cluster::tokens)),
    put("/v1/portolan/token", Whole(Operator, Write), act!(cluster::create_token)),
    delete("/v1/portolan/token/*id", Whole(Operator, Write), act!(cluster::revoke_token)),
    put("/v1/portolan/ca/rotate", Whole(Operator, Write), act!(cluster::rotate)),
    put("/v1/portolan/ca/deny/*key", Whole(Operator, Write), act!(cluster::deny)),
    delete("/v1/portolan/ca/deny/*key", Whole(Operator, Write), act!(cluster::allow)),
    // Who may reach what.
    get("/v1/portolan/explain/*name", Every(Intention, Read), act!(explain::explain)),
    get("/v1/portolan/rules", Every(Intention, Read), act!(rules::list)),
    put("/v1/portolan/rules", Whole(Operator, Write), act!(rules::replace)),
    put("/v1/portolan/rule", Whole(Operator, Write), act!(rules::put)),
    delete("/v1/portolan/rule/*id", Whole(Operator, Write), act!(rules::remove)),
    put("/v1/portolan/redirect/*name", Whole(Operator, Write), act!(rules::redirect)),
    delete("/v1/portolan/redirect/*name", Whole(Operator, Write), act!(rules::redirect_no_more)),
    // Whoever says this can end all asking.
    put("/v1/portolan/mode/*mode", Whole(Acl, Write), act!(rules::set_mode)),
    // For supervisors and people.
    get("/ui", Nothing, Look(ui::lead)),
    get("/ui/*file", Nothing, Look(ui::file)),
    get("/metrics", Here(Agent, Read), Look(probes::metrics)),
    get("/livez", Nothing, Look(probes::live)),
    get("/readyz", Nothing, Look(probes::ready)),
    get("/", Nothing, Look(probes::index)),
];

/// Parts of Consul's API that are known and not here, so that the answer can say so.
pub(crate) static ABSENT: &[(&str, &str)] = &[
    ("/v1/acl/auth-method", "authentication methods are"),
    ("/v1/acl/binding-rule", "binding rules are"),
    ("/v1/acl/login", "logging in by an authentication method is"),
    ("/v1/acl/logout", "logging in by an authentication method is"),
    ("/v1/acl/templated-polic", "templated policies are"),
    ("/v1/acl/rules/", "rules of Consul before 1.4 are"),
    ("/v1/acl/create", "tokens of Consul before 1.4 are"),
    ("/v1/acl/update", "tokens of Consul before 1.4 are"),
    ("/v1/acl/destroy/", "tokens of Consul before 1.4 are"),
    ("/v1/acl/info/", "tokens of Consul before 1.4 are"),
    ("/v1/acl/clone/", "tokens of Consul before 1.4 are"),
    ("/v1/acl/list", "tokens of Consul before 1.4 are"),
    ("/v1/coordinate/update", "coordinates set by clients are"),
    ("/v1/operator/keyring", "gossip keys are"),
    ("/v1/operator/raft/peer", "changing who votes over HTTP is"),
    ("/v1/operator/raft/transfer-leader", "choosing who leads over HTTP is"),
    ("/v1/operator/area", "network areas are"),
    ("/v1/operator/license", "licences are"),
    ("/v1/operator/segment", "network segments are"),
    ("/v1/agent/connect/proxy", "Consul's service mesh is"),
    ("/v1/catalog/gateway-services/", "Consul's service mesh is"),
    ("/v1/discovery-chain/", "Consul's service mesh is"),
    ("/v1/config/api-gateway", "configuration entries of this kind are"),
    ("/v1/config/bound-api-gateway", "configuration entries of this kind are"),
    ("/v1/config/control-plane-", "configuration entries of this kind are"),
    ("/v1/config/exported-", "configuration entries of this kind are"),
    ("/v1/config/file-system-", "configuration entries of this kind are"),
    ("/v1/config/http-route", "configuration entries of this kind are"),
    ("/v1/config/ingress-", "configuration entries of this kind are"),
    ("/v1/config/inline-", "configuration entries of this kind are"),
    ("/v1/config/jwt-", "configuration entries of this kind are"),
    ("/v1/config/mesh", "configuration entries of this kind are"),
    ("/v1/config/proxy-", "configuration entries of this kind are"),
    ("/v1/config/sameness-", "configuration entries of this kind are"),
    ("/v1/config/service-defaults", "configuration entries of this kind are"),
    ("/v1/config/service-resolver", "configuration entries of this kind are"),
    ("/v1/config/service-router", "configuration entries of this kind are"),
    ("/v1/config/service-splitter", "configuration entries of this kind are"),
    ("/v1/config/tcp-route", "configuration entries of this kind are"),
    ("/v1/config/terminating-", "configuration entries of this kind are"),
    ("/v1/peering", "cluster peering is"),
    ("/v1/exported-services", "cluster peering is"),
    ("/v1/imported-services", "cluster peering is"),
    ("/v1/internal/", "Consul's internal endpoints are"),
    ("/v1/namespace", "namespaces other than \"default\" are"),
    ("/v1/partition", "partitions other than \"default\" are"),
    ("/v1/agent/monitor", "log streaming is"),
];
