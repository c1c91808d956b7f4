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

/// Domains that stand behind a service's name, as DNS and the proxies take it.
const DOMAINS: [&str; 3] = [".svc.internal", ".service.consul", ".virtual.consul"];

/// `GET portolan/explain/:name?source=…&scheme=…`. Without a source it is about a program on this node.
pub(crate) async fn explain(api: Arc<Api>, request: Request) -> Result<Answer, Failure> {
    let query = &request.parts.query;
    let asked = match request.parts.rest.as_str() {
        "" => return Err(Failure::bad_request("a name is missing at the end of the path")),
        asked => asked,
    };
    let routes = in_force(&api).await;
    let Way { service, why, scheme } = way(&api, &routes, asked);
    let principal = principal(&api, &routes, query.get("source").unwrap_or_default())?;
    let scheme = query.get("scheme").filter(|scheme| !scheme.is_empty()).unwrap_or(scheme);
    let scheme = Cow::Owned(scheme.to_owned());
    let snapshot = api.store.reader().now();
    let caller = Caller::by(&principal, &scheme);
    let explanation = match service {
        Some(service) => explained(&api, &routes, &snapshot, caller, &service),
        None => Explanation { why: why.as_str().into(), ..about(&routes, caller) },
    };
    let explanation = Explanation { name: asked.into(), way: why.into(), ..explanation };
    Answer::json_as(&explanation, query.has("pretty"))
}

/// From what is asked for to a service.
struct Way<'a> {
    /// `None` where it leads to none.
    service: Option<Cow<'a, str>>,
    /// What decided that; nothing where a service's own name was asked for.
    why: String,
    /// By what one would come.
    scheme: &'static str,
}

fn way<'a>(api: &Api, routes: &Routes, asked: &'a str) -> Way<'a> {
    let Some((_, rest)) = asked.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))
    else {
        let (service, why) = stem(asked);
        return Way { service: Some(service.into()), why: why.to_owned(), scheme: "tcp" };
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (service, why) = match api.web.lead(routes, host, path) {
        Ok((service, why)) => (Some(service).filter(|service| !service.is_empty()), why),
        Err(why) => (None, why),
    };
    Way { service: service.map(|service| service.to_string().into()), why, scheme: "http" }
}

/// A service's name without what DNS has around it, and what that asks for.
fn stem(name: &str) -> (&str, &'static str) {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let Some((domain, inner)) =
        DOMAINS.iter().find_map(|domain| Some((*domain, plain.strip_suffix(domain)?)))
    else {
        return (name, "");
    };
    let rfc2782 = inner.strip_prefix('_').and_then(|inner| inner.split_once("._"));
    let is_label = |text: &str| !text.is_empty() && !text.contains('.');
    match (domain, rfc2782, inner.rsplit_once('.')) {
        _ if is_label(inner) => (inner, "a name of DNS's"),
        (".svc.internal", Some((service, "tcp" | "udp")), _) if is_label(service) => {
            (service, "a name of DNS's, in the form of RFC 2782")
        }
        (".svc.internal", _, Some((service, "endpoints"))) if is_label(service) => {
            (service, "a name of DNS's, which asks for endpoints whoever asks")
        }
        (".service.consul", _, Some((_, service))) if is_label(service) => {
            (service, "a name of DNS's, which asks for those endpoints that have its tag")
        }
        _ => (name, ""),
    }
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

/// What is the same of every explanation.
fn about(routes: &Routes, caller: Caller<'_>) -> Explanation {
    Explanation {
        from: caller.principal.to_string().into(),
        scheme: caller.scheme.as_ref().into(),
        mode: word(routes.policy().mode()).into(),
        cut: routes.policy().here().when_rules_change().into(),
        ..Explanation::default()
    }
}

fn explained(api: &Api, routes: &Routes, snapshot: &Snapshot, caller: Caller<'_>, name: &str) -> Explanation {
    let Decision { steps, verdict } = routes.decide(caller, name);
    let mut told = about(routes, caller);
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
        told.dns = dns(&told, !Backend::project(snapshot, service).endpoints.is_empty()).into();
    } else if let Some(reached) = told.endpoints.first() {
        // A redirection that leads out of the catalog.
        told.dns = format!("{} to everybody", reached.endpoint.address).into();
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

/// What DNS says, as far as the catalog decides it: it asks no rules.
fn dns(told: &Explanation, has_endpoints: bool) -> String {
    let local = told.r#virtual.as_ref().map(|at| format!("{} to programs on this host", at.address));
    let others = match has_endpoints {
        true => "its instances' addresses to others".to_owned(),
        false => "nothing to others".to_owned(),
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
        // As `Reach` dials: where nobody answers, it listens on its host's loopback.
        (false, false) if is_member => "direct, else mesh",
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
        for (name, service) in [
            ("web.svc.internal.", "web"),
            ("web.service.consul", "web"),
            ("web", "web"),
            ("tag.web.service.consul", "web"),
            ("_web._tcp.svc.internal", "web"),
            ("web.endpoints.svc.internal", "web"),
            ("sub.web.svc.internal", "sub.web.svc.internal"),
            ("web.example.com", "web.example.com"),
        ] {
            assert_eq!(stem(name).0, service);
            assert_eq!(stem(name).1.is_empty(), name == service, "{name}");
        }
    }
}
