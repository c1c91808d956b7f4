//! What would become of a request, and why. Nothing is counted, dealt or opened by it.

use std::borrow::Cow;

use consul::broker::{Problem, Request};
use route::{Caller, Decision, End, Endpoint, Hop, Lead, PeerHost, Step, Target};
use serde_json::{Value, json};

use crate::door::{UNIX, Visit};
use crate::network;
use crate::reach::malformed;
use crate::uri::Uri;

/// Explains what `name` leads whoever asks to.
pub(crate) fn explain(visit: Visit<'_>, name: &str, request: &Request) -> Result<Value, Problem> {
    let network = request.network.as_deref();
    if network.is_some_and(|network| network.len() > network::LONGEST) {
        return Err(malformed(format!("IPC_NETWORK is longer than {} bytes", network::LONGEST)));
    }
    let mapped = network.and_then(|network| network::lookup(network, name));
    let target = mapped.unwrap_or(name);
    let mut told = if target.contains("://") {
        by_uri(visit, target, None)?
    } else {
        let led = visit.local.with_routes(|routes| routes.look(target));
        match &led {
            Ok(Lead { hops, end: End::Uri { name, uri } }) => {
                let mut told = by_uri(visit, uri, Some(name))?;
                told["steps"] = hops.iter().cloned().map(|hop| step(Step::Redirection(hop))).collect();
                told
            }
            _ => by_name(visit, target),
        }
    };
    let fate = visit.local.with_routes(|routes| routes.policy().here().when_rules_change());
    told["principal"] = json!(visit.who.principal);
    told["when_rules_change"] = json!(fate);
    if mapped.is_some() {
        told["network"] = json!({ "name": name, "to": shown(target) });
    }
    Ok(told)
}

/// A step, without secrets in redirections: they are whoever wrote them down's.
fn step(step: Step) -> Value {
    match step {
        Step::Redirection(hop) => {
            let words = hop.redirection.split(' ');
            let redirection = words.map(shown).collect::<Vec<_>>().join(" ");
            json!(Step::Redirection(Hop { to: shown(&hop.to).into(), redirection, ..hop }))
        }
        other => json!(other),
    }
}

fn shown(to: &str) -> Cow<'_, str> {
    if to.contains("://") { plain(to).into() } else { to.into() }
}

/// A URI without what only its owner may know.
fn plain(text: &str) -> String {
    match Uri::parse(text) {
        Ok(uri) => uri.to_string(),
        Err(_) => text.split("://").next().unwrap_or_default().to_owned(),
    }
}

fn by_name(visit: Visit<'_>, name: &str) -> Value {
    let Decision { steps, verdict } =
        visit.local.with_routes(|routes| routes.decide(Caller::by(&visit.who.principal, UNIX), name));
    let verdict = match &verdict {
        Ok((backend, _)) => json!({
            "allowed": true,
            "service": backend.service,
            "endpoints": backend.endpoints.iter().map(|endpoint| reached(visit, endpoint)).collect::<Vec<_>>(),
        }),
        Err(denial) => json!({ "allowed": false, "why": denial.to_string() }),
    };
    let steps: Vec<_> = steps.into_iter().map(step).collect();
    let mut told = json!({ "steps": steps, "verdict": verdict });
    let is_unknown =
        verdict["allowed"] == false && visit.local.with_routes(|routes| routes.known(name).is_none());
    let folders = &visit.door.folders;
    if is_unknown && (!folders.is_empty() || visit.door.config.default_route.is_some()) {
        told["otherwise"] = json!({
            "folders": folders.iter().map(|folder| folder.path.display().to_string()).collect::<Vec<_>>(),
            "default_route": visit.door.config.default_route.as_deref().map(plain),
        });
    }
    told
}

/// An endpoint, with what a program would be handed for it.
fn reached(visit: Visit<'_>, endpoint: &Endpoint) -> Value {
    let (is_here, ends) = visit.local.with_routes(|routes| {
        let here = routes.policy().here();
        (["", &here.node].contains(&&*endpoint.node) || here.node.is_empty(), here.ends_handed)
    });
    let is_offered = visit.door.offers.as_ref().is_some_and(|offers| offers.place(endpoint).is_some());
    let is_loopback = matches!(&endpoint.target, Target::Ip(at) if at.ip().to_canonical().is_loopback());
    let (handed, ends) = match (is_offered, !is_here && is_loopback && visit.door.mesh.is_some()) {
        (true, _) => ("unix", false),
        (false, true) => ("relayed", true),
        (false, false) => ("tcp", ends),
    };
    json!({
        "node": endpoint.node,
        "instance": endpoint.id,
        "status": endpoint.status,
        "weight": endpoint.weight,
        "handed": handed,
        "ends_with_rules": ends,
    })
}

/// Judged by its name: where that leads is looked up when it is connected to, and judged then too.
fn by_uri(visit: Visit<'_>, text: &str, led_from: Option<&str>) -> Result<Value, Problem> {
    let uri = Uri::parse(text).map_err(|error| malformed(format!("the URI: {error}")))?;
    let authority = uri.authority();
    let service = led_from.or(uri.service.as_deref()).unwrap_or(&authority);
    let host = PeerHost { name: uri.host.to_ascii_lowercase().into(), port: uri.port };
    let scheme = Cow::Owned(uri.scheme.clone());
    let caller = Caller::by(&visit.who.principal, &scheme);
    let caller = if uri.scheme == "unix" { caller } else { caller.outward(&host, None) };
    let (mode, ruling, rule, ends) = visit.local.with_routes(|routes| {
        let policy = routes.policy();
        let ruling = policy.ruling(&caller, service);
        let rule = ruling.rule.and_then(|at| policy.rules().shown(at));
        (policy.mode(), ruling, rule, policy.here().ends_handed)
    });
    let (handed, ends) = match &*uri.scheme {
        "tcp" | "udp" => (&*uri.scheme, ends),
        "tls" | "ws" | "wss" | "quic" => ("relayed", true),
        _ => ("unix", false),
    };
    let allowed = ruling.allowed || mode != catalog::Mode::Enforce;
    Ok(json!({
        "steps": [],
        "verdict": {
            "allowed": allowed,
            "service": service,
            "uri": uri.to_string(),
            "mode": mode,
            "rules_allow": ruling.allowed,
            "rule": rule,
            "handed": handed,
            "ends_with_rules": ends,
        },
    }))
}
