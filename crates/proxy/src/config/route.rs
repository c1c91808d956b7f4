//! A rule that leads HTTP requests somewhere, and what may be special about it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fields::{By, FieldName, FieldRules};
use crate::http::{authority, path};

/// A rule that leads HTTP requests to a service, or away. At least one of `host` and `path` is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRoute")]
pub struct HttpRoute {
    /// Host name, or `*.` and a suffix for every name below it. Any host when absent.
    pub host: Option<Arc<str>>,
    /// Path that the request's must lie under. Any path when absent.
    pub path: Option<Arc<str>>,
    /// Service that it leads to; empty where it redirects.
    pub service: Arc<str>,
    /// Take `path` off before the request is forwarded.
    pub strip: bool,
    /// What is special about it.
    #[serde(flatten)]
    pub options: RouteOptions,
}

impl HttpRoute {
    /// A rule with nothing special about it.
    pub fn new(host: Option<&str>, path: Option<&str>, service: &str) -> HttpRoute {
        HttpRoute {
            host: host.map(Arc::from),
            path: path.map(Arc::from),
            service: service.into(),
            strip: false,
            options: RouteOptions::default(),
        }
    }
}

/// A duration where there may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "state::units::duration")] pub Duration);

/// A number of bytes where there may be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size(#[serde(with = "state::units::size")] pub u64);

/// How many requests are let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// So many requests
    pub requests: u32,
    /// in this time;
    #[serde(with = "state::units::duration")]
    pub per: Duration,
    /// at once, so many at most. Absent: `requests`.
    pub burst: Option<u32>,
    /// What is counted apart from others. Absent: each client address.
    #[serde(default)]
    pub by: By,
}

/// What may be special about a route. Absent means: as for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RouteOptions {
    /// Answer with a redirection to this place, in which `{host}` and `{path}` stand for what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Arc<str>>,
    /// Status of that answer. Absent: 308.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_status: Option<u16>,
    /// Put this in place of `path` before the request is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Arc<str>>,
    /// Changes to the fields of requests.
    #[serde(skip_serializing_if = "FieldRules::is_empty")]
    pub request_headers: FieldRules,
    /// Changes to the fields of answers.
    #[serde(skip_serializing_if = "FieldRules::is_empty")]
    pub response_headers: FieldRules,
    /// Longest that connecting to one endpoint may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Span>,
    /// Longest time until an endpoint begins to answer; 0 means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Span>,
    /// Longest pause within an answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_timeout: Option<Span>,
    /// Longest time from a request's head to the end of its answer, all attempts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Span>,
    /// Most endpoints tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<usize>,
    /// Answers with one of these are asked for again elsewhere, where the request may be repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_statuses: Vec<u16>,
    /// Largest request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// How many requests are let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Requests that are alike in this go to the same endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<By>,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    host: Option<Arc<str>>,
    path: Option<Arc<str>>,
    #[serde(default)]
    service: Arc<str>,
    #[serde(default)]
    strip: bool,
    redirect: Option<Arc<str>>,
    redirect_status: Option<u16>,
    rewrite: Option<Arc<str>>,
    #[serde(default)]
    request_headers: FieldRules,
    #[serde(default)]
    response_headers: FieldRules,
    connect_timeout: Option<Span>,
    response_timeout: Option<Span>,
    body_timeout: Option<Span>,
    request_timeout: Option<Span>,
    attempts: Option<usize>,
    #[serde(default)]
    retry_statuses: Vec<u16>,
    max_body: Option<Size>,
    rate: Option<Rate>,
    affinity: Option<By>,
}

impl TryFrom<WrittenRoute> for HttpRoute {
    type Error = String;

    fn try_from(written: WrittenRoute) -> Result<HttpRoute, String> {
        let WrittenRoute { host, path, service, strip, .. } = &written;
        let what = match service.is_empty() {
            true => "a redirection".to_owned(),
            false => format!("a rule for service \"{service}\""),
        };
        if service.is_empty() == written.redirect.is_none() {
            return Err("a rule needs a service or a redirect, and not both".into());
        }
        if host.is_none() && path.is_none() {
            return Err(format!("{what} needs a host, a path, or both"));
        }
        if let Some(host) = host
            && authority::host(host.strip_prefix("*.").unwrap_or(host)).is_none()
        {
            return Err(format!("\"{host}\" is neither a host name nor \"*.\" and the end of one"));
        }
        path.as_deref().map_or(Ok(()), check_path)?;
        if let Some(rewrite) = &written.rewrite {
            check_path(rewrite)?;
            if path.is_none() || *strip {
                return Err(format!("{what} rewrites a path: that needs the path, and is more than strip"));
            }
        }
        check_numbers(&written)?;
        Ok(HttpRoute {
            host: written.host,
            path: written.path,
            service: written.service,
            strip: written.strip,
            options: RouteOptions {
                redirect: written.redirect,
                redirect_status: written.redirect_status,
                rewrite: written.rewrite,
                request_headers: written.request_headers,
                response_headers: written.response_headers,
                connect_timeout: written.connect_timeout,
                response_timeout: written.response_timeout,
                body_timeout: written.body_timeout,
                request_timeout: written.request_timeout,
                attempts: written.attempts,
                retry_statuses: written.retry_statuses,
                max_body: written.max_body,
                rate: written.rate,
                affinity: written.affinity,
            },
        })
    }
}

