//! `portolan/explain`: what would become of a connection, and why. [`Routes::decide`] says it, which is what every face goes
//! by; here it is only put into words.

use std::borrow::Cow;
use std::sync::Arc;

use catalog::{Instance, Snapshot, Source, Status};
use consul::rules::{Explanation, LeftOut, Reached};
use route::{Backend, Caller, Decision, Denial, Principal, Routes, Step, Target};

use crate::Api;
use crate::http::{Answer, Failure, Request};
use crate::own::{shown_endpoint, virtual_of};
use crate::rules::{in_force, word};

const CUT: &str = "what passes through the daemon ends at once when the rules no longer allow it; a TCP connection that was \
                   handed over to a program goes on until one side ends it, and so does a handed-over Unix connection, \
                   which nobody can end";
/// Domains that stand behind a service's name, as DNS and the proxies take it.
const DOMAINS: [&str; 3] = [".svc.internal", ".service.consul", ".virtual.consul"];

/// `GET portolan/explain/:name?source=…&scheme=…`. Without a source it is about a program on this node.
pub(crate) async fn explain(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let query = &request.parts.query;
    let name = match request.parts.rest.as_str() {
        "" => return Err(Failure::bad_request("a name is missing at the end of the path")),
        name => stem(name),
    };
    let routes = in_force(&api).await;
    let principal = principal(&api, &routes, query.get("source").unwrap_or_default())?;
    let scheme = query.get("scheme").filter(|scheme| !scheme.is_empty()).unwrap_or("tcp");
    let scheme = Cow::Owned(scheme.to_owned());
    let snapshot = api.store.reader().now();
    let explanation = explained(&api, &routes, &snapshot, Caller::by(&principal, &scheme), name);
    Answer::json_as(&explanation, query.has("pretty"))
}

/// A service's name without the domain that DNS has it in.
fn stem(name: &str) -> &str {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let stem = DOMAINS.iter().find_map(|domain| plain.strip_suffix(domain));
    stem.filter(|stem| !stem.is_empty() && !stem.contains('.')).unwrap_or(name)
}

/// Who is meant, in the words of rules.
fn principal(api: &Api, routes: &Routes, source: &str) -> Result<Principal, Failure> {
    if source.is_empty() {
        return Ok(Principal::Node { name: api.node.name.clone() });
    }
    let source = Source::parse(source).map_err(|invalid| Failure::bad_request(invalid.to_string()))?;
    Ok(match source {
        Source::Uid(uid) => Principal::Local { uid },
        Source::Node(name) if name == api.node.name => Principal::Node { name },
        Source::Node(name) => Principal::Identity { id: routes.policy().own_id("node", &name) },
        Source::Network(network) => Principal::Anonymous { from: network.address },
        Source::Identity(id) if id.contains('/') => Principal::Identity { id },
        Source::Identity(name) => Principal::Identity { id: routes.policy().own_id("service", &name) },
        Source::Any | Source::Host { .. } => {
            let rule = "say who: uid:NUMBER, node:NAME, an address, a name or a SPIFFE id";
            return Err(Failure::bad_request(rule));
        }
    })
}

fn explained(api: &Api, routes: &Routes, snapshot: &Snapshot, caller: Caller<'_>, name: &str) -> Explanation {
    let Decision { steps, verdict } = routes.decide(caller, name);
    let mut told = Explanation {
        from: caller.principal.to_string().into(),
        scheme: caller.scheme.as_ref().into(),
        name: name.into(),
        mode: word(routes.policy().mode()).into(),
        cut: CUT.into(),
        ..Explanation::default()
    };
    steps.iter().for_each(|step| tell(step, &mut told));
    match &verdict {
        Ok((backend, permit)) => {
            told.allowed = true;
            told.service = permit.service().clone();
            let endpoints = backend.endpoints.iter();
            told.endpoints = endpoints.map(|endpoint| reached(api, routes, snapshot, endpoint)).collect();
            told.choice = choice(backend).into();
        }
        Err(denial) => {
            if let Denial::Forbidden { service, .. } = denial {
                told.service = service.clone();
            }
            told.why = denial.to_string().into();
        }
    }
    if let Some(service) = snapshot.service(&told.service) {
        told.r#virtual = virtual_of(api, service);
        told.left_out = service.iter().filter_map(|instance| left_out(snapshot, instance)).collect();
        told.dns = dns(&told).into();
    }
    told
}

/// A step of the decision, in words.
fn tell(step: &Step, told: &mut Explanation) {
    match step {
        Step::Redirection(hop) => {
            let origin = if hop.origin.is_empty() { String::new() } else { format!(" ({})", hop.origin) };
            let text = format!("{} leads to {}: {}{origin}", hop.name, hop.to, hop.redirection);
            told.redirections.push(text.into());
        }
        Step::Lookup { name, .. } => told.service = name.clone(),
        Step::Rule { rule, allowed, .. } => {
            told.rules_allow = Some(*allowed);
            told.rule = rule.as_ref().map_or_else(Arc::default, |rule| rule.to_string().into());
        }
    }
}

fn choice(backend: &Backend) -> &'static str {
    match backend.endpoints.len() {
        1 => "it is the only one",
        _ => {
            "of two drawn by weight, the one that answers faster and has less to do; one that fails is left for another"
        }
    }
}

/// What DNS says, as far as the catalog decides it.
fn dns(told: &Explanation) -> String {
    let local = told.r#virtual.as_ref().map(|at| format!("{} to programs on this host", at.address));
    let others = match told.endpoints.is_empty() {
        true => "nothing to others".to_owned(),
        false => "its instances' addresses to others".to_owned(),
    };
    local.into_iter().chain([others]).collect::<Vec<_>>().join(", ")
}

/// Why an instance gets nothing, if it does not.
fn left_out(snapshot: &Snapshot, instance: &Instance) -> Option<LeftOut> {
    let weights = &instance.def.weights;
    let why = match snapshot.health(instance) {
        _ if instance.def.port == 0 => "it has no port",
        Status::Critical => "it is critical",
        Status::Passing if weights.passing == 0 => "its weight is 0",
        Status::Warning if weights.warning == 0 => "its weight is 0 while it warns",
        Status::Passing | Status::Warning => return None,
    };
    Some(LeftOut { node: instance.node.clone(), id: instance.def.id.clone(), why: why.into() })
}

fn reached(api: &Api, routes: &Routes, snapshot: &Snapshot, endpoint: &route::Endpoint) -> Reached {
    let is_here = endpoint.node.is_empty() || endpoint.node == api.node.name;
    let is_member = snapshot.cluster().member(&endpoint.node).is_some();
    let is_loopback = matches!(&endpoint.target, Target::Ip(at) if at.ip().to_canonical().is_loopback());
    let path = match (is_here, is_member && is_loopback) {
        (true, _) => "local",
        (false, true) => "mesh",
        (false, false) => "direct",
    };
    let proves = if path == "mesh" { routes.policy().own_id("node", &endpoint.node) } else { "".into() };
    Reached { endpoint: shown_endpoint(snapshot, endpoint), path: path.into(), proves }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dns_are_services() {
        assert_eq!(stem("web.svc.internal."), "web");
        assert_eq!(stem("web.service.consul"), "web");
        assert_eq!(stem("web"), "web");
        assert_eq!(stem("tag.web.service.consul"), "tag.web.service.consul");
    }
}
