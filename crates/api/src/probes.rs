//! For supervisors, scrapers and people: `/livez`, `/readyz`, `/metrics`, `/`.

use std::fmt::Write;

use http::StatusCode;
use http::header::ACCEPT;

use crate::Api;
use crate::http::{Answer, Failure, Parts};
use crate::inputs::Condition;
use crate::metrics::text;
use crate::ui;

/// Alive: it answers.
pub(crate) fn live(_: &Api, _: &Parts) -> Result<Answer, Failure> {
    Ok(Answer::text("ok\n"))
}

/// Ready: everything holds and it is not time to leave. `?verbose` lists what was looked at.
pub(crate) fn ready(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let conditions = conditions(api);
    let is_ready = conditions.iter().all(|condition| condition.problem.is_none());
    let mut text = String::new();
    for Condition { name, problem } in &conditions {
        let written = match problem {
            None if parts.query.has("verbose") => writeln!(text, "[+] {name} ok"),
            None => Ok(()),
            Some(problem) => writeln!(text, "[-] {name}: {problem}"),
        };
        written.map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    }
    text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Answer::text(text).with_status(status))
}

fn conditions(api: &Api) -> Vec<Condition> {
    let log = api.store.log_status();
    let leaving = api.drain.is_started().then(|| "this node is leaving".to_owned());
    let mut conditions = vec![
        Condition { name: "log", problem: log.stopped },
        Condition { name: "serving", problem: leaving },
    ];
    conditions.extend(api.control.conditions());
    conditions
}

/// Every metric of the daemon, in the format that the scraper asks for.
pub(crate) fn metrics(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let accept = parts.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    exposition(api, wants_open)
}

/// Every metric, in OpenMetrics 1.0 or in Prometheus' older text format.
pub(crate) fn exposition(api: &Api, open: bool) -> Result<Answer, Failure> {
    let mut written = String::new();
    api.exposition
        .write(&mut written)
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("write the metrics: {e}")))?;
    Ok(match open {
        true => Answer::text(written).with_type("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        false => {
            Answer::text(text::prometheus(&written)).with_type("text/plain; version=0.0.4; charset=utf-8")
        }
    })
}

/// What is here, for people: a browser is led to the page.
pub(crate) fn index(api: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let accepted = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return ui::lead(api, parts);
    }
    let text = format!(
        "Portolan {} on node {} in {}\n\n\
         The HTTP API is Consul's, under /v1/. Some places to begin:\n\n\
         /ui/                      a page for browsers\n\
         /v1/catalog/services      names with their tags\n\
         /v1/health/service/NAME   instances with their checks\n\
         /v1/portolan/services     names with their virtual addresses\n\
         /v1/agent/self            this node\n\
         /v1/kv/?keys              keys\n\
         /metrics                  for Prometheus\n\
         /readyz?verbose           what this node says of itself\n",
        api.node.version, api.node.name, api.node.datacenter,
    );
    Ok(Answer::text(text))
}