fn check_path(path: &str) -> Result<(), String> {
    match path.starts_with('/').then(|| path::canonical(path)) {
        Some(Ok(canonical)) if canonical == path => Ok(()),
        Some(Ok(canonical)) => Err(format!("write the path \"{path}\" as \"{canonical}\"")),
        _ => Err(format!("\"{path}\" is no path: it begins with a slash and has no escaped one")),
    }
}

fn check_numbers(written: &WrittenRoute) -> Result<(), String> {
    if let Some(status) = written.redirect_status
        && !(matches!(status, 301 | 302 | 303 | 307 | 308) && written.redirect.is_some())
    {
        return Err(format!("{status} is no status of a redirection here: 301, 302, 303, 307 and 308 are"));
    }
    if let Some(redirect) = &written.redirect {
        let sample = redirect.replace("{host}", "host").replace("{path}", "/");
        let lonely = redirect.starts_with("{path}") || redirect.starts_with("//");
        let valid = sample.bytes().all(|byte| byte.is_ascii_graphic()) && !sample.contains(['{', '}']);
        if lonely || !valid || !(sample.starts_with('/') || sample.contains("://")) {
            return Err(format!(
                "\"{redirect}\" is no place to redirect to: write \"https://{{host}}{{path}}\", or a path"
            ));
        }
    }
    if let Some(status) = written.retry_statuses.iter().find(|status| !(400..600).contains(*status)) {
        return Err(format!("{status} is no status to try again after: those from 400 to 599 are"));
    }
    if let Some(rate) = &written.rate
        && (rate.requests == 0 || rate.per.is_zero() || rate.burst == Some(0))
    {
        return Err("a rate of nothing lets nobody through".into());
    }
    if written.affinity == Some(By::Route) {
        return Err("affinity is by \"address\", \"header:NAME\" or \"cookie:NAME\"".into());
    }
    let host = FieldName::host();
    if written.response_headers.names().any(|name| *name == host)
        || written.request_headers.remove.contains(&host)
    {
        return Err("a request keeps its Host, and an answer has none".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Result<HttpRoute, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_that_could_never_match_is_an_error() {
        for (text, why) in [
            (r#"{"service": "web"}"#, "needs a host, a path, or both"),
            (r#"{"path": "/"}"#, "needs a service or a redirect"),
            (r#"{"path": "/", "service": "web", "redirect": "/x"}"#, "and not both"),
            (r#"{"service": "web", "host": "a b"}"#, "neither a host name"),
            (r#"{"service": "web", "host": "*.*.x"}"#, "neither a host name"),
            (r#"{"service": "web", "path": "x"}"#, "begins with a slash"),
            (r#"{"service": "web", "path": "/a//b"}"#, "write the path \"/a//b\" as"),
            (r#"{"service": "web", "path": "/a%2fb"}"#, "no escaped one"),
            (r#"{"service": "web", "path": "/a", "stripe": true}"#, "unknown field"),
            (r#"{"service": "web", "host": "a", "rewrite": "/b"}"#, "needs the path"),
            (r#"{"path": "/a", "redirect": "{path}"}"#, "no place to redirect to"),
            (r#"{"path": "/a", "redirect": "//evil"}"#, "no place to redirect to"),
            (r#"{"path": "/a", "redirect": "/{who}"}"#, "no place to redirect to"),
            (r#"{"path": "/a", "redirect": "/b", "redirect_status": 200}"#, "no status of a redirection"),
            (r#"{"path": "/a", "service": "web", "retry_statuses": [200]}"#, "no status to try again"),
            (r#"{"path": "/a", "service": "web", "rate": {"requests": 0, "per": "1s"}}"#, "lets nobody"),
            (r#"{"path": "/a", "service": "web", "affinity": "luck"}"#, "address"),
            (r#"{"path": "/a", "service": "web", "affinity": "route"}"#, "affinity is by"),
            (r#"{"path": "/a", "service": "web", "response_timeout": "soon"}"#, "not a duration"),
            (
                r#"{"path": "/a", "service": "web", "request_headers": {"set": {"a b": "c"}}}"#,
                "no field name",
            ),
            (
                r#"{"path": "/a", "service": "web", "request_headers": {"set": {"Content-Length": "1"}}}"#,
                "the proxy's own",
            ),
            (
                r#"{"path": "/a", "service": "web", "request_headers": {"set": {"a": "b\nc"}}}"#,
                "no field value",
            ),
            (
                r#"{"path": "/a", "service": "web", "request_headers": {"remove": ["host"]}}"#,
                "keeps its Host",
            ),
        ] {
            let said = route(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = r#"{"host": "*.a.b", "path": "/", "service": "web", "rewrite": "/v2", "max_body": "1MiB",
            "rate": {"requests": 5, "per": "1s", "by": "header:X-Key"}, "affinity": "cookie:session",
            "request_timeout": "30s", "retry_statuses": [503], "attempts": 2,
            "request_headers": {"set": {"X-A": "b"}, "remove": ["Cookie"]}}"#;
        let first = route(text).unwrap();
        assert_eq!(first.options.max_body, Some(Size(1 << 20)));
        let again = route(&serde_json::to_string(&first).unwrap()).unwrap();
        assert_eq!(first, again);
        assert_eq!(route(r#"{"path": "/", "service": "web"}"#).unwrap().options, RouteOptions::default());
        route(r#"{"host": "a.b", "redirect": "https://{host}{path}", "redirect_status": 301}"#).unwrap();
    }
}
